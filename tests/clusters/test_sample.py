"""A sample of what a cluster survives, for a few seconds; `make cluster` stages everything, and measures."""

from pathlib import Path

import pytest

from tests.clusters.cases import Times, play
from tests.clusters.failures import FAILURES
from tests.clusters.ground import a_ground

SAMPLE = "RabbitMQ and PostgreSQL: leader killed, then primary killed"

BRIEFLY = Times(before=2.0, stands=4.0, after=2.0)

# Alone it takes a minute, most of it until three nodes have started; beside other tests on two cores, thrice that.
pytestmark = pytest.mark.timeout(600)


async def test_nothing_is_lost_where_the_queues_leader_dies_and_then_the_primary_database(tmp_path: Path) -> None:
    async with a_ground(tmp_path) as ground:
        result = await play(ground, FAILURES[SAMPLE], family="payafter", times=BRIEFLY, last=True)

    assert result.violations == ()
    assert result.settled == result.trips == 80
