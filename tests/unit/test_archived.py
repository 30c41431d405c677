"""What is remembered of an archived trip knows what was said of it, also after facts have gained a member."""

from dataclasses import field, fields, make_dataclass, replace
from datetime import timedelta, timezone
from typing import Any, Final

import pytest

from payscore_worker.domain.trip import Fee
from payscore_worker.storage.archived import ArchivedTrip, digests
from tests.builders import NOW, SITUATIONS, a_cancellation, a_start, a_trip, an_end

TOLD: Final = replace(a_trip(), started=a_start(), ended=an_end(), cancelled=a_cancellation())

BEFORE_VERSIONS: Final = bytes.fromhex(
    "87db56c3b45b51dac7c36ba21b297bc4" + "fd90caa9f40c9113ee1e22cc63543419" + "e9f3de46c27bac946bc5a5ea5e394413"
)
VERSION_1: Final = bytes.fromhex(
    "01" + "5000a0319daefedd7f9551c9f46966b3" + "58a5c980d2c0a49088eb044838c3d3fe" + "e9f3de46c27bac946bc5a5ea5e394413"
)
"""Digests of TOLD as they stand in databases: they must be known for ever."""

KEPT: Final = {"before versions": BEFORE_VERSIONS, "version 1": VERSION_1}


def remembered(facts: bytes) -> ArchivedTrip:
    return replace(ArchivedTrip.of(SITUATIONS["paid"](), archive="f", archived_at=NOW), facts=facts)


def of_a_later_release(fact: Any, **added: Any) -> Any:
    """Make the fact as a release would that has added `vehicle`."""
    members = [(one.name, one.type, field(default=one.default)) for one in fields(fact)]
    members.append(("vehicle", str, field(default="")))
    later = make_dataclass(type(fact).__name__, members, frozen=True, kw_only=True)
    return later(**{one.name: getattr(fact, one.name) for one in fields(fact)}, **added)


def test_digests_are_written_as_the_version_says() -> None:
    assert digests(TOLD) == VERSION_1


@pytest.mark.parametrize("kept", KEPT)
def test_what_was_said_before_is_known_and_anything_else_is_not(kept: str) -> None:
    archived = remembered(KEPT[kept])
    shanghai = a_start(started_at=a_start().started_at.astimezone(timezone(timedelta(hours=8))))

    def knows(**said: Any) -> bool:
        return archived.knows(replace(a_trip(), **said))

    assert archived.knows(TOLD)
    assert knows(started=shanghai)
    assert not knows(started=a_start(introduction="another"))
    assert not knows(ended=an_end(total_fen=1))
    assert not knows(ended=an_end(fees=(Fee(name="里程费", amount_fen=3_500, count=2),)))
    assert not knows(cancelled=a_cancellation(reason="another"))


@pytest.mark.parametrize("kept", KEPT)
def test_a_member_that_a_later_release_adds_leaves_what_was_said_as_it_was(kept: str) -> None:
    archived = remembered(KEPT[kept])

    def knows(**said: Any) -> bool:
        return archived.knows(replace(a_trip(), **said))

    assert knows(started=of_a_later_release(a_start()))
    assert knows(ended=of_a_later_release(an_end()))
    assert not knows(started=of_a_later_release(a_start(), vehicle="沪A12345"))
    assert not knows(ended=of_a_later_release(an_end(), vehicle="沪A12345"))


def test_what_was_never_noted_is_not_known() -> None:
    archived = remembered(digests(replace(a_trip(), started=a_start())))

    assert archived.knows(replace(a_trip(), started=a_start()))
    assert not archived.knows(replace(a_trip(), ended=an_end()))


@pytest.mark.parametrize("facts", [b"", b"\x02" + bytes(48), bytes(64)], ids=["none", "version 2", "a fourth fact"])
def test_digests_of_a_newer_release_are_not_taken_for_something_else(facts: bytes) -> None:
    row = remembered(facts).row()

    with pytest.raises(ValueError, match="version"):
        ArchivedTrip.read(row)
