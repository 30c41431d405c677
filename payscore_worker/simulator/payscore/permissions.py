"""What merchant and passengers have agreed on: bounded, by the merchant's number and by passenger."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from payscore_worker.simulator.config import Service
from payscore_worker.simulator.shelf import Shelf

MAX_PERMISSIONS: Final = 200_000
"""By authorization_code, by out_request_no, and by passenger, some 1 KB each: the ended are forgotten first, then the
oldest."""


@dataclass(slots=True, kw_only=True)
class Permission:
    """One agreement, from the pre-authorisation to its end; one made without the merchant's asking has no number."""

    service: Service
    authorization_code: str | None = None
    out_request_no: str | None = None
    """The merchant's number in the older flow; it never has both."""
    notify_url: str | None = None
    """None: the address configured for the service."""
    fingerprint: bytes = b""
    """Of the body that asked for it."""
    openid: str | None = None
    """None: no passenger has signed."""
    signed_at: datetime | None = None
    ended_at: datetime | None = None

    @property
    def runs(self) -> bool:
        return self.openid is not None and self.ended_at is None


class Permissions:
    def __init__(self) -> None:
        self._by_code: Shelf[Permission] = Shelf(capacity=MAX_PERMISSIONS)
        self._by_request: Shelf[Permission] = Shelf(capacity=MAX_PERMISSIONS)
        self._by_passenger: Shelf[dict[str, Permission]] = Shelf(capacity=MAX_PERMISSIONS)

    def of_code(self, authorization_code: str) -> Permission | None:
        return self._by_code.get(authorization_code)

    def of_request(self, out_request_no: str) -> Permission | None:
        return self._by_request.get(out_request_no)

    def of_passenger(self, openid: str) -> Mapping[str, Permission]:
        """The last one at each service, by service_id; none: he never authorised anything that is known of."""
        return self._by_passenger.get(openid) or {}

    def ask(self, permission: Permission) -> None:
        """The merchant pre-authorises; its passenger is still to come."""
        if permission.authorization_code:
            self._by_code.put(permission.authorization_code, permission)

    def sign(self, permission: Permission, openid: str, at: datetime) -> None:
        """The passenger's former one at this service, if any, ends with it."""
        if former := self.of_passenger(openid).get(permission.service.service_id):
            self._end(former, at)
        permission.openid, permission.signed_at = openid, at
        if permission.out_request_no:
            self._by_request.put(permission.out_request_no, permission)
        self._keep(permission, openid)

    def end(self, openid: str, service: Service, at: datetime) -> Permission:
        """All that the passenger agreed on ends; returns what ended at this service, of which nothing need be known."""
        if service.service_id not in self.of_passenger(openid):
            self._keep(Permission(service=service, openid=openid), openid)
        permissions = self.of_passenger(openid)
        for permission in permissions.values():
            self._end(permission, at)
        self._by_passenger.finish(openid)
        return permissions[service.service_id]

    def _keep(self, permission: Permission, openid: str) -> None:
        permissions = self._by_passenger.get(openid)
        if permissions is None:
            permissions = {}
            self._by_passenger.put(openid, permissions)
        self._by_passenger.reopen(openid)
        permissions[permission.service.service_id] = permission

    def _end(self, permission: Permission, at: datetime) -> None:
        if permission.ended_at is not None:
            return
        permission.ended_at = at
        if permission.authorization_code:
            self._by_code.finish(permission.authorization_code)
        if permission.out_request_no:
            self._by_request.finish(permission.out_request_no)
