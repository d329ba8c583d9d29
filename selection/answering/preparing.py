"""Works out in which order mirrors are taken before visitors ask for it, in slices between their requests."""

from __future__ import annotations

import asyncio
from typing import Final

from selection.following.hearing import HearingClock
from selection.places.countries import COUNTRY_CODES
from selection.places.findings import NOTHING, Finding, place_from
from selection.policy.policy import Policy

LOOK_EVERY_S: Final = 0.05  # a mirror that moved is waited for by nobody who comes later


async def prepare_rankings(policy: Policy, hearing: HearingClock) -> None:
    """Prepare until cancelled: first for all countries, since of most visitors no more is known, then as is asked for.

    Begin when the mirrors are known.
    """
    policy.expect(place_from([NOTHING]))
    for code in COUNTRY_CODES:
        policy.expect(place_from([Finding(country=code)]))
    while True:
        is_more = policy.prepare(now_s=hearing.now_s)
        await asyncio.sleep(0 if is_more else LOOK_EVERY_S)  # requests that came in meanwhile have their turn
