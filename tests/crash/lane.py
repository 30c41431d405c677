"""A lane: a simulator, a webhook, a worker, names at the broker and databases of its own; cases run in it in a row."""

import asyncio
import itertools
import os
import signal
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from deploy.local.processes import free_ports
from payscore_worker.bootstrap.wiring import make_topology
from payscore_worker.migrations import migrate
from payscore_worker.simulator import Company, SimulatorConfig, SimulatorKeys, environment, write_accounts
from payscore_worker.storage.engine import engine_for
from payscore_worker.storage.reports import Reports
from payscore_worker.storage.tables import metadata
from tests.crash import impatience
from tests.crash.desk import Desk, a_desk
from tests.crash.orphans import names_taken
from tests.crash.points import Passed, Plan, read_trace
from tests.crash.roles import Forks, Process, Starter

READY_SECONDS: Final = 60.0
"""A role is up within half a second; this is for a machine that is busy with other tests."""

POLL_SECONDS: Final = 0.03

QUIET_SECONDS: Final = 0.15
"""No point was passed for this long, and there is a reason for none: whatever was going on is over."""

LONG_QUIET_SECONDS: Final = 0.8
"""For what passes no point while it goes on: RabbitMQ moving a message from one queue to the next."""

HTTP_SECONDS: Final = 10.0

SPEED: Final = 200.0
"""WeChat Pay's re-send after 15 s comes after 0.08 s, the debit after 0.05 s."""

CONFIRMED_SERVICE: Final = "00004000000000000000000000000002"
"""The service of our merchant whose orders the passenger confirms."""

FIRST: Final = "shanghai"
SECOND: Final = "suzhou"
"""The accounts, where there are several; the first is the default."""

PAY_AFTER_SECONDS: Final = 10.0

MAX_UNEXPECTED_DEATHS: Final = 20
"""A role that dies this often by itself will not stop doing so."""


def role_of(point: str) -> str:
    """Tell in which process a point lies: the relay and the reconciler are parts of the worker."""
    return "webhook" if point.startswith("webhook ") else "worker"


class LaneBroken(RuntimeError):
    """A lane does not come up, or does not come to rest between cases; the text says where its logs are."""


@dataclass(frozen=True, slots=True, order=True)
class Setting:
    """What the roles of a lane are started with."""

    database: str
    """`postgresql` or `sqlite`."""
    family: str
    bug: str = ""
    confirm_expires: str = ""
    """How long a passenger may take to confirm an order; empty: there is nothing to confirm."""
    account: str = ""
    """Whose trips they are, where there are several accounts; empty: there is one. The other has the other family."""
    second_risk_fen: str = ""
    """For how much an order is asked for again that was refused for risk; empty: it is not."""


@dataclass(slots=True)
class Role:
    """A role, supervised: started again whenever it dies."""

    name: str
    port: int
    plan_file: Path
    trace: Path
    log: Path
    plan: Plan = field(init=False)
    process: Process | None = None
    supervising: asyncio.Task[None] | None = None

    def __post_init__(self) -> None:
        self.plan = Plan(self.plan_file)


