"""The manifests are valid by Kubernetes' own schemas, and fit the code."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest
import yaml

from payscore_worker.bootstrap.console import CONSOLE_STOP_SECONDS
from payscore_worker.bootstrap.webhook import WEBHOOK_STOP_SECONDS
from payscore_worker.bootstrap.worker import DRAIN_SECONDS, WORKER_STOP_SECONDS
from payscore_worker.cli import COMMANDS
from payscore_worker.cli.output import END_SECONDS
from payscore_worker.messaging.topology import QUEUES
from payscore_worker.settings import PARTS
from tests.deployment.tools import ROOT, run

SCHEMAS: Final = ("1.29", "1.37")
"""The oldest and the newest version that the manifests are checked for."""

KUBERNETES_GRACE_SECONDS: Final = 30
"""Where a pod does not say."""

OURS: Final = (
    *("payscore-worker", "payscore-webhook", "payscore-console"),
    *("payscore-migrate", "payscore-topology", "payscore-archive"),
)

TRIGGER: Final = {
    "protocol",
    "vhostName",
    "queueName",
    "mode",
    "value",
    "activationValue",
    "excludeUnacknowledged",
    "timeout",
}
"""What KEDA's documentation of the RabbitMQ scaler names, as far as it is of use here."""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Both overlays as `kubectl apply -k` would send them, the demo with secrets made as its readers are told to."""
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("kubectl is not on the PATH; Kustomize is a part of it")
    copy = tmp_path_factory.mktemp("kubernetes") / "deploy"
    shutil.copytree(ROOT / "deploy", copy, ignore=shutil.ignore_patterns("secrets", "__pycache__"))
    (copy.parent / ".venv").symlink_to(ROOT / ".venv")
    overlays = copy / "kubernetes" / "overlays"
    made = run(overlays / "demo" / "make-secrets")
    assert made.returncode == 0, made.stderr
    files = {}
    for overlay in ("demo", "production"):
        shown = run(kubectl, "kustomize", overlays / overlay)
        assert shown.returncode == 0, shown.stderr
        files[overlay] = copy / f"{overlay}.yaml"
        files[overlay].write_text(shown.stdout)
    return files


