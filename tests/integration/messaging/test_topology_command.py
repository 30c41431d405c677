"""`topology`, `topology plan` and `topology apply`, as people and scripts call them."""

from pathlib import Path

import pytest

from tests.acceptance.commands import Done, payscore_worker
from tests.integration.messaging.desk import TRIP_ENDED, Desk
from tests.integration.messaging.managed import Site, a_site

pytestmark = pytest.mark.timeout(300)  # a broker of its own to start

SHORT = "50ms,120ms"


async def run(directory: Path, prefix: str, *arguments: str, **settings: str) -> Done:
    plain = {"PAYSCORE_AMQP_PREFIX": prefix, "PAYSCORE_RETRY_DELAYS": SHORT}
    return await payscore_worker("topology", *arguments, directory=directory, settings=plain | settings)


def of(site: Site) -> dict[str, str]:
    return {"PAYSCORE_AMQP_URL": site.amqp_url, "PAYSCORE_MANAGEMENT_URL": site.management_url}


async def test_plan_changes_nothing_and_topology_alone_declares(tmp_path: Path, desk: Desk) -> None:
    await desk.delete_queue(TRIP_ENDED)

    plan = await run(tmp_path, desk.topology.prefix, "plan", "--json")
    assert plan.code == 1
    (drift,) = plan.document["drifts"]
    assert (drift["subject"], drift["remedy"]) == (desk.topology.name(TRIP_ENDED), "declare")
    assert "PAYSCORE_MANAGEMENT_URL is not set" in plan.document["unseen"][0]

    assert (await run(tmp_path, desk.topology.prefix, "--json")).code == 0
    again = await run(tmp_path, desk.topology.prefix, "plan")
    assert again.code == 0
    assert "nothing is to be done" in again.out
    assert "? bindings and policies could not be looked at: PAYSCORE_MANAGEMENT_URL is not set" in again.out


async def test_json_of_a_subcommand_comes_after_it(tmp_path: Path) -> None:
    done = await run(tmp_path, "test-none.", "--json", "plan")

    assert done.code == 2
    assert "--json comes after plan" in done.err


async def test_plan_says_how_an_administrator_sets_our_policy_and_apply_sets_it(
    tmp_path: Path, managed_rabbitmq: tuple[str, str]
) -> None:
    async with a_site(managed_rabbitmq, as_before=True) as site:
        prefix = site.topology.prefix
        await site.look_until(*(name.removeprefix(prefix) for name in site.topology.queues if name.endswith(".dead")))

        plan = await run(tmp_path, prefix, "plan", **of(site))
        assert plan.code == 1
        assert f"rabbitmqctl set_policy -p / --apply-to queues --priority 10 {prefix}payscore-kept" in plan.out

        applied = await run(tmp_path, prefix, "apply", "--json", **of(site))
        assert applied.code == 0, applied.err
        assert applied.document == {"ok": True, "drifts": [], "unseen": []}


async def test_apply_says_in_one_line_that_it_may_not_set_policies(
    tmp_path: Path, managed_rabbitmq: tuple[str, str]
) -> None:
    async with a_site(managed_rabbitmq) as site:
        await site.redeclare(site.place(f"{TRIP_ENDED}.dead"), {"x-queue-type": "quorum"})
        wrong = site.management_url.replace("guest:guest", "guest:hunter2")

        done = await run(tmp_path, site.topology.prefix, "apply", **of(site) | {"PAYSCORE_MANAGEMENT_URL": wrong})

        assert done.code == 1
        (line,) = done.err.strip().splitlines()
        assert line.startswith("error: PAYSCORE_MANAGEMENT_URL: it answers 401")
        assert "policymaker" in line
        assert "hunter2" not in done.err + done.out
