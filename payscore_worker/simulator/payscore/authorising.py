"""What the merchant's calls about permissions do (reference payscore-api C.1, C.2, C.4)."""

from collections.abc import Mapping
from datetime import datetime

from msgspec import Struct

from payscore_worker.simulator.addresses import check_notify_url
from payscore_worker.simulator.calls import Call
from payscore_worker.simulator.config import Service
from payscore_worker.simulator.members import Entity, OrderNumber, Text32, Text50, read_body, shaped
from payscore_worker.simulator.payscore.permissions import Permission
from payscore_worker.simulator.payscore.rules import require_query
from payscore_worker.simulator.payscore.state import PayScoreState
from payscore_worker.simulator.payscore.switching import Switching
from payscore_worker.simulator.refusals import (
    APPID_NOT_BOUND,
    CODE_REENTRY_MISMATCH,
    CODE_SIGNED,
    PERMISSION_NOT_EXIST,
    SERVICE_NOT_AUTHORISABLE,
    Refused,
)
from payscore_worker.simulator.service_time import SHANGHAI


class PreAuthorise(Struct, frozen=True, kw_only=True):
    """Reference payscore-api C.1."""

    service_id: Text32
    appid: Text32
    authorization_code: OrderNumber
    notify_url: str | None = None


class TerminateByCode(Struct, frozen=True, kw_only=True):
    """Reference payscore-api C.4."""

    service_id: Text32
    reason: Text50


class TerminateByOpenid(TerminateByCode, frozen=True, kw_only=True):
    appid: Text32


class TerminateAtService(Struct, frozen=True, kw_only=True):
    """Reference payscore-api A.1: the older way, whose path names the service."""

    appid: Text32
    reason: Text50


class Authorising:
    def __init__(self, state: PayScoreState, switching: Switching) -> None:
        self._state, self._world = state, state.world
        self._switching = switching

    def pre_authorise(self, call: Call) -> Entity:
        body = read_body(call)
        asked = shaped(body, PreAuthorise)
        if asked.notify_url is not None:
            check_notify_url(asked.notify_url)
        service = self._service(body.members)
        permission = self._state.permissions.of_code(asked.authorization_code)
        if permission is None:
            permission = Permission(
                service=service,
                authorization_code=asked.authorization_code,
                notify_url=asked.notify_url,
                fingerprint=body.fingerprint,
            )
            self._state.permissions.ask(permission)
        if permission.openid is not None:
            raise Refused(CODE_SIGNED)
        if permission.fingerprint != body.fingerprint:
            raise Refused(CODE_REENTRY_MISMATCH)
        return {"apply_permissions_token": self._state.tokens.issue(asked.authorization_code)}

    def query(self, call: Call) -> Entity:
        if code := call.path_parameters.get("authorization_code"):
            require_query(call.query, "service_id")
            return self._shown_by_code(code, self._service(call.query))
        require_query(call.query, "service_id", "appid")
        return self._shown_by_openid(call.path_parameters["openid"], self._service(call.query))

    def terminate(self, call: Call) -> None:
        body = read_body(call)
        if service_id := call.path_parameters.get("service_id"):  # the older way
            shaped(body, TerminateAtService)
            service = self._service(dict(body.members) | {"service_id": service_id})
            self._terminate_by_openid(call.path_parameters["openid"], service)
            return
        code = call.path_parameters.get("authorization_code")
        shaped(body, TerminateByCode if code else TerminateByOpenid)
        service = self._service(body.members)
        if code:
            self._terminate_by_code(code, service)
        else:
            self._terminate_by_openid(call.path_parameters["openid"], service)

    def _shown_by_code(self, code: str, service: Service) -> Entity:
        permission = self._of_code(code, service)
        if permission.openid is None:
            shown = self._shown(permission, "UNBINDUSER")
        else:
            shown = self._shown(permission, "AVAILABLE" if self._is_available(permission) else "UNAVAILABLE")
        return shown | ({"notify_url": permission.notify_url} if permission.notify_url else {})

    def _shown_by_openid(self, openid: str, service: Service) -> Entity:
        """Whoever has the service on, and is not known to have signed, did so by means that nobody noted."""
        known = self._state.permissions.of_passenger(openid)
        available = self._world.passengers.has_enabled(openid)
        if not available and not known:
            raise Refused(PERMISSION_NOT_EXIST)
        permission = known.get(service.service_id)
        if permission is None or (available and not permission.runs):
            permission = Permission(service=service, openid=openid)
        return self._shown(permission, "AVAILABLE" if available else "UNAVAILABLE")

    def _terminate_by_code(self, code: str, service: Service) -> None:
        """What has ended stays so, and nothing is announced again."""
        permission = self._of_code(code, service)
        if permission.openid is None:
            raise Refused(PERMISSION_NOT_EXIST)
        if self._is_available(permission):
            self._switching.close(permission.openid, permission.service)

    def _terminate_by_openid(self, openid: str, service: Service) -> None:
        if self._world.passengers.has_enabled(openid):
            self._switching.close(openid, service)
        elif not self._state.permissions.of_passenger(openid):
            raise Refused(PERMISSION_NOT_EXIST)

    def _of_code(self, code: str, service: Service) -> Permission:
        permission = self._state.permissions.of_code(code)
        if permission is None:
            raise Refused(PERMISSION_NOT_EXIST)
        if permission.service.service_id != service.service_id:
            raise Refused(SERVICE_NOT_AUTHORISABLE)
        return permission

    def _is_available(self, permission: Permission) -> bool:
        """The behaviour of the passenger has the last word: a test may set it without anybody's being told."""
        signed_by = permission.openid
        return signed_by is not None and permission.runs and self._world.passengers.has_enabled(signed_by)

    def _shown(self, permission: Permission, state: str) -> Entity:
        """Reference payscore-api C.2: the appid is that of the authorisation, not of the request."""
        entity: Entity = {
            "service_id": permission.service.service_id,
            "appid": permission.service.appid,
            "mchid": self._world.config.keys.mchid,
            "authorization_state": state,
        }
        more = {
            "openid": permission.openid,
            "authorization_code": permission.authorization_code,
            "authorization_success_time": _rfc3339(permission.signed_at),
            "cancel_authorization_time": _rfc3339(permission.ended_at),
        }
        return entity | {name: value for name, value in more.items() if value}

    def _service(self, members: Mapping[str, object]) -> Service:
        """A no-confirm service of the merchant's, for the app that is named, if one is."""
        licensed = self._world.config.licensed
        services = [one for one in licensed if "appid" not in members or one.appid == members["appid"]]
        if not services:
            raise Refused(APPID_NOT_BOUND)
        for service in services:
            if service.service_id == members.get("service_id") and service.mode == "no_confirm":
                return service
        raise Refused(SERVICE_NOT_AUTHORISABLE)


def _rfc3339(at: datetime | None) -> str | None:
    return at.astimezone(SHANGHAI).isoformat(timespec="seconds") if at else None
