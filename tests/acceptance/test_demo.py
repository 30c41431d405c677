"""The demo settles every trip, whatever is killed meanwhile, and says so in the words of the contract."""

from pathlib import Path

from tests.acceptance.commands import payscore_worker
from tests.unit.demo.test_plan import HEADER, ROW


async def test_a_demo_of_each_family_settles_every_trip_and_accounts_for_every_fen(tmp_path: Path) -> None:
    done = await payscore_worker("demo", "--trips", "30", "--family", "both", "--json", directory=tmp_path)

    assert done.code == 0, done.err
    assert done.document["ok"] is True
    assert set(done.document["families"]) == {"payafter", "serviceorder"}
    for result in done.document["families"].values():
        assert result["trips"] == 30
        assert result["by_state"] == {"CANCELLED": 1, "DECLINED": 3, "PAID": 26}
        assert result["owed_fen"] == result["paid_fen"] > result["refunded_fen"] > 0
        assert result["returned_fen"] > 0
        assert result["problems"] == []
        assert result["seconds"] > 0
        assert {name: money["trips"] for name, money in result["accounts"].items()} == {"default": 24, "suzhou": 6}
        assert all(money["owed_fen"] == money["paid_fen"] > 0 for money in result["accounts"].values())


async def test_a_demo_of_real_trips_charges_their_fares(tmp_path: Path) -> None:
    (tmp_path / "trips.csv").write_text(f"{HEADER}\n{ROW}\n", encoding="utf-8")

    done = await payscore_worker("demo", "--from-csv", "trips.csv", "--json", directory=tmp_path)

    assert done.code == 0, done.err
    assert {name: family["paid_fen"] for name, family in done.document["families"].items()} == {"payafter": 1295}


async def test_worker_and_webhook_killed_again_and_again_still_settle_every_trip(tmp_path: Path) -> None:
    done = await payscore_worker("demo", "--trips", "60", "--kill-every", "1", "--json", directory=tmp_path)

    assert done.code == 0, done.out + done.err
    result = done.document["families"]["payafter"]
    assert result["restarts"] >= 6
    assert result["problems"] == []
    assert result["owed_fen"] == result["paid_fen"] > 0


async def test_a_csv_file_that_cannot_be_read_is_named_and_exit_code_2(tmp_path: Path) -> None:
    (tmp_path / "trips.csv").write_text("a,b\n1,2\n")

    done = await payscore_worker("demo", "--from-csv", "trips.csv", directory=tmp_path)

    assert done.code == 2
    assert "trips.csv: row 1" in done.err
