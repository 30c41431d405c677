"""WeChat Pay, as the settings of the merchant want it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeVar

import httpx
import structlog
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from payscore_worker.bootstrap.wiring import now
from payscore_worker.errors import WechatPayError
from payscore_worker.settings import MerchantSettings, SettingsError
from payscore_worker.wechatpay import (
    Merchant,
    Notifications,
    UnusableCertificates,
    VerificationKeys,
    WechatPayClient,
    load_private_key,
    load_public_key,
    make_transport,
)
from payscore_worker.wechatpay.payscore import MerchantPayScores
from payscore_worker.wechatpay.transactions import MerchantRefunds

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


def make_wechatpay(settings: MerchantSettings, transport: httpx.AsyncBaseTransport | None = None) -> WechatPay:
    """Load the keys, and open nothing yet; calls go through our own transport, or another.

    Raises:
        SettingsError: a key cannot be loaded, or is the wrong one.

    """
    private_key = _load("PAYSCORE_MERCHANT_PRIVATE_KEY", load_private_key, settings.merchant_private_key)
    public_keys = _public_keys(settings)
    apiv3_keys = tuple(key.encode() for key in (settings.apiv3_key, settings.apiv3_key_previous) if key is not None)
    try:
        keys = VerificationKeys(apiv3_keys=apiv3_keys, clock=now, public_keys=public_keys)
        client = WechatPayClient(
            merchant=Merchant(
                mchid=settings.mchid,
                appid=settings.appid,
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
        )
    except ValueError as error:
        raise SettingsError(f"the settings of WeChat Pay do not fit together: {error}") from error
    notifications = Notifications(keys=keys, apiv3_keys=apiv3_keys, clock=now)
    payscores = MerchantPayScores(settings.api_family, client)
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