class Lane:
    """See the module."""

    def __init__(
        self,
        *,
        forks: Starter,
        desk: Desk,
        http: httpx.AsyncClient,
        directory: Path,
        ports: Sequence[int],
        keys: Path,
        settings: Mapping[str, str],
        databases: Mapping[str, tuple[str, AsyncEngine]],
    ) -> None:
        self.desk = desk
        self.http = http
        self.setting: Setting | None = None
        self.deaths: list[str] = []
        self.struck: list[str] = []
        self._forks = forks
        self._directory = directory
        self._keys = keys
        self._settings = settings
        self._databases = databases
        self._generations = itertools.count(1)
        self._generation = 0
        self._crashes: list[str] = []
        self._merchants: Mapping[str, str] = {}
        simulator_port, webhook_port, ops_port = ports
        self._simulator_port = simulator_port
        self.simulator_url = f"http://127.0.0.1:{simulator_port}"
        self.configs = {
            FIRST: _config(keys, f"http://127.0.0.1:{webhook_port}/notify/payscore"),
            SECOND: _config(
                keys.with_name(f"{keys.name}-{SECOND}"), f"http://127.0.0.1:{webhook_port}/notify/{SECOND}"
            ),
        }
        self._roles = {
            name: Role(
                name=name,
                port=port,
                plan_file=directory / f"{name}.plan",
                trace=directory / f"{name}.trace",
                log=directory / f"{name}.log",
            )
            for name, port in (("worker", ops_port), ("webhook", webhook_port))
        }
        self._simulator: Process | None = None

    # --- Roles ---

    async def start_simulator(self) -> None:
        """Be WeChat Pay, for as long as the lane stands."""
        self._simulator = self._forks.start(
            "simulator",
            variables={},
            log=str(self._directory / "simulator.log"),
            simulator={
                "port": self._simulator_port,
                "merchants": [
                    (str(self._keys), self.configs[FIRST].notify_url),
                    (str(self._keys.with_name(f"{self._keys.name}-{SECOND}")), self.configs[SECOND].notify_url),
                ],
                "speed": SPEED,
                "pay_after_seconds": PAY_AFTER_SECONDS,
                "refund_after_seconds": PAY_AFTER_SECONDS,
                "confirmed_service": CONFIRMED_SERVICE,
            },
        )
        await self._until_ready([self._simulator_port])

    async def change(self, setting: Setting) -> None:
        """Run the roles with another setting."""
        if setting == self.setting:
            return
        await self.stop()
        self.setting = setting
        self._merchants = self._merchants_of(setting)
        self.arm([])
        self.start()
        await self.ready()

    def start(self) -> None:
        """Start worker and webhook, supervised."""
        for role in self._roles.values():
            if role.supervising is None:
                role.supervising = asyncio.create_task(self._supervise(role))

    async def stop(self, *names: str) -> None:
        """Kill worker and webhook, or some of them, and leave them dead."""
        for role in self._roles.values():
            if role.supervising is None or (names and role.name not in names):
                continue
            role.supervising.cancel()
            await asyncio.wait([role.supervising])
            role.supervising = None
            if role.process is not None:
                await role.process.kill()

    async def close(self) -> None:
        """Kill everything."""
        await self.stop()
        if self._simulator is not None:
            await self._simulator.kill()
        for role in self._roles.values():
            role.plan.close()

    async def ready(self) -> None:
        """Wait until every role is ready."""
        await self._until_ready([role.port for role in self._roles.values()])

    async def is_ready(self) -> bool:
        """Ask once."""
        return all([await self._answers(role.port) for role in self._roles.values()])

    async def _supervise(self, role: Role) -> None:
        while len(self.deaths) <= MAX_UNEXPECTED_DEATHS:
            role.process = self._fork(role)
            self._note_death(role, await role.process.gone())

    def _fork(self, role: Role) -> Process:
        return self._forks.start(
            role.name,
            variables=self._variables(),
            log=str(role.log),
            plan=str(role.plan_file),
            trace=str(role.trace),
            bug=self._set.bug,
        )

    def _note_death(self, role: Role, status: int) -> None:
        if status == -signal.SIGKILL and self._crashes and role_of(self._crashes[0]) == role.name:
            passed = read_trace(role.trace, since=self._generation)
            self.struck.append(passed[-1].point if passed else role.name)
            self._tell(self._crashes[1:])
        else:
            self.deaths.append(f"{role.name} ended by itself with status {status}")

    def _variables(self) -> dict[str, str]:
        setting = self._set
        return {
            **self._merchants,
            **self._settings,
            **_confirming(setting.confirm_expires),
            **({"PAYSCORE_SECOND_RISK_AMOUNT_FEN": setting.second_risk_fen} if setting.second_risk_fen else {}),
            "PAYSCORE_DATABASE_URL": self._databases[setting.database][0],
            "PAYSCORE_WEBHOOK_PORT": str(self._roles["webhook"].port),
            "PAYSCORE_OPS_PORT": str(self._roles["worker"].port),
        }

    def _merchants_of(self, setting: Setting) -> dict[str, str]:
        """Name the merchant; or both, of whom the other one's orders are of the other family."""
        if not setting.account:
            return environment(self.config, base_url=self.simulator_url, family=setting.family)
        companies = [
            Company(
                name=name, config=config, family=setting.family if name == setting.account else other_family(setting)
            )
            for name, config in self.configs.items()
        ]
        return write_accounts(self._directory / "accounts", companies, base_url=self.simulator_url)

    @property
    def _set(self) -> Setting:
        if self.setting is None:
            raise LaneBroken("no setting")
        return self.setting

    async def _until_ready(self, ports: Sequence[int]) -> None:
        deadline = time.monotonic() + READY_SECONDS
        for port in ports:
            while not await self._answers(port):
                if time.monotonic() > deadline:
                    raise LaneBroken(f"a role is not ready after {READY_SECONDS:.0f} s; see {self._directory}")
                await asyncio.sleep(POLL_SECONDS)

    async def _answers(self, port: int) -> bool:
        try:
            return (await self.http.get(f"http://127.0.0.1:{port}/readyz")).is_success
        except httpx.HTTPError:
            return False

    # --- Crashes ---

    def arm(self, crashes: Sequence[str]) -> None:
        """Say where to die, one crash after the other; begins a new count of points and a new trace."""
        for role in self._roles.values():
            if role.trace.exists():
                os.truncate(role.trace, 0)
        self.deaths.clear()
        self.struck = []
        self._tell(crashes)

    def _tell(self, crashes: Sequence[str]) -> None:
        self._crashes = list(crashes)
        self._generation = next(self._generations)
        for role in self._roles.values():
            point = crashes[0] if crashes and role_of(crashes[0]) == role.name else ""
            role.plan.tell(self._generation, point)

    def passed(self) -> list[Passed]:
        """List the points that were passed since the last arming, of all roles, in order."""
        found = [passed for role in self._roles.values() for passed in read_trace(role.trace)]
        return sorted(found, key=lambda passed: passed.at_ns)

    def pace(self) -> tuple[int, ...]:
        """Give what changes whenever a point is passed."""
        traces = (role.trace for role in self._roles.values())
        return tuple(trace.stat().st_size if trace.exists() else 0 for trace in traces)

    # --- WeChat Pay ---

    @property
    def account(self) -> str:
        """Whose trips they are."""
        return self.named_account or FIRST

    @property
    def named_account(self) -> str:
        """What the ride service names; empty where there is one."""
        return self.setting.account if self.setting else ""

    @property
    def others(self) -> list[str]:
        """Name the accounts that have nothing to do with these trips."""
        return [name for name in self.configs if name != self.account] if self.named_account else []

    @property
    def config(self) -> SimulatorConfig:
        """What the account's WeChat Pay is set up with."""
        return self.configs[self.account]

    async def tell_wechatpay(self, method: str, path: str, content: object = None, *, account: str = "") -> Any:
        """Script the WeChat Pay of the account whose trips they are, or of another."""
        mchid = self.configs[account or self.account].keys.mchid
        response = await self.http.request(method, f"{self.simulator_url}/merchants/{mchid}{path}", json=content)
        response.raise_for_status()
        return response.json()

    # --- Database ---

    @property
    def database_url(self) -> str:
        """Where the roles keep their trips."""
        return self._databases[self._set.database][0]

    @property
    def engine(self) -> AsyncEngine:
        """The database of the setting."""
        return self._databases[self._set.database][1]

    @property
    def reports(self) -> Reports:
        """What is stored."""
        return Reports(self.engine)

    async def wipe(self) -> None:
        """Forget everything: what a broken case has left must not be held against the next one."""
        await self.stop()
        await self.desk.purge()
        async with self.engine.begin() as connection:
            for table in metadata.sorted_tables:
                await connection.execute(table.delete())
        for account in (self.account, *self.others):
            await self.tell_wechatpay("POST", "/admin/reset", account=account)
        self.arm([])
        self.start()
        await self.ready()


