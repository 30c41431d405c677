"""Logs tell what happened and keep secrets."""

import asyncio
import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Coroutine
from typing import Final

import pytest
import structlog

from payscore_worker import logs


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


SHOWN_NOWHERE: Final = "secret-of-a-{}"


async def fail_with_a_secret_at_hand() -> None:
    """Fail as deep down as a key is used; the locals of this frame must be shown nowhere."""
    apiv3_key = SHOWN_NOWHERE.format("frame")  # so that it stands in no line of source, which a traceback may show
    assert apiv3_key
    raise RuntimeError("boom")


async def fail_in_a_group() -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(fail_with_a_secret_at_hand())


def say_by_structlog(error: BaseException) -> None:
    structlog.stdlib.get_logger().error("surprise", exc_info=error)


def say_by_a_library(error: BaseException) -> None:
    logging.getLogger("aiormq").error("surprise", exc_info=error)


def say_by_asyncio(error: BaseException) -> None:
    loop = asyncio.new_event_loop()
    loop.call_exception_handler({"message": "surprise", "exception": error})
    loop.close()


@pytest.mark.parametrize("fail", [fail_with_a_secret_at_hand, fail_in_a_group])
@pytest.mark.parametrize("say", [say_by_structlog, say_by_a_library, say_by_asyncio])
@pytest.mark.parametrize("level", [logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR])
@pytest.mark.parametrize("as_json", [True, False])
def test_a_traceback_shows_no_locals_whatever_format_and_level(
    capfdbinary: pytest.CaptureFixture[bytes],
    fail: Callable[[], Coroutine[None, None, None]],
    say: Callable[[BaseException], None],
    level: int,
    *,
    as_json: bool,
) -> None:
    logs.set_up(as_json=as_json, level=level)

    try:
        asyncio.run(fail())
    except Exception as error:  # noqa: BLE001 - it is the error that is looked at
        say(error)

    text = capfdbinary.readouterr().err.decode()
    assert "boom" in text
    assert "fail_with_a_secret_at_hand" in text
    assert "secret-of-a-frame" not in text


A_COMMAND_THAT_FAILS: Final = """
import sys, types
import click
from payscore_worker import cli

@click.command()
def boom():
    apiv3_key = "-".join(["secret", "of", "a", "frame"])
    raise RuntimeError("it failed")

sys.modules["payscore_worker.cli.boom"] = types.ModuleType("boom")
sys.modules["payscore_worker.cli.boom"].boom = boom
cli.COMMANDS["boom"] = "boom"
sys.argv = ["payscore-worker", "boom"]
cli.main()
"""


def test_a_command_that_fails_by_surprise_shows_no_locals() -> None:
    failed = subprocess.run(  # noqa: S603 - our own words
        [sys.executable, "-c", A_COMMAND_THAT_FAILS],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=os.environ | {"FORCE_COLOR": "1"},
    )

    assert failed.returncode == 1
    assert "it failed" in failed.stderr
    assert "secret-of-a-frame" not in failed.stderr + failed.stdout


def test_a_traceback_is_part_of_its_line(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    logs.set_up(as_json=True, level=logging.INFO)

    structlog.stdlib.get_logger().error("surprise", exc_info=ValueError("boom"))

    (line,) = capfdbinary.readouterr().err.splitlines()
    assert "ValueError: boom" in json.loads(line)["exception"]
