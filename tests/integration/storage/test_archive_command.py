"""`payscore-worker archive`, as an operator or a scheduler types it."""

import gzip
import json
from dataclasses import replace
from pathlib import Path

import pytest

from payscore_worker.domain.refund import RefundState
from payscore_worker.storage import Entry
from payscore_worker.storage.database import open_storage
from tests.acceptance.commands import Done, payscore_worker
from tests.builders import NOW, SITUATIONS
from tests.integration.databases import make_tables
from tests.integration.storage.refunds import a_refund_of


@pytest.fixture
async def settings(tmp_path: Path) -> dict[str, str]:
    url = f"sqlite+aiosqlite:///{tmp_path / 'test.db'}"
    await make_tables(url)
    storage = await open_storage(url)
    for situation in ("paid", "open"):
        trip = replace(SITUATIONS[situation](), trip_id=situation, out_order_no=situation)
        await storage.save(trip, due_at=None, now=NOW)
    paid = await storage.load("paid")
    assert paid is not None
    refunded = [Entry(case=case, due_at=None) for case in a_refund_of(paid, state=RefundState.REFUNDED)]
    assert await storage.save_together(refunded, now=NOW)
    await storage.aclose()
    return {"PAYSCORE_DATABASE_URL": url}


async def archive(*words: str, directory: Path, settings: dict[str, str]) -> Done:
    return await payscore_worker("archive", *words, directory=directory, settings=settings)


def filed(directory: Path) -> list[str]:
    files = directory.glob("*.jsonl.gz")
    return [json.loads(line)["trip"]["trip_id"] for file in files for line in gzip.open(file).readlines()[1:]]


async def test_it_moves_what_is_old_and_over_and_tells_what_it_did(tmp_path: Path, settings: dict[str, str]) -> None:
    words = ("--before", "2026-05-02", "--to", str(tmp_path / "kept"), "--json")

    counted = await archive(*words, "--dry-run", directory=tmp_path, settings=settings)
    moved = await archive(*words, directory=tmp_path, settings=settings)
    again = await archive(*words, directory=tmp_path, settings=settings)

    assert (counted.code, counted.document["trips"], counted.document["files"]) == (0, 1, [])
    assert (moved.code, moved.document["trips"], len(moved.document["files"])) == (0, 1, 1)
    assert (counted.document["refunds"], moved.document["refunds"]) == (1, 1)
    assert (again.code, again.document["trips"]) == (0, 0)
    assert moved.document["before"] == "2026-05-02T00:00:00+08:00"
    assert filed(tmp_path / "kept") == ["paid"]


async def test_what_happened_to_an_archived_trip_can_be_asked(tmp_path: Path, settings: dict[str, str]) -> None:
    moved = await archive("--before", "2026-05-02", "--json", directory=tmp_path, settings=settings)

    shown = await payscore_worker("trip", "show", "paid", directory=tmp_path, settings=settings)

    assert shown.code == 1
    assert f"trip 'paid' ended as PAID; its story is in {moved.document['files'][0]}" in shown.err


async def test_trips_younger_than_the_retention_stay(tmp_path: Path, settings: dict[str, str]) -> None:
    kept = await archive("--before", "36500d", directory=tmp_path, settings=settings)

    assert (kept.code, kept.out) == (0, "0 trips moved, with 0 calls, 0 events and 0 refunds\n")


@pytest.mark.parametrize("before", ["2999-01-01", "yesterday", "2026-13-01", "3y", "-1d"])
async def test_a_date_that_is_none_or_is_still_to_come_is_refused(
    tmp_path: Path, settings: dict[str, str], before: str
) -> None:
    refused = await archive("--before", before, directory=tmp_path, settings=settings)

    assert refused.code == 2
    assert before in refused.err
