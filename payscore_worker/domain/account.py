"""An account: one merchant number of ours, and what is said in the orders that are opened under it."""

from dataclasses import dataclass
from typing import Final

DEFAULT: Final = "default"
"""The name of the one account there is where none is named."""

MAX_ACCOUNT_NAME: Final = 32
"""Characters; it stands in a path, on a label and in a column of the console."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """One merchant number of several."""

    name: str
    mchid: str
    """No other account has it, so that an order's mchid tells whose it is, whatever the account is called."""
    family: str
    """In which its new orders are opened."""
    risk_amount_fen: int
    """For a trip that names none."""
    second_risk_amount_fen: int | None = None
    """For the second try of a trip that was refused for risk; None: there is none."""
    need_user_confirm: bool = False
    """Its passengers confirm each order."""
    introduction: str
    out_order_no_prefix: str


def passenger_of(openid: str, mchid: str, *, default: str) -> str:
    """Say under what to keep what is so between a passenger and one merchant; `default`: the default account's mchid.

    Several companies may share an app, and so an openid; the default account's keep it alone.
    """
    return openid if mchid == default else f"{mchid}/{openid}"
