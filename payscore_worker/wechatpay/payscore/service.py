"""Reads whether a passenger has enabled the PayScore service."""

from typing import Final

from payscore_worker.errors import MalformedMessage
from payscore_worker.wechatpay.payscore.port import ServiceChange
from payscore_worker.wechatpay.reading import Json, moment, text

STATES: Final = {"AVAILABLE": True, "UNAVAILABLE": False}
CHANGES: Final = {"USER_OPEN_SERVICE": True, "USER_CLOSE_SERVICE": False}


def read_enabled(data: Json) -> bool:
    """Read the answer to `user-service-state` (reference payscore-api A.1)."""
    state = text(data, "use_service_state")
    if state not in STATES:
        raise MalformedMessage("use_service_state: neither AVAILABLE nor UNAVAILABLE")
    return STATES[state]


def read_change(data: Json) -> ServiceChange:
    """Read a notification that the service was opened or closed (reference payscore-api D.3).

    Other products use the same event names for contracts; theirs are malformed here.
    """
    status, openid = text(data, "user_service_status"), text(data, "openid")
    if status not in CHANGES:
        raise MalformedMessage("user_service_status: neither USER_OPEN_SERVICE nor USER_CLOSE_SERVICE")
    if not openid:
        raise MalformedMessage("openid: missing")
    return ServiceChange(
        mchid=text(data, "mchid"),
        appid=text(data, "appid"),
        service_id=text(data, "service_id"),
        openid=openid,
        enabled=CHANGES[status],
        changed_at=moment(data, "openorclose_time"),
    )
