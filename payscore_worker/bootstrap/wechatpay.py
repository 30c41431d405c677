"""WeChat Pay, as the settings of the merchant want it."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, TypeVar

import httpx
import structlog
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from payscore_worker.accounts import AccountSettings, read_accounts
from payscore_worker.bootstrap.wiring import now
from payscore_worker.domain.account import DEFAULT, Account
from payscore_worker.errors import WechatPayError
from payscore_worker.settings import Environment, MerchantSettings, SettingsError
from payscore_worker.storage.belonging import Owners
from payscore_worker.wechatpay import (
    Breaker,
    Breakers,
    Merchant,
    Notifications,
    UnusableCertificates,
    VerificationKeys,
    WechatPayClient,
    load_private_key,
    load_public_key,
    make_transport,
)
from payscore_worker.wechatpay.payscore import AccountPayScores, GuardedPayScores, MerchantPayScores, PayScores
from payscore_worker.wechatpay.skew import Skew
from payscore_worker.wechatpay.transactions import AccountRefunds, GuardedRefunds, MerchantRefunds, Refunds

MAX_CONNECTIONS: Final = 200
"""Enough for every message in hand of the busiest queues."""

IDLE_SECONDS: Final = 20.0
"""A connection that has been idle for longer may be gone at their side."""

_T = TypeVar("_T")

log = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class WechatPay:
    """Everything we have of WeChat Pay."""

    client: WechatPayClient
    keys: VerificationKeys
    payscores: MerchantPayScores
    refunds: MerchantRefunds
    notifications: Notifications

    async def warm_up(self) -> None:
        """Fetch the keys that prove what WeChat Pay says, so that the first call does not wait for them.

        Raises:
            SettingsError: our APIv3 key opens nothing of what WeChat Pay sends.

        """
        try:
            await self.keys.refresh()
        except UnusableCertificates as error:
            raise SettingsError(f"PAYSCORE_APIV3_KEY: the platform certificates {error}") from error
        except WechatPayError as error:
            log.warning("keys_not_fetched", reason=str(error))  # asked for again when they are needed


class WechatPays:
    """Everything we have of WeChat Pay, for each account; the first is the default."""

    def __init__(self, accounts: Mapping[str, WechatPay], settings: Sequence[AccountSettings]) -> None:
        self.by_name: Final = accounts
        self.settings: Final = settings
        self.default: Final = next(iter(accounts.values()))
        self.payscores: Final = _of_all({name: one.payscores for name, one in accounts.items()})
        self.refunds: Final = _refunds_of_all([one.refunds for one in accounts.values()])

    @property
    def accounts(self) -> list[Account]:
        """What the trips of each account go by."""
        return [one.account for one in self.settings]

    @property
    def names(self) -> dict[str, str]:
        """The names of several accounts, by mchid; none where there is one, which needs no telling."""
        return {one.mchid: one.name for one in self.accounts} if len(self.settings) > 1 else {}

    @property
    def owners(self) -> Owners:
        """Tell whose a row is, be there one account or several."""
        return Owners(default=self.accounts[0].name, names={one.mchid: one.name for one in self.accounts})

    @property
    def ready(self) -> bool:
        """Whether what WeChat Pay says can be verified, for one account at least: another's trouble is its own."""
        return any(one.keys.ready for one in self.by_name.values())

    async def warm_up(self) -> None:
        """Fetch the keys of every account.

        Raises:
            SettingsError: the APIv3 key of the only account opens nothing. One of several is left to its own breaker.

        """
        await asyncio.gather(*(self._warm_up(one) for one in self.settings))

    async def _warm_up(self, settings: AccountSettings) -> None:
        try:
            await self.by_name[settings.name].warm_up()
        except SettingsError as error:
            if len(self.by_name) == 1:
                raise
            log.error("account_misconfigured", account=settings.name, reason=str(settings.error(error)))  # noqa: TRY400 - the text says it

    async def aclose(self) -> None:
        """Close every connection."""
        for one in self.by_name.values():
            await one.client.aclose()


