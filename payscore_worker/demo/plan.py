"""The trips of a demo: what is published when, what WeChat Pay does about it, and how each must end."""

import csv
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, Final

from payscore_worker.domain.trip import TripState

PLATFORM_TIME: Final = timezone(timedelta(hours=8))
"""The zone taken for the wall-clock times of a CSV file, which name none."""

RIDE_SECONDS: Final = (2.0, 14.0)
START_WITHIN_SECONDS: Final = 12.0

PLACES: Final = (
    "静安寺",
    "虹桥火车站",
    "人民广场",
    "陆家嘴",
    "徐家汇",
    "五角场",
    "浦东国际机场T2",
    "世纪大道",
    "豫园",
    "张江高科",
)

REFUND: Final = "refund.requested"
LOWERED: Final = "trip.fare_lowered"

COMPRESSION: Final = 600
"""A CSV trip of ten minutes is played in a second."""


class BadCsv(ValueError):
    """A row of the CSV file cannot be read; the text names it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """An event to publish, this long after the trip begins."""

    after_seconds: float
    type: str
    data: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedTrip:
    """A trip to play."""

    trip_id: str
    openid: str
    begins_after_seconds: float
    messages: tuple[Message, ...]
    must_end: TripState
    owed_fen: int
    behaviour: Mapping[str, Any] = field(default_factory=dict)
    """What the simulator is told of the passenger; nothing: they pay."""
    callback_lost: bool = False
    afterwards: Message | None = None
    """What is published once the fare is paid: money is to go back, or the fare is lowered."""
    account: str = ""
    """Whose trip it is; empty: the default account's, which no message names."""

    @property
    def lowered_fen(self) -> int | None:
        """What the fare is lowered to, at whatever time."""
        told = [one for one in (*self.messages, self.afterwards) if one is not None and one.type == LOWERED]
        return int(told[-1].data["total_fen"]) if told else None

    @property
    def asked_back_fen(self) -> int:
        """What the ride service asks to have sent back."""
        is_refund = self.afterwards is not None and self.afterwards.type == REFUND
        return int(self.afterwards.data["amount_fen"]) if is_refund and self.afterwards is not None else 0

    @property
    def fare_fen(self) -> int:
        """What is owed in the end."""
        return self.owed_fen if self.lowered_fen is None else self.lowered_fen

    def back_fen(self, charged_fen: int) -> int:
        """Say what must go back of what was charged: what was asked for, and what is above the fare."""
        return self.asked_back_fen + charged_fen - self.fare_fen


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """What is special about a made-up trip."""

    must_end: TripState = TripState.PAID
    behaviour: Mapping[str, Any] = field(default_factory=dict)
    fare_fen: int | None = None
    told_twice: bool = False
    end_told_first: bool = False
    callback_lost: bool = False
    refunded_percent: int = 0
    lowered_percent: int = 0
    """By so much the fare is lowered: once it is paid, or while the money is out, of one who pays late."""


ORDINARY: Final = Kind()

PAYS_LATE: Final = {"behaviour": "pays_late", "seconds": 6}

LOWERED_AFTER_SECONDS: Final = 2.0
"""After the end: long before one pays who pays late."""

KINDS: Final[Mapping[int, Kind]] = {
    **dict.fromkeys((7, 29, 51, 73, 95), Kind(must_end=TripState.DECLINED, behaviour={"behaviour": "not_enabled"})),
    **dict.fromkeys((13, 57), Kind(must_end=TripState.DECLINED, behaviour={"behaviour": "risk_refused"})),
    33: Kind(must_end=TripState.DECLINED, behaviour={"behaviour": "arrears"}),
    71: Kind(must_end=TripState.DECLINED, fare_fen=60_000),  # above what PayScore takes for a ride
    **dict.fromkeys((17, 41, 83), Kind(must_end=TripState.CANCELLED)),
    **dict.fromkeys((11, 37, 61, 89), Kind(told_twice=True)),
    **dict.fromkeys((19, 43, 67, 97), Kind(end_told_first=True)),
    23: Kind(callback_lost=True),
    47: Kind(fare_fen=0),
    **dict.fromkeys((5, 53), Kind(refunded_percent=40)),
    87: Kind(refunded_percent=100),
    79: Kind(behaviour=PAYS_LATE),
    **dict.fromkeys((31, 63), Kind(behaviour=PAYS_LATE, lowered_percent=30)),
    **dict.fromkeys((3, 58), Kind(lowered_percent=30)),
}
"""By the last two digits of the trip's number, so that each kind is there in any demo of a hundred."""


