"""The plan of a demo: the same trips for the same seed, and a CSV row becomes a trip to the fen."""

from collections import Counter
from pathlib import Path

import msgspec
import pytest

from payscore_worker.demo.plan import SECOND, BadCsv, PlannedTrip, generated_trips, trips_from_csv, with_second_account
from payscore_worker.domain.trip import TripState
from payscore_worker.events import (
    EventIn,
    RefundRequested,
    TripCancelled,
    TripEnded,
    TripFareLowered,
    TripStarted,
)

HEADER = "pickup,dropoff,passengers,distance,fare,tip,tolls,total,color,payment,pickup_zone,dropoff_zone"
ROW = "2019-03-23 20:21:09,2019-03-23 20:27:24,1,1.6,7.0,2.15,0.0,12.95,yellow,card,Lenox Hill West,UN/Turtle Bay South"


def csv_of(tmp_path: Path, *rows: str, header: str = HEADER) -> Path:
    path = tmp_path / "trips.csv"
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path


def shape(trip: PlannedTrip) -> tuple[object, ...]:
    return (trip.trip_id, trip.openid, trip.must_end, trip.owed_fen, [message.type for message in trip.messages])


def test_the_same_seed_makes_the_same_trips_and_another_seed_others() -> None:
    one, same, other = (list(map(shape, generated_trips(50, seed))) for seed in (1, 1, 2))

    assert one == same != other


def test_a_hundred_trips_have_some_of_everything() -> None:
    trips = generated_trips(100, 1)

    states = Counter(trip.must_end for trip in trips)
    assert states[TripState.PAID] > 80
    assert {TripState.PAID, TripState.DECLINED, TripState.CANCELLED} == set(states)
    behaviours = {trip.behaviour.get("behaviour") for trip in trips}
    assert {None, "not_enabled", "risk_refused", "arrears", "pays_late"} == behaviours
    assert any(trip.callback_lost for trip in trips)
    assert any(trip.owed_fen == 0 and trip.must_end is TripState.PAID for trip in trips)
    refunded = [trip for trip in trips if trip.asked_back_fen]
    assert {trip.asked_back_fen == trip.owed_fen for trip in refunded} == {True, False}
    lowered = [trip for trip in trips if trip.lowered_fen is not None]
    assert {trip.afterwards is None for trip in lowered} == {True, False}
    assert all(trip.fare_fen < trip.owed_fen for trip in lowered)
    assert any(len(trip.messages) == 4 for trip in trips)
    assert any(trip.messages[0].type == "trip.ended" for trip in trips)


def test_every_made_up_event_is_one_that_the_worker_accepts() -> None:
    kinds: dict[str, type[EventIn]] = {
        "trip.started": TripStarted,
        "trip.ended": TripEnded,
        "trip.cancelled": TripCancelled,
        "refund.requested": RefundRequested,
        "trip.fare_lowered": TripFareLowered,
    }

    for trip in generated_trips(100, 1):
        for message in (*trip.messages, *filter(None, [trip.afterwards])):
            kinds[message.type].read(msgspec.json.encode(message.data))


def test_every_fifth_trip_may_be_a_second_companys_with_some_of_everything_among_them() -> None:
    trips = with_second_account(generated_trips(100, 1))

    second = [trip for trip in trips if trip.account == SECOND]
    assert len(second) == 20
    assert {trip.must_end for trip in second} == {TripState.PAID, TripState.DECLINED, TripState.CANCELLED}
    assert any(trip.asked_back_fen for trip in second)
    assert any(trip.lowered_fen is not None for trip in second)
    for trip in trips:
        named = {one.data.get("account", "") for one in trip.messages if one.type == "trip.started"}
        assert named == {trip.account}


def test_a_csv_row_becomes_a_trip_whose_fees_add_up_to_the_fen(tmp_path: Path) -> None:
    (trip,) = trips_from_csv(csv_of(tmp_path, ROW), None)

    started, ended = (message.data for message in trip.messages)
    assert trip.owed_fen == ended["total_fen"] == 1295
    assert {fee["name"]: fee["amount_fen"] for fee in ended["fees"]} == {"车费": 700, "小费": 215, "附加费": 380}
    assert (started["start_location"], ended["end_location"]) == ("Lenox Hill West", "UN/Turtle Bay South")
    assert started["started_at"] == "2019-03-23T20:21:09+08:00"


def test_as_many_rows_are_taken_as_are_asked_for(tmp_path: Path) -> None:
    path = csv_of(tmp_path, *[ROW] * 5)

    assert len(trips_from_csv(path, 3)) == 3
    assert len({trip.openid for trip in trips_from_csv(path, None)}) == 5


@pytest.mark.parametrize(
    "row",
    [
        ROW.replace("12.95", "12.955"),
        ROW.replace("12.95", "-1"),
        ROW.replace("12.95", "free"),
        ROW.replace("2019-03-23 20:21:09", "yesterday"),
    ],
)
def test_a_row_that_cannot_be_read_is_named(tmp_path: Path, row: str) -> None:
    with pytest.raises(BadCsv, match="row 2"):
        trips_from_csv(csv_of(tmp_path, ROW, row), None)


def test_a_file_without_the_columns_or_no_file_at_all_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadCsv, match="row 1"):
        trips_from_csv(csv_of(tmp_path, "1,2", header="a,b"), None)
    with pytest.raises(BadCsv, match="nowhere"):
        trips_from_csv(tmp_path / "nowhere.csv", None)
