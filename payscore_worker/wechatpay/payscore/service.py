"""Reads whether a passenger has authorised the PayScore service, and what he signs it with."""

from typing import Final

from payscore_worker.errors import MalformedMessage
from payscore_worker.wechatpay.payscore.port import Permission, PermissionState, ServiceChange
from payscore_worker.wechatpay.reading import Json, moment, text

STATES: Final = {"AVAILABLE": PermissionState.AVAILABLE, "UNAVAILABLE": PermissionState.UNAVAILABLE}
PERMISSION_STATES: Final = STATES | {"UNBINDUSER": PermissionState.UNSIGNED}
CHANGES: Final = {"USER_OPEN_SERVICE": True, "USER_CLOSE_SERVICE": False}


def read_service_state(data: Json) -> Permission:
    """Read the answer to `user-service-state` (reference payscore-api A.1)."""
    state = text(data, "use_service_state")
    if state not in STATES:
        raise MalformedMessage("use_service_state: neither AVAILABLE nor UNAVAILABLE")
    return Permission(state=STATES[state], service_id=text(data, "service_id"), openid=text(data, "openid"))


def read_permission(data: Json) -> Permission:
    """Read the answer to a query of an authorisation (reference payscore-api C.2).

    Its appid and mchid are those of the last successful authorisation, and say nothing of ours.
    """
    state = text(data, "authorization_state")
    if state not in PERMISSION_STATES:
        raise MalformedMessage("authorization_state: none of AVAILABLE, UNAVAILABLE and UNBINDUSER")
    return Permission(
        state=PERMISSION_STATES[state],
        service_id=text(data, "service_id"),
        openid=text(data, "openid"),
        authorization_code=text(data, "authorization_code"),
        authorised_at=moment(data, "authorization_success_time"),
        ended_at=moment(data, "cancel_authorization_time"),
    )


def read_token(data: Json) -> str:
    """Read the answer to a pre-authorisation (reference payscore-api C.1)."""
    token = text(data, "apply_permissions_token")
    if not token:
        raise MalformedMessage("apply_permissions_token: missing")
    return token


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
        number=text(data, "authorization_code") or text(data, "out_request_no"),
    )
