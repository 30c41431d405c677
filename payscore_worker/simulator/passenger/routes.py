"""The passenger's page over HTTP: what he sees, and a form for everything he can do."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from payscore_worker.simulator.passenger import jumps
from payscore_worker.simulator.passenger.guard import read_form
from payscore_worker.simulator.passenger.jumps import Jump, read_jump
from payscore_worker.simulator.passenger.screen import ROOT, Screen, address
from payscore_worker.simulator.passenger.words import WORDS, language_of
from payscore_worker.simulator.payscore.orders import Order, Stage
from payscore_worker.simulator.payscore.pages import PageRefused
from payscore_worker.simulator.payscore.wallet import UNSETTLED
from payscore_worker.simulator.simulator import Simulator

MAX_OPENID: Final = 128
MAX_ORDERS: Final = 50
"""Shown at once, the newest first."""

Form = dict[str, str]


@dataclass(frozen=True, slots=True)
class Card:
    """What a passenger sees of an order."""

    order: Order
    refunded_fen: int
    puts_off: bool

    @property
    def introduction(self) -> str:
        text: str = self.order.opening.members["service_introduction"]
        return text

    @property
    def can_pay(self) -> bool:
        return self.order.stage is Stage.OWING

    @property
    def can_put_off(self) -> bool:
        return self.order.stage in UNSETTLED


def passenger_routes(simulator: Simulator) -> list[Route]:
    page = PassengerPage(simulator)
    acts: dict[str, Callable[[Request, Form], Response]] = {
        "/jump": page.jump,
        "/enable": page.enable,
        "/confirm": page.confirm,
        "/leave": page.leave,
        "/pay": page.pay,
        "/put-off": page.put_off,
        "/let-debit": page.let_debit,
        "/close": page.close,
    }
    return [
        Route(ROOT, page.home, methods=["GET"]),
        Route(f"{ROOT}/order", page.order, methods=["GET"]),
        *(Route(f"{ROOT}{path}", page.guarded(act), methods=["POST"]) for path, act in acts.items()),
    ]


class PassengerPage:
    """Every form is answered with a page, or leads back to the passenger's own and says there what was done."""

    def __init__(self, simulator: Simulator) -> None:
        self._simulator = simulator
        self._screen = Screen()

    def guarded(self, act: Callable[[Request, Form], Response]) -> Callable[[Request], Awaitable[Response]]:
        """Does what the form asks for, or says why WeChat Pay would not."""

        async def endpoint(request: Request) -> Response:
            form = await read_form(request)
            openid = _openid(form.get("openid", ""))
            if not openid:
                return self._screen.show(request, "come_in", "", status=400)
            form["openid"] = openid
            try:
                return act(request, form)
            except PageRefused as refused:
                return self._home(request, openid, status=409, refused=str(refused))

        return endpoint

    async def home(self, request: Request) -> Response:
        """A link may bring the jump along, as `businessType` and its members."""
        openid = _openid(request.query_params.get("openid", ""))
        if not openid:
            return self._screen.show(request, "come_in", "")
        brought = {
            name: value for name, value in request.query_params.items() if name not in {"openid", "lang", "done"}
        }
        jump = Jump(brought.pop(jumps.BUSINESS_TYPE), brought).text if jumps.BUSINESS_TYPE in brought else ""
        done = f"done_{request.query_params.get('done', '')}"
        return self._home(request, openid, jump=jump, done=done if done in WORDS else "")

    async def order(self, request: Request) -> Response:
        openid = _openid(request.query_params.get("openid", ""))
        try:
            order = self._simulator.wallet.order(request.query_params.get("out_order_no", ""), openid)
        except PageRefused as refused:
            return self._home(request, openid, status=404, refused=str(refused))
        return self._screen.show(request, "order", openid, cards=[self._card(order)])

    def jump(self, request: Request, form: Form) -> Response:
        jump, openid = read_jump(form.get("jump", "")), form["openid"]
        match jump.business_type:
            case jumps.ENABLE:
                self._asked_by(jump)
                return self._screen.show(request, "enable", openid, jump=jump.text)
            case jumps.USE:
                order = self._simulator.pages.visit(jump.extra_data, openid)
                return self._screen.show(request, "confirm", openid, cards=[self._card(order)])
            case _:
                order = self._simulator.pages.details(jump.extra_data, openid)
                return self._to(request, "/order", openid=openid, out_order_no=order.out_order_no)

    def enable(self, request: Request, form: Form) -> Response:
        jump = read_jump(form.get("jump", ""))
        if jump.business_type != jumps.ENABLE:
            raise PageRefused("4185: wrong businessType")
        if jump.token is not None:
            self._simulator.pages.enable(jump.token, form["openid"])
        else:
            self._simulator.pages.enable_signed(jump.extra_data, form["openid"])
        return self._done(request, form, "enabled")

    def confirm(self, request: Request, form: Form) -> Response:
        self._simulator.pages.confirm_visited(form.get("out_order_no", ""), form.get("visit", ""))
        return self._done(request, form, "confirmed")

    def leave(self, request: Request, form: Form) -> Response:
        self._simulator.pages.leave_visited(form.get("out_order_no", ""), form.get("visit", ""))
        return self._done(request, form, "left")

    def pay(self, request: Request, form: Form) -> Response:
        self._simulator.wallet.pay(form.get("out_order_no", ""), form["openid"])
        return self._done(request, form, "paid")

    def put_off(self, request: Request, form: Form) -> Response:
        self._simulator.wallet.put_off(form.get("out_order_no", ""), form["openid"])
        return self._done(request, form, "put_off")

    def let_debit(self, request: Request, form: Form) -> Response:
        self._simulator.wallet.let_debit(form.get("out_order_no", ""), form["openid"])
        return self._done(request, form, "let_debit")

    def close(self, request: Request, form: Form) -> Response:
        self._simulator.wallet.close(form["openid"], form.get("service_id", ""))
        return self._done(request, form, "closed")

    def _asked_by(self, jump: Jump) -> None:
        if jump.token is not None:
            self._simulator.pages.asked_by(jump.token)
        else:
            self._simulator.pages.asked_by_signed(jump.extra_data)

    def _home(self, request: Request, openid: str, *, status: int = 200, jump: str = "", **said: str) -> Response:
        wallet = self._simulator.wallet
        orders = wallet.orders(openid)
        return self._screen.show(
            request,
            "home",
            openid,
            status=status,
            services=wallet.services(),
            is_on=wallet.has_enabled(openid),
            cards=[self._card(order) for order in orders[:MAX_ORDERS]],
            has_more=len(orders) > MAX_ORDERS,
            jump=jump,
            **said,
        )

    def _card(self, order: Order) -> Card:
        refunded_fen = self._simulator.ledger_entry(order.out_order_no).refunded_fen
        return Card(order, refunded_fen, self._simulator.wallet.puts_off(order))

    def _done(self, request: Request, form: Form, done: str) -> Response:
        return self._to(request, "", openid=form["openid"], done=done)

    @staticmethod
    def _to(request: Request, page: str, **query: str) -> Response:
        language = language_of(request.query_params.get("lang"), request.headers.get("accept-language", ""))
        return RedirectResponse(address(page, language=language, **query), status_code=303)


def _openid(text: str) -> str:
    """Empty where it is none."""
    text = text.strip()
    return text if text.isprintable() and len(text) <= MAX_OPENID else ""
