"""What stands before the passenger's page: from where a form may come, and what a browser may make of the page."""

import base64
import hashlib
from http import HTTPStatus
from typing import Final
from urllib.parse import parse_qsl, urlsplit

from starlette.exceptions import HTTPException
from starlette.requests import Request

MAX_FORM_BYTES: Final = 16 * 1024
MAX_FIELDS: Final = 10


def headers_for(style: str) -> dict[str, str]:
    """The page is its own markup and this one style, and nothing else."""
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return {
        "Content-Security-Policy": (
            f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; form-action 'self'; base-uri 'none'; "
            "frame-ancestors 'none'"
        ),
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "same-origin",  # with less, a browser keeps the Origin of our own forms back
        "Cache-Control": "no-store",
        "Vary": "Accept-Language",
    }


async def read_form(request: Request) -> dict[str, str]:
    """A form of ours.

    Raises:
        HTTPException: it comes from another site, cannot be read, or is larger than any of ours.

    """
    if not _is_same_origin(request):
        raise HTTPException(HTTPStatus.FORBIDDEN)
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_FORM_BYTES:
            raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
    try:
        return dict(parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=MAX_FIELDS))
    except ValueError as error:
        raise HTTPException(HTTPStatus.BAD_REQUEST) from error


def _is_same_origin(request: Request) -> bool:
    """Whether it was sent from a page of this very host; a browser says so in one header or the other."""
    origin = request.headers.get("origin")
    if origin is None:
        return request.headers.get("sec-fetch-site") == "same-origin"
    try:
        return urlsplit(origin).netloc.lower() == request.headers.get("host", "").lower() != ""
    except ValueError:
        return False
