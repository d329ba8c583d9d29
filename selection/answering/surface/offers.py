"""The servers that a visitor is offered for one file, best first, as metalinks, lists and pages write them.

Each link has a grant of its own for this visitor, and nobody is told of it, as with ``HEAD``: he will use one or two,
and a mirror counts who is there. A link that comes too late leads back to the site, like any.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import Final

from events.grants import GRANT_ID_BYTES
from events.names import ORIGIN, MirrorName
from selection.answering.granting import grant_for, token_for
from selection.answering.links import carrying, download_url
from selection.answering.redirector import Explanation, Office
from selection.answering.surface.asking import Asked
from selection.view.fleet import FleetView

OFFERS_MAX: Final = 20  # clients use five at most; a link is 20 µs of work


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """One server. ``url`` is a link for this visitor, or the site's own, which sends him on (``mirror`` is "site").

    ``country`` is a code in upper case or empty; ``distance_km`` is None where a place is unknown.
    """

    mirror: str
    url: str
    country: str = ""
    distance_km: float | None = None


def offers_for(explained: Explanation, office: Office, asked: Asked) -> tuple[Offer, ...]:
    """Give the servers for a choice; the master where no mirror qualifies, unless it has just sent the visitor back."""
    ranked = explained.choice.ranked
    if not ranked:
        places = () if ORIGIN in asked.asked_not else ((ORIGIN, office.master_url, None),)
    else:
        places = ((one.mirror, one.base_url, one.distance_km) for one in islice(ranked, OFFERS_MAX))
    return tuple(
        Offer(
            mirror=mirror,
            url=carrying(_link(explained, office, mirror, base_url), asked.ticket_query),
            country=_country(office.view, mirror),
            distance_km=distance_km,
        )
        for mirror, base_url, distance_km in places
    )


def _country(view: FleetView, mirror: MirrorName) -> str:
    profile = view.mirror(mirror).profile
    return profile.location.country if profile and profile.location else ""


def _link(explained: Explanation, office: Office, mirror: MirrorName, base_url: str) -> str:
    view, file = office.view, explained.file
    grant = grant_for(
        file,
        explained.visitor.address,
        office.terms,
        now_s=office.clock_s(),
        grant_id=office.rng.randbytes(GRANT_ID_BYTES),
        binding=view.binding(file, mirror),
        key_epoch=view.key_epoch(mirror),
        revoked_start_by_s=view.revoked_start_by_s,
    )
    return download_url(base_url, token_for(grant, mirror, office.keys), file.path)