def other_family(setting: Setting) -> str:
    """Name the family that these trips are not of."""
    return "serviceorder" if setting.family == "payafter" else "payafter"


def _config(keys: Path, notify_url: str) -> SimulatorConfig:
    return SimulatorConfig(keys=SimulatorKeys.load_or_create(keys), notify_url=notify_url)


def _confirming(expires: str) -> dict[str, str]:
    if not expires:
        return {}
    return {
        "PAYSCORE_SERVICE_ID": CONFIRMED_SERVICE,
        "PAYSCORE_NEED_USER_CONFIRM": "true",
        "PAYSCORE_CONFIRM_EXPIRES": expires,
    }


@asynccontextmanager
async def a_lane(*, forks: Forks, amqp_url: str, postgresql_url: str | None, directory: Path) -> AsyncIterator[Lane]:
    """Build a lane, and leave broker and databases as they were."""
    async with AsyncExitStack() as stack:
        names = stack.enter_context(
            names_taken(
                "crash",
                amqp_url=amqp_url,
                retry_delays=impatience.SETTINGS["PAYSCORE_RETRY_DELAYS"],
                postgresql_url=postgresql_url,
            )
        )
        broker = names.broker
        directory /= names.id
        directory.mkdir()
        databases = {"sqlite": await stack.enter_async_context(opened(f"sqlite+aiosqlite:///{directory / 'crash.db'}"))}
        if postgresql_url is not None:
            url = await stack.enter_async_context(own_schema(postgresql_url, names.schema))
            databases["postgresql"] = await stack.enter_async_context(opened(url))
        desk = await stack.enter_async_context(a_desk(amqp_url, make_topology(broker)))
        http = await stack.enter_async_context(httpx.AsyncClient(timeout=HTTP_SECONDS))
        lane = Lane(
            forks=forks,
            desk=desk,
            http=http,
            directory=directory,
            ports=free_ports(3),
            keys=directory.parent / "keys",
            settings={**impatience.SETTINGS, "PAYSCORE_AMQP_URL": amqp_url, "PAYSCORE_AMQP_PREFIX": broker.amqp_prefix},
            databases=databases,
        )
        stack.push_async_callback(lane.close)
        await lane.start_simulator()
        yield lane


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[tuple[str, AsyncEngine]]:
    """Make the tables, and look at them through one connection that is kept: every case looks many times."""
    await migrate(url)
    plain, _, schema = url.partition("search_path=")
    options = {"server_settings": {"search_path": schema}} if schema else {}
    engine = create_async_engine(
        plain.rstrip("?&"), pool_size=1, max_overflow=0, pool_pre_ping=True, connect_args=options
    )
    try:
        yield url, engine
    finally:
        await engine.dispose()


@asynccontextmanager
async def own_schema(url: str, schema: str) -> AsyncIterator[str]:
    """Make a schema, and give the URL that leads into it."""
    async with engine_for(url) as engine:
        async with engine.begin() as connection:
            await connection.execute(text(f"CREATE SCHEMA {schema}"))
        try:
            yield f"{url}{'&' if '?' in url else '?'}search_path={schema}"
        finally:
            async with engine.begin() as connection:
                await connection.execute(text(f"DROP SCHEMA {schema} CASCADE"))
