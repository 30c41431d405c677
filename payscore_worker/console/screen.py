"""Turns what a page has to say into HTML in the reader's language, and reads the forms that come back."""

import hashlib
from collections.abc import Mapping
from datetime import timedelta
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode

import jinja2
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from payscore_worker.console import figures
from payscore_worker.console.access import Access, Session
from payscore_worker.console.depths import HEIGHT, WIDTH, polyline
from payscore_worker.console.guard import ROOT
from payscore_worker.console.words import WORDS, Language, language_named, preferred, say
from payscore_worker.domain.trip import fare_fen

HERE: Final = Path(__file__).parent
LANGUAGE_COOKIE: Final = "payscore_language"

MAX_FORM_BYTES: Final = 16 * 1024
MAX_FIELDS: Final = 20

STATIC_FILES: Final[Mapping[str, str]] = {
    "console.css": "text/css; charset=utf-8",
    "console.js": "text/javascript; charset=utf-8",
    "htmx-2.0.11.min.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}


class Screen:
    """Renders pages; a request of htmx gets the part of the page that lives."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self.static = {name: (HERE / "static" / name).read_bytes() for name in STATIC_FILES}
        self._templates = jinja2.Environment(
            loader=jinja2.FileSystemLoader(HERE / "templates"),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.globals.update(
            root=ROOT,
            asset=self._asset,
            fare_fen=fare_fen,
            yuan=figures.yuan,
            count=figures.count,
            moment=figures.moment,
            told_moment=figures.told_moment,
            clock=figures.clock,
            day=figures.day,
            polyline=polyline,
            spark_width=WIDTH,
            spark_height=HEIGHT,
            needs_token=access.needs_token,
        )

    def show(
        self, request: Request, template: str, values: Mapping[str, Any], *, status: int = HTTPStatus.OK
    ) -> Response:
        """Render a page."""
        language = language_of(request)
        session: Session | None = getattr(request.state, "session", None)
        html = self._templates.get_template(template).render(
            layout="part.html" if "hx-request" in request.headers else "page.html",
            t=partial(_say, language),
            named=partial(_named, language),
            age=partial(figures.age, language=language),
            language=language,
            other=Language.ENGLISH if language is Language.CHINESE else Language.CHINESE,
            session=session,
            form_word=self._access.form_word(session) if session is not None else "",
            here=here(request),
            path=request.url.path,
            link=link,
            **values,
        )
        return HTMLResponse(html, status, headers={"Vary": "HX-Request, Accept-Language, Cookie"})

    def notice(self, request: Request, title: str, text: str, *, status: int) -> Response:
        """Say in a page of its own why there is no other."""
        return self.show(request, "notice.html", {"title": title, "text": text}, status=status)

    async def form(self, request: Request) -> dict[str, str]:
        """Read a form of ours.

        Raises:
            HTTPException: it is not ours, or is larger than any of ours.

        """
        body = b""
        async for chunk in request.stream():
            body += chunk
            if len(body) > MAX_FORM_BYTES:
                raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        try:
            fields = dict(parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=MAX_FIELDS))
        except ValueError as error:
            raise HTTPException(HTTPStatus.BAD_REQUEST) from error
        if "\0" in "".join(fields.values()):  # no browser sends it, and PostgreSQL cannot keep it
            raise HTTPException(HTTPStatus.BAD_REQUEST)
        session: Session | None = getattr(request.state, "session", None)
        if session is not None and not self._access.is_form_word(fields.get("form_word", ""), session):
            raise HTTPException(HTTPStatus.FORBIDDEN)
        return {name: value.strip() for name, value in fields.items()}

    def _asset(self, name: str) -> str:
        """Name a static file so that a changed one is fetched anew."""
        return f"{ROOT}/static/{name}?v={hashlib.sha256(self.static[name]).hexdigest()[:12]}"


def language_of(request: Request) -> Language:
    """Choose the language: as switched to, else as the browser asks for."""
    chosen = language_named(request.cookies.get(LANGUAGE_COOKIE, ""))
    if chosen is not None:
        return chosen
    return preferred(request.headers.get("accept-language", ""))


def here(request: Request) -> str:
    """Name the page that was asked for, with its query."""
    return f"{request.url.path}?{request.url.query}" if request.url.query else request.url.path


def link(page: str, **query: object) -> str:
    """Lead to a page of the console."""
    told = {name: value for name, value in query.items() if value not in (None, "")}
    return f"{ROOT}/{page}?{urlencode(told)}" if told else f"{ROOT}/{page}"


def _say(language: Language, key: str, **values: object) -> str:
    return say(key, language, {name: _readable(value, language) for name, value in values.items()})


def _named(language: Language, what: str, name: str) -> str:
    """Say one of many that a release newer than this one may have more of: then by its own name."""
    key = f"{what}_{name}"
    return say(key, language, {}) if key in WORDS else name


def _readable(value: object, language: Language) -> object:
    if isinstance(value, timedelta):
        return figures.age(value, language)
    return figures.count(value) if isinstance(value, int) else value
