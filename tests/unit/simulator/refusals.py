"""How a test reads a refusal."""

import httpx


def refusal_of(response: httpx.Response) -> tuple[int, str, str, int]:
    """Status, code, message, and the sub-code after the last '-' of Request-ID."""
    envelope = response.json()
    sub_code = int(response.headers["Request-ID"].rpartition("-")[2])
    return response.status_code, envelope["code"], envelope["message"], sub_code


def field_of(response: httpx.Response) -> str:
    """What a parameter error points to."""
    assert response.status_code == 400, response.text
    assert response.json()["code"] == "PARAM_ERROR", response.text
    field: str = response.json()["detail"]["field"]
    return field
