"""What a metric says now."""

from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.samples import Sample


def value(metric: MetricWrapperBase, suffix: str = "", **labels: str) -> float | None:
    """The value of the sample with these labels; None where there is none."""
    found = [sample.value for sample in _samples(metric, suffix) if sample.labels == labels]
    return found[0] if found else None


def total(metric: MetricWrapperBase, **labels: str) -> float:
    """The sum of all samples that have these labels among theirs."""
    return sum(sample.value for sample in _samples(metric) if sample.labels.items() >= labels.items())


def grown(metric: MetricWrapperBase, before: float | None, **labels: str) -> float:
    """By how much a counter has grown."""
    return (value(metric, **labels) or 0) - (before or 0)


def _samples(metric: MetricWrapperBase, suffix: str = "") -> list[Sample]:
    (family,) = metric.collect()
    name = f"{family.name}_total" if family.type == "counter" else f"{family.name}{suffix}"
    return [sample for sample in family.samples if sample.name == name]