class Guarded:
    """Every account behind a breaker of its own: one that is out holds up no other."""

    def __init__(self, wechatpays: WechatPays, *, clock_trouble: Callable[[], str] = lambda: "") -> None:
        self._breakers = {
            name: Breaker(account=name, clock_trouble=partial(_first, clock_trouble, one.client.skew))
            for name, one in wechatpays.by_name.items()
        }
        self._guarded = {
            name: GuardedPayScores(one.payscores, self._breakers[name]) for name, one in wechatpays.by_name.items()
        }
        self.breakers: Final = Breakers(self._breakers)
        self.payscores: Final = _of_all(self._guarded)
        self.refunds: Final = _refunds_of_all(
            [GuardedRefunds(one.refunds, self._breakers[name]) for name, one in wechatpays.by_name.items()]
        )

    def probing(self) -> list[Coroutine[Any, Any, None]]:
        """Find out, for each account, when it is over."""
        return [breaker.run(self._guarded[name].probe) for name, breaker in self._breakers.items()]


def _first(clock_trouble: Callable[[], str], skew: Skew) -> str:
    return clock_trouble() or skew.trouble


def _of_all(accounts: Mapping[str, PayScores]) -> PayScores:
    return AccountPayScores(accounts) if len(accounts) > 1 else next(iter(accounts.values()))


def _refunds_of_all(accounts: Sequence[Refunds]) -> Refunds:
    return AccountRefunds(accounts) if len(accounts) > 1 else accounts[0]


def make_wechatpays(environment: Environment) -> WechatPays:
    """Load the keys of every account, and open nothing yet.

    Raises:
        SettingsError: a setting is missing, malformed or the wrong one; names it, or file, account and member.

    """
    settings, made = read_accounts(environment), {}
    for one in settings:
        try:
            made[one.name] = make_wechatpay(one.merchant, account=one.name)
        except SettingsError as error:
            raise one.error(error) from error
    return WechatPays(made, settings)


def make_wechatpay(
    settings: MerchantSettings, transport: httpx.AsyncBaseTransport | None = None, *, account: str = DEFAULT
) -> WechatPay:
    """Load the keys of an account, and open nothing yet; calls go through our own transport, or another.

    Raises:
        SettingsError: a key cannot be loaded, or is the wrong one.

    """
    if settings.need_user_confirm and settings.apiv2_key is None:
        raise SettingsError("PAYSCORE_APIV2_KEY: signs what the passenger confirms an order with; set it, or a file")
    private_key = _load("PAYSCORE_MERCHANT_PRIVATE_KEY", load_private_key, settings.merchant_private_key)
    public_keys = _public_keys(settings)
    apiv3_keys = tuple(key.encode() for key in (settings.apiv3_key, settings.apiv3_key_previous) if key is not None)
    try:
        keys = VerificationKeys(apiv3_keys=apiv3_keys, clock=now, public_keys=public_keys)
        client = WechatPayClient(
            merchant=Merchant(
                mchid=settings.mchid,
                appid=settings.appids[0],
                service_id=settings.service_id,
                serial_no=settings.merchant_serial_no.upper(),
                private_key=private_key,
                apiv3_keys=apiv3_keys,
                apiv2_key=settings.apiv2_key,
                notify_url=settings.notify_url,
                need_user_confirm=settings.need_user_confirm,
            ),
            keys=keys,
            base_urls=settings.api_base_urls.split(","),
            transport=transport or make_wechatpay_transport(),
            clock=now,
            account=account,
        )
    except ValueError as error:
        raise SettingsError(f"the settings of WeChat Pay do not fit together: {error}") from error
    notifications = Notifications(keys=keys, apiv3_keys=apiv3_keys, clock=now)
    payscores = MerchantPayScores(settings.api_family, client, appids=settings.appids)
    return WechatPay(client, keys, payscores, MerchantRefunds(client), notifications)


def make_wechatpay_transport() -> httpx.AsyncBaseTransport:
    """Make the transport that every role has, with its bounds."""
    return make_transport(max_connections=MAX_CONNECTIONS, idle_seconds=IDLE_SECONDS)


def _public_keys(settings: MerchantSettings) -> dict[str, RSAPublicKey]:
    if settings.wechatpay_public_key_id is None and settings.wechatpay_public_key is None:
        return {}
    if settings.wechatpay_public_key_id is None or settings.wechatpay_public_key is None:
        raise SettingsError("PAYSCORE_WECHATPAY_PUBLIC_KEY and PAYSCORE_WECHATPAY_PUBLIC_KEY_ID: set both, or neither")
    key = _load("PAYSCORE_WECHATPAY_PUBLIC_KEY", load_public_key, settings.wechatpay_public_key)
    return {settings.wechatpay_public_key_id: key}


def _load(name: str, load: Callable[[str], _T], pem: str) -> _T:
    try:
        return load(pem)
    except ValueError as error:
        raise SettingsError(f"{name}: {error}") from error
