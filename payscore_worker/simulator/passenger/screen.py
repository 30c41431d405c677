"""Turns the passenger's page into HTML, in the reader's language."""

from datetime import datetime
from functools import cache, partial
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

import jinja2
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from payscore_worker.simulator.passenger.guard import headers_for
from payscore_worker.simulator.passenger.words import Language, language_of, word

HERE: Final = Path(__file__).parent
ROOT: Final = "/passenger"


class Screen:
    def __init__(self) -> None:
        self._style = (HERE / "passenger.css").read_text(encoding="utf-8")
        self._headers = headers_for(self._style)

    def show(self, request: Request, view: str, openid: str, *, status: int = 200, **values: Any) -> Response:  # noqa: ANN401 - whatever the view says
        language = language_of(request.query_params.get("lang"), request.headers.get("accept-language", ""))
        html = _template().render(
            view=view,
            style=self._style,
            openid=openid,
            language=language,
            t=partial(word, language=language),
            link=partial(address, language=language, openid=openid),
            **{"refused": "", "done": ""} | values,
        )
        return HTMLResponse(html, status, headers=self._headers)


@cache
def _template() -> jinja2.Template:
    """Compiled when somebody first looks: a simulator in a test has no page to show."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(root=ROOT, yuan=yuan, moment=_moment)
    return environment.get_template("passenger.html")


def address(page: str, *, language: Language, **query: str) -> str:
    """Of a page, for this passenger, in this language."""
    told = {name: value for name, value in {**query, "lang": language}.items() if value}
    return f"{ROOT}{page}?{urlencode(told)}"


def yuan(fen: int) -> str:
    return f"¥{fen // 100}.{fen % 100:02d}"


def _moment(at: datetime) -> str:
    return at.strftime("%Y-%m-%d %H:%M")