SECOND: Final = "suzhou"
"""The account of a second company, in the next city."""

IN_THE_NEXT_CITY: Final = 3
"""Of every five trips, the one whose number leaves this; declined, cancelled, free and refunded ones are among them."""


def generated_trips(count: int, seed: int) -> list[PlannedTrip]:
    """Make trips with some of everything that happens in a city; the same ones for the same seed."""
    return [_made_up(number, random.Random(f"{seed}/{number}")) for number in range(1, count + 1)]  # noqa: S311 - a demo


def with_second_account(trips: Sequence[PlannedTrip]) -> list[PlannedTrip]:
    """Have every fifth trip be one of a second company."""
    return [_of_second(trip) if number % 5 == IN_THE_NEXT_CITY else trip for number, trip in enumerate(trips, 1)]


def _of_second(trip: PlannedTrip) -> PlannedTrip:
    messages = tuple(
        replace(one, data={**one.data, "account": SECOND}) if one.type == "trip.started" else one
        for one in trip.messages
    )
    return replace(trip, messages=messages, account=SECOND)


def _made_up(number: int, chance: random.Random) -> PlannedTrip:
    kind = KINDS.get(number % 100, ORDINARY)
    trip_id, openid = f"demo-{number:06d}", f"oDemo{number:06d}{chance.getrandbits(64):016x}"
    begins_after_seconds = chance.uniform(0, START_WITHIN_SECONDS)
    begins = datetime.now(UTC) + timedelta(seconds=begins_after_seconds)
    start = Message(after_seconds=0, type="trip.started", data=_started(trip_id, openid, begins, chance))
    end = _last_message(trip_id, kind, begins, chance)
    messages, afterwards = [start, end], _refund(trip_id, end.data.get("total_fen", 0), kind)
    if kind.lowered_percent:
        lowered = _lowered(trip_id, end, kind)
        if kind.behaviour:
            messages.append(lowered)
        else:
            afterwards = replace(lowered, after_seconds=0)
    if kind.end_told_first:
        messages = [replace(end, after_seconds=0), replace(start, after_seconds=1)]
    return PlannedTrip(
        trip_id=trip_id,
        openid=openid,
        begins_after_seconds=begins_after_seconds,
        messages=tuple(messages * 2 if kind.told_twice else messages),
        must_end=kind.must_end,
        owed_fen=end.data["total_fen"] if kind.must_end is TripState.PAID else 0,
        behaviour=kind.behaviour,
        callback_lost=kind.callback_lost,
        afterwards=afterwards,
    )


def _refund(trip_id: str, total_fen: int, kind: Kind) -> Message | None:
    if not kind.refunded_percent:
        return None
    refund = {
        "trip_id": trip_id,
        "refund_id": f"{trip_id}-refund",
        "amount_fen": total_fen * kind.refunded_percent // 100,
        "reason": "绕路补偿",
    }
    return Message(after_seconds=0, type=REFUND, data=refund)


def _lowered(trip_id: str, end: Message, kind: Kind) -> Message:
    total_fen = end.data["total_fen"] * (100 - kind.lowered_percent) // 100
    data = {
        "trip_id": trip_id,
        "lowered_at": end.data["ended_at"],
        "fees": [{"name": "里程费", "amount_fen": total_fen}],
        "total_fen": total_fen,
        "reason": "绕路，下调车费",
    }
    return Message(after_seconds=end.after_seconds + LOWERED_AFTER_SECONDS, type=LOWERED, data=data)


