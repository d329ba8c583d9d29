"""The servers that a visitor is offered for one file, best first, as metalinks, lists and pages write them. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """One server. ``url`` is a link for this visitor, or the site's own, which sends him on (``mirror`` is "site").

    ``country`` is a code in upper case or empty; ``distance_km`` is None where a place is unknown.
    """

    mirror: str
    url: str
    country: str = ""
    distance_km: float | None = None
