"""Passengers switch the service on and off, or the merchant ends what they agreed on; the merchant is told."""

from typing import Final

from payscore_worker.simulator.config import Service
from payscore_worker.simulator.passengers import Behaviour, Passenger
from payscore_worker.simulator.payscore.permissions import Permission
from payscore_worker.simulator.payscore.state import PayScoreState
from payscore_worker.simulator.service_time import service_time_of

OPENED: Final = "USER_OPEN_SERVICE"
CLOSED: Final = "USER_CLOSE_SERVICE"


class UnknownService(LookupError):
    """The merchant has no service of that id."""


class Switching:
    """Whether the service is on is a matter of the passenger's behaviour; a permission says since when, and how."""

    def __init__(self, state: PayScoreState) -> None:
        self._state, self._world = state, state.world

    def open_service(self, openid: str, service_id: str | None) -> None:
        """Without the merchant's asking; where a permission runs, that one is announced again."""
        service = self._service(service_id)
        known = self._state.permissions.of_passenger(openid).get(service.service_id)
        self.open(openid, known if known and known.runs else Permission(service=service))

    def close_service(self, openid: str, service_id: str | None) -> None:
        self.close(openid, self._service(service_id))

    def open(self, openid: str, permission: Permission) -> None:
        """The passenger signs; he then has the service on, whichever of the merchant's it is."""
        if not permission.runs:
            self._state.permissions.sign(permission, openid, self._world.clock())
        if not self._world.passengers.has_enabled(openid):
            self._world.passengers.set(openid, Passenger())
        self._announce(OPENED, permission, openid)

    def close(self, openid: str, service: Service) -> None:
        self._world.passengers.set(openid, Passenger(Behaviour.NOT_ENABLED))
        self._announce(CLOSED, self._state.permissions.end(openid, service, self._world.clock()), openid)

    def _announce(self, event: str, permission: Permission, openid: str) -> None:
        """Reference payscore-api D.3."""
        resource = {
            "appid": permission.service.appid,
            "mchid": self._world.config.keys.mchid,
            "service_id": permission.service.service_id,
            "openid": openid,
            "user_service_status": event,
            "openorclose_time": service_time_of(self._world.clock()).text,
        }
        numbers = {
            "authorization_code": permission.authorization_code,
            "out_request_no": permission.out_request_no,
        }
        self._world.callbacks.announce(
            f"PAYSCORE.{event}",
            resource | {name: number for name, number in numbers.items() if number},
            summary="签约成功" if event == OPENED else "解约成功",
            url=permission.notify_url or self._world.config.notify_url,
            openid=openid,
        )

    def _service(self, service_id: str | None) -> Service:
        """The one of that id; the first where none is named."""
        licensed = self._world.config.licensed
        for service in licensed:
            if service_id in {None, service.service_id}:
                return service
        raise UnknownService(f"no service {service_id}; there are {', '.join(one.service_id for one in licensed)}")