@pytest.fixture(params=["demo", "production"])
def overlay(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def documents(built: dict[str, Path], overlay: str) -> list[dict[str, Any]]:
    return [document for document in yaml.safe_load_all(built[overlay].read_text()) if document]


def one(documents: list[dict[str, Any]], kind: str, name: str) -> dict[str, Any]:
    [found] = [item for item in documents if item["kind"] == kind and item["metadata"]["name"] == name]
    return found


def pods(documents: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The pod of everything of ours that runs."""
    found = {}
    for item in documents:
        name = item["metadata"]["name"]
        if name in OURS and item["kind"] in ("Deployment", "Job", "CronJob"):
            spec = item["spec"]["jobTemplate"]["spec"] if item["kind"] == "CronJob" else item["spec"]
            found[name] = spec["template"]["spec"]
    return found


@pytest.mark.parametrize("version", SCHEMAS)
def test_the_schemas_of_kubernetes_find_nothing(
    tool: Callable[[str], str], built: dict[str, Path], overlay: str, version: str
) -> None:
    found = run(tool("kubernetes-validate"), "--strict", "--no-warn", "-k", version, built[overlay])

    assert found.returncode == 0, found.stdout
    assert "ERROR" not in found.stdout
    assert "deployment/payscore-worker" in found.stdout + found.stderr


def test_a_mistake_would_be_found(tool: Callable[[str], str], built: dict[str, Path], tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(built["production"].read_text().replace("terminationGracePeriodSeconds", "terminationGrace"))

    assert run(tool("kubernetes-validate"), "--strict", wrong).returncode != 0


def test_every_pod_runs_a_command_that_exists(documents: list[dict[str, Any]]) -> None:
    assert len(pods(documents)) >= 4
    for pod in pods(documents).values():
        assert pod["containers"][0]["args"][0] in COMMANDS


def test_every_pod_is_restricted(documents: list[dict[str, Any]]) -> None:
    """By the rules of the Pod Security Standard `restricted`, and with a root that cannot be written."""
    for pod in pods(documents).values():
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["automountServiceAccountToken"] is False
        for container in pod["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert container["resources"]["limits"]["memory"]


STOPS: Final = {
    "payscore-worker": WORKER_STOP_SECONDS,
    "payscore-webhook": WEBHOOK_STOP_SECONDS,
    "payscore-console": CONSOLE_STOP_SECONDS,
    "payscore-migrate": END_SECONDS,
    "payscore-topology": END_SECONDS,
    "payscore-archive": END_SECONDS,
}


def test_nobody_is_killed_before_the_last_step_of_a_stop_has_had_its_time(documents: list[dict[str, Any]]) -> None:
    for name, pod in pods(documents).items():
        pre_stop = pod["containers"][0].get("lifecycle", {}).get("preStop", {}).get("exec", {}).get("command", [])
        waits = float(pre_stop[1]) if pre_stop[:1] == ["sleep"] else 0.0

        assert pod.get("terminationGracePeriodSeconds", KUBERNETES_GRACE_SECONDS) > waits + STOPS[name], name


def test_what_ends_because_something_is_away_is_started_again_without_end(documents: list[dict[str, Any]]) -> None:
    """A Deployment knows no limit, and waits five minutes at most between two starts."""
    for name, pod in pods(documents).items():
        if name in ("payscore-worker", "payscore-webhook", "payscore-console"):
            assert pod.get("restartPolicy", "Always") == "Always"


def test_alive_is_not_ready(documents: list[dict[str, Any]]) -> None:
    for name in ("payscore-worker", "payscore-webhook", "payscore-console"):
        container = pods(documents)[name]["containers"][0]
        assert container["livenessProbe"]["httpGet"]["path"] == "/healthz"
        assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"


def test_the_console_is_a_deployment_of_its_own_and_its_token_a_secret(documents: list[dict[str, Any]]) -> None:
    console, worker = (pods(documents)[name]["containers"][0] for name in ("payscore-console", "payscore-worker"))

    assert console["args"] == ["console"]
    assert {"name": "PAYSCORE_OPS_TOKEN_FILE", "value": "/run/secrets/payscore/ops-token"} in console["env"]
    assert worker["args"] == ["worker"]
    assert "env" not in worker
    [port] = one(documents, "Service", "payscore-console")["spec"]["ports"]
    assert port["targetPort"] in {port["name"] for port in console["ports"]}


def test_every_setting_is_one_that_the_code_reads(documents: list[dict[str, Any]]) -> None:
    known = {field.encode_name for part in PARTS for field in msgspec.structs.fields(part)}
    maps = [item for item in documents if item["kind"] == "ConfigMap"]
    given = {name for item in maps for name in item["data"] if name.startswith("PAYSCORE_")}
    given |= {variable["name"] for pod in pods(documents).values() for variable in pod["containers"][0].get("env", [])}

    assert given
    for name in given:
        assert name.removesuffix("_FILE") in known


def test_every_file_of_a_setting_is_a_key_of_the_secret(built: dict[str, Path]) -> None:
    read_me = (ROOT / "deploy" / "README.md").read_text(encoding="utf-8")
    files = set(re.findall(r"/run/secrets/payscore/([\w-]+)", built["production"].read_text()))

    assert files
    for file in files:
        assert f"`{file}`" in read_me


def test_no_secret_is_in_the_manifests() -> None:
    for file in (ROOT / "deploy" / "kubernetes").rglob("*.yaml"):
        if "secrets" not in file.parts:
            text = re.sub(r"#.*", "", file.read_text(encoding="utf-8"))
            assert "kind: Secret\n" not in text, file
            assert re.findall(r"://[^/@\s]+:[^/@\s]+@", text) == [], file


def test_what_speaks_is_allowed_to_and_the_rest_is_not(documents: list[dict[str, Any]]) -> None:
    deny = one(documents, "NetworkPolicy", "payscore-default-deny")
    labels = deny["spec"]["podSelector"]["matchLabels"]

    assert sorted(deny["spec"]["policyTypes"]) == ["Egress", "Ingress"]
    for item in documents:
        if item["metadata"]["name"] in OURS and item["kind"] in ("Deployment", "Job"):
            assert labels.items() <= item["spec"]["template"]["metadata"]["labels"].items()


def test_the_scaler_counts_every_queue_that_is_consumed_and_what_is_in_hand(built: dict[str, Path]) -> None:
    documents = list(yaml.safe_load_all(built["production"].read_text()))
    scaled = one(documents, "ScaledObject", "payscore-worker")["spec"]
    deployment = one(documents, "Deployment", scaled["scaleTargetRef"]["name"])

    assert "replicas" not in deployment["spec"]
    assert {trigger["metadata"]["queueName"] for trigger in scaled["triggers"]} == set(QUEUES)
    for trigger in scaled["triggers"]:
        assert trigger["type"] == "rabbitmq"
        assert set(trigger["metadata"]) <= TRIGGER
        assert trigger["metadata"]["protocol"] == "http"
        assert trigger["metadata"]["excludeUnacknowledged"] == "false"
        assert all(isinstance(value, str) for value in trigger["metadata"].values())
        one(documents, "TriggerAuthentication", trigger["authenticationRef"]["name"])
    assert scaled["minReplicaCount"] >= 2
    assert scaled["cooldownPeriod"] > DRAIN_SECONDS


def test_every_disruption_budget_is_about_pods_that_are_there(documents: list[dict[str, Any]]) -> None:
    for name in ("payscore-worker", "payscore-webhook"):
        budget = one(documents, "PodDisruptionBudget", name)
        labels = one(documents, "Deployment", name)["spec"]["template"]["metadata"]["labels"]
        assert budget["spec"]["selector"]["matchLabels"].items() <= labels.items()