def _last_message(trip_id: str, kind: Kind, begins: datetime, chance: random.Random) -> Message:
    ride_seconds = chance.uniform(*RIDE_SECONDS)
    ends = (begins + timedelta(seconds=ride_seconds)).isoformat()
    if kind.must_end is TripState.CANCELLED:
        cancelled = {"trip_id": trip_id, "cancelled_at": ends, "reason": "乘客取消行程"}
        return Message(after_seconds=ride_seconds, type="trip.cancelled", data=cancelled)
    return Message(after_seconds=ride_seconds, type="trip.ended", data=_ended(trip_id, ends, kind.fare_fen, chance))


def _started(trip_id: str, openid: str, begins: datetime, chance: random.Random) -> dict[str, Any]:
    start, end = chance.sample(PLACES, 2)
    return {
        "trip_id": trip_id,
        "openid": openid,
        "started_at": begins.isoformat(),
        "start_location": start,
        "end_location": end,
    }


def _ended(trip_id: str, ends: str, fare_fen: int | None, chance: random.Random) -> dict[str, Any]:
    fees_fen: dict[str, int] = {"里程费": fare_fen or 0}
    discounts_fen: dict[str, int] = {}
    if fare_fen is None:
        fees_fen = {"里程费": chance.randrange(1_000, 9_000), "过路费": chance.choice([0, 0, 500, 1_500])}
        discounts_fen = {"优惠券": chance.choice([0, 0, 300, 800])}
    fees = [{"name": name, "amount_fen": fen} for name, fen in fees_fen.items() if fen or name == "里程费"]
    discounts = [{"name": name, "amount_fen": fen} for name, fen in discounts_fen.items() if fen]
    return {
        "trip_id": trip_id,
        "ended_at": ends,
        "end_location": chance.choice(PLACES),
        "fees": fees,
        "discounts": discounts,
        "total_fen": sum(fees_fen.values()) - sum(discounts_fen.values()),
    }


def trips_from_csv(path: Path, count: int | None) -> list[PlannedTrip]:
    """Read one trip a row (contract 7): money in units of 1, taken as yuan; all of them are to be paid.

    Raises:
        BadCsv: the file or a row cannot be read.

    """
    trips: list[PlannedTrip] = []
    for number, row in _rows(path):
        if count is not None and len(trips) == count:
            break
        try:
            trips.append(_trip_of_row(number, row))
        except (KeyError, ValueError, InvalidOperation) as error:
            raise BadCsv(f"{path}: row {number}: {error!r}") from error
    return trips


def _rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    try:
        with path.open(newline="", encoding="utf-8") as file:
            yield from enumerate(csv.DictReader(file), 1)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BadCsv(f"{path}: {error}") from error


def _trip_of_row(number: int, row: Mapping[str, str]) -> PlannedTrip:
    trip_id, openid = f"csv-{number:06d}", f"oCsv{number:06d}Passenger"
    picked_up, dropped_off = (_moment(row[name]) for name in ("pickup", "dropoff"))
    fare_fen, tip_fen, tolls_fen, total_fen = (_fen(row[name]) for name in ("fare", "tip", "tolls", "total"))
    items = {
        "车费": fare_fen,
        "小费": tip_fen,
        "过路费": tolls_fen,
        "附加费": total_fen - fare_fen - tip_fen - tolls_fen,
    }
    started = {
        "trip_id": trip_id,
        "openid": openid,
        "started_at": picked_up.isoformat(),
        "start_location": row["pickup_zone"],
    }
    ended = {
        "trip_id": trip_id,
        "ended_at": dropped_off.isoformat(),
        "end_location": row["dropoff_zone"],
        "fees": [{"name": name, "amount_fen": fen} for name, fen in items.items() if fen],
        "total_fen": total_fen,
    }
    ride_seconds = (dropped_off - picked_up).total_seconds() / COMPRESSION
    return PlannedTrip(
        trip_id=trip_id,
        openid=openid,
        begins_after_seconds=0,
        messages=(
            Message(after_seconds=0, type="trip.started", data=started),
            Message(after_seconds=max(0.0, ride_seconds), type="trip.ended", data=ended),
        ),
        must_end=TripState.PAID,
        owed_fen=total_fen,
    )


def _fen(yuan: str) -> int:
    fen = Decimal(yuan) * 100
    if fen != int(fen) or fen < 0:
        raise ValueError(f"{yuan!r} is not an amount of money")
    return int(fen)


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=PLATFORM_TIME)
