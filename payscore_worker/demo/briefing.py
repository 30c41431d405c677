"""Tells the simulator what is special about the trips to come."""

from collections.abc import Sequence
from typing import Final

import httpx

from payscore_worker.demo.plan import PlannedTrip

ADMIN_SECONDS: Final = 30.0
"""For the ledger of thousands of orders, from a simulator that is busy."""


async def brief(merchant_url: str, trips: Sequence[PlannedTrip]) -> None:
    """Say who does not simply pay, and which callback gets lost; the trips are those of one merchant."""
    passengers = {trip.openid: trip.behaviour for trip in trips if trip.behaviour}
    async with httpx.AsyncClient(base_url=merchant_url, timeout=ADMIN_SECONDS) as http:
        (await http.put("/admin/passengers", json=passengers)).raise_for_status()
        for trip in trips:
            if trip.callback_lost:
                fault = {"fault": "callback_lost", "openid": trip.openid}
                (await http.post("/admin/faults", json=fault)).raise_for_status()
