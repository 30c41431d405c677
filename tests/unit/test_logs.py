"""Logs tell what happened and keep secrets."""

import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from payscore_worker import logs


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    structlog.reset_defaults()
    root.handlers[:] = handlers
    root.setLevel(level)


def test_json_logs_are_one_object_a_line_with_the_bound_context(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    logs.set_up(as_json=True, level=logging.INFO)

    with structlog.contextvars.bound_contextvars(trip_id="t1"):
        structlog.stdlib.get_logger().info("message_handled", outcome="done")

    (line,) = capfdbinary.readouterr().err.splitlines()
    entry = json.loads(line)
    assert (entry["event"], entry["level"], entry["trip_id"], entry["outcome"]) == (
        "message_handled",
        "info",
        "t1",
        "done",
    )


@pytest.mark.parametrize("as_json", [True, False])
def test_openids_are_shortened_and_secrets_dropped(capfdbinary: pytest.CaptureFixture[bytes], *, as_json: bool) -> None:
    logs.set_up(as_json=as_json, level=logging.INFO)

    structlog.stdlib.get_logger().info(
        "said",
        openid="oUpF8uMuAJO_M2pxb1Q9zNjWeS6o",
        finish_ticket="ticket-value",
        apiv3_key="key-value",
        body="body-value",
        routing_key="trip.started",
    )

    text = capfdbinary.readouterr().err.decode()
    assert "oUpF8u…" in text
    assert "trip.started" in text
    for secret in ("oUpF8uMuAJO", "ticket-value", "key-value", "body-value"):
        assert secret not in text


def test_what_is_below_the_level_is_not_said(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    logs.set_up(as_json=True, level=logging.WARNING)

    structlog.stdlib.get_logger().info("quiet")

    assert capfdbinary.readouterr().err == b""


@pytest.mark.parametrize("as_json", [True, False])
def test_the_warnings_of_libraries_come_in_the_same_form(
    capfdbinary: pytest.CaptureFixture[bytes], *, as_json: bool
) -> None:
    logs.set_up(as_json=as_json, level=logging.INFO)

    logging.getLogger("aiormq.connection").warning("connection %s", "lost")
    logging.getLogger("aiormq.connection").info("chatter")

    text = capfdbinary.readouterr().err.decode()
    assert "connection lost" in text
    assert "chatter" not in text
    if as_json:
        assert json.loads(text)["logger"] == "aiormq.connection"


def test_a_traceback_is_part_of_its_line(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    logs.set_up(as_json=True, level=logging.INFO)

    structlog.stdlib.get_logger().error("surprise", exc_info=ValueError("boom"))

    (line,) = capfdbinary.readouterr().err.splitlines()
    assert "ValueError: boom" in json.loads(line)["exception"]
