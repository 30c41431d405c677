"""A sample of the faults, each for a few seconds; `make faults` stages them all."""

from pathlib import Path

import pytest

from tests.faults.cases import Result
from tests.faults.faults import FAULTS
from tests.faults.matrix import a_matrix
from tests.faults.site import Servers
from tests.integration.databases import postgresql_url

SAMPLE = (
    "database: cut after the request",
    "database: became a standby",
    "database: serialization failures",
    "broker: cut in mid-reply",
    "broker: basic.cancel",
    "WeChat Pay: cut after the request",
)
SECONDS = 3.0

SETTINGS = {"PAYSCORE_RETRY_DELAYS": "1s,2s,3s,5s,10s,10s"}
"""A ladder with lower rungs: a message that failed twice comes back after two seconds, and not after thirty."""

# By itself the sample takes under a minute, most of it waiting; beside other tests on two cores, thrice that.
pytestmark = pytest.mark.timeout(300)


def broken(results: list[Result]) -> dict[str, list[str]]:
    return {one.fault.name: [str(violation) for violation in one.violations] for one in results if one.violations}


async def test_nothing_is_lost_and_the_worker_works_again_whatever_befalls_its_links(
    amqp_url: str, tmp_path: Path
) -> None:
    servers = Servers(amqp_url=amqp_url, postgresql_url=postgresql_url())
    results: list[Result] = []
    async with a_matrix(
        servers=servers, lanes=len(SAMPLE), private=False, directory=tmp_path, settings=SETTINGS
    ) as matrix:
        await matrix.play([FAULTS[name] for name in SAMPLE], results.append, family="payafter", seconds=SECONDS)

    assert {one.fault.name for one in results} == set(SAMPLE)
    assert broken(results) == {}
