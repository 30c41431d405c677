"""What a role waits for, made short: a case takes seconds, and waits for nothing but what it is about.

Only patience is changed, never a decision. Two names are left as they are: how long a ride lasts at least
(`trip.SHORTEST_SERVICE`, which the simulator checks), and every time-out.
"""

import functools
import os
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import httpx
import httpx_aiohttp

from payscore_worker.accounts import read_accounts
from payscore_worker.bootstrap import wechatpay
from payscore_worker.domain import authorisation, next_step, outcomes, refund, second_try
from payscore_worker.messaging import relay
from payscore_worker.settings import Environment
from payscore_worker.settlement import reconciler
from payscore_worker.wechatpay import client, load_private_key

SHORTENED: Final[tuple[tuple[Any, str, object], ...]] = (
    (next_step, "END_MARGIN", timedelta(0)),  # the simulator has our clock
    (next_step, "IN_HAND", timedelta(seconds=1)),
    (next_step, "SYNC_MARGIN", timedelta(seconds=1)),
    (outcomes, "DEBIT_PAUSE", timedelta(seconds=1)),
    (outcomes, "PAUSES", (timedelta(0), *[timedelta(seconds=0.3)] * 8)),
    (outcomes, "QUESTION_PAUSES", (timedelta(seconds=0.3),) * 8),
    (outcomes, "APART", timedelta(seconds=0.3)),
    (outcomes, "APART_IN_DOUBT", timedelta(seconds=1)),
    (outcomes, "LATE_LOOK", timedelta(seconds=2)),
    (second_try, "LATE_LOOK", timedelta(seconds=2)),
    (second_try, "PAUSES", (timedelta(seconds=0.3),) * 5),
    (refund, "IN_HAND", timedelta(seconds=1)),
    (refund, "POLL_DELAYS", (timedelta(seconds=1),)),
    (refund, "PAUSES", (timedelta(seconds=0.3),) * 9),
    (authorisation, "IN_HAND", timedelta(seconds=1)),
    (authorisation, "APART", timedelta(seconds=0.3)),
    (authorisation, "LOOKS", (timedelta(seconds=2),) * 5),
    (authorisation, "PAUSES", (timedelta(seconds=0.3),) * 6),
    (authorisation, "UNFINISHED_PAUSES", (timedelta(seconds=0.5),) * 7),
    (authorisation, "TRIPS_APART", timedelta(seconds=1)),
    (reconciler, "LEASE", timedelta(seconds=1)),
    (reconciler, "EVERY_SECONDS", 0.15),
    (reconciler, "PAUSE_SECONDS", 0.3),
    (relay, "LEASE", timedelta(seconds=0.6)),
    (relay, "LINGER_SECONDS", 0.005),
    (relay, "IDLE_SECONDS", 0.15),
    (relay, "PAUSE_SECONDS", 0.3),
    (relay, "UNROUTED_DELAYS", (timedelta(seconds=0.3),) * 8),
    (client, "PAUSE_SECONDS", (0.01, 0.05)),
)

SETTINGS: Final = {
    "PAYSCORE_RETRY_DELAYS": "300ms,1s,2s,3s",
    "PAYSCORE_POLL_DELAYS": "1s,1s,2s",
}


_private_key: Final = functools.cache(load_private_key)
_ssl_context: Final = functools.cache(httpx.create_ssl_context)


def install() -> None:
    """Shorten everything; a name that is gone fails here, and not by a case that takes a minute.

    Two things that every start computes anew, always with the same result, are kept: they are half of its time.
    """
    kept = ((wechatpay, "load_private_key", _private_key), (httpx, "create_ssl_context", _ssl_context))
    for owner, name, value in (*SHORTENED, *kept):
        if not hasattr(owner, name):
            raise AttributeError(f"{owner.__name__} has no {name} any more")
        setattr(owner, name, value)


def warm_up(variables: Mapping[str, str]) -> None:
    """Compute what is kept, in the process that will be forked."""
    if "PAYSCORE_AMQP_URL" in variables:
        for account in read_accounts(Environment(variables, env_file=Path(os.devnull))):
            _private_key(account.merchant.merchant_private_key)
        httpx_aiohttp.AiohttpTransport()
