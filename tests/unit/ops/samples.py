"""What a metric says now."""

from prometheus_client.metrics import MetricWrapperBase


def value(metric: MetricWrapperBase, suffix: str = "", **labels: str) -> float | None:
    """The value of the sample with these labels; None where there is none."""
    (family,) = metric.collect()
    name = f"{family.name}_total" if family.type == "counter" else f"{family.name}{suffix}"
    found = [sample.value for sample in family.samples if sample.name == name and sample.labels == labels]
    return found[0] if found else None


def grown(metric: MetricWrapperBase, before: float | None, **labels: str) -> float:
    """By how much a counter has grown."""
    return (value(metric, **labels) or 0) - (before or 0)
