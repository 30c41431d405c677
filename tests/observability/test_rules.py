"""promtool finds nothing wrong with the rules, and the rules do what their unit tests say."""

import os
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from deploy.local.processes import run
from tests.unit.test_docs import ROOT

PROMETHEUS: Final = ROOT / "deploy" / "prometheus"
PROMTOOL_SECONDS: Final = 60.0

pytestmark = pytest.mark.usefixtures("prometheus_installed")


def promtool(*words: str | Path) -> str:
    return run(["promtool", *words], seconds=PROMTOOL_SECONDS, env=os.environ, cwd=PROMETHEUS)


def test_the_rules_and_the_configuration_are_valid() -> None:
    assert "SUCCESS" in promtool("check", "config", "prometheus.yml")


def test_the_alerts_come_when_they_should_and_not_before() -> None:
    promtool("test", "rules", "rules_test.yml")


def test_every_alert_has_a_unit_test() -> None:
    rules: dict[str, Any] = yaml.safe_load((PROMETHEUS / "rules.yml").read_text(encoding="utf-8"))
    tests: dict[str, Any] = yaml.safe_load((PROMETHEUS / "rules_test.yml").read_text(encoding="utf-8"))

    declared = {rule["alert"] for group in rules["groups"] for rule in group["rules"]}
    cases = [case for test in tests["tests"] for case in test["alert_rule_test"]]
    assert {case["alertname"] for case in cases if case.get("exp_alerts")} == declared
    assert {case["alertname"] for case in cases if not case.get("exp_alerts")} == declared
