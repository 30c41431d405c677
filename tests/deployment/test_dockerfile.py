"""The Dockerfile is well made by the rules of its own linter, and says what an image should say of itself."""

from collections.abc import Callable
from pathlib import Path

from tests.deployment.tools import run


def test_the_linter_finds_nothing(tool: Callable[[str], str], deploy: Path) -> None:
    found = run(tool("hadolint"), "--failure-threshold", "style", deploy / "Dockerfile")

    assert (found.returncode, found.stdout) == (0, "")


def test_the_image_runs_as_nobody_special_and_tells_how_it_is(deploy: Path) -> None:
    text = (deploy / "Dockerfile").read_text(encoding="utf-8")
    last_stage = text[text.rindex("\nFROM ") :]

    for word in ("\nUSER 10001:10001\n", "\nHEALTHCHECK ", "\nSTOPSIGNAL SIGTERM\n", "\nENTRYPOINT [", "LABEL org."):
        assert word in last_stage


def test_everything_that_is_copied_is_let_through_to_the_builder(deploy: Path) -> None:
    copied = [
        word
        for line in (deploy / "Dockerfile").read_text(encoding="utf-8").splitlines()
        if line.startswith("COPY ") and "--from" not in line
        for word in line.split()[1:-1]
    ]
    let_through = (deploy / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()

    assert copied
    for path in copied:
        assert f"!{path.rstrip('/')}" in let_through
        assert (deploy.parent / path).exists()
