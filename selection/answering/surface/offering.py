"""Makes the links of lists: the mirror that a visitor would be sent to, and those that come next.

Each link has a grant of its own for this visitor, and nobody is told of it, as with ``HEAD``: he will use one or two,
and a mirror counts who is there. A link that comes too late leads back to the site, like any.
"""

from __future__ import annotations

from typing import Final

from events.names import ORIGIN, MirrorName
from selection.answering.granting import token_for
from selection.answering.links import carried, downloads_at, file_in_url
from selection.answering.redirector import Office, leave_for
from selection.answering.stations import url_of
from selection.answering.surface.asking import Asked
from selection.answering.surface.offers import Offer
from selection.places.place import distance_km
from selection.view.file import PublishedFile
from selection.view.roster import Mirror

OFFERS_MAX: Final = 20  # clients use five at most; a link is 20 µs of work


def offers_for(file: PublishedFile, asked: Asked, office: Office) -> tuple[Offer, ...]:
    """Give the servers of a file for a visitor, best first.

    Where no mirror fits that is the master, unless it has just sent him back.
    """
    policy, visitor, now_s = office.policy, asked.visitor, office.hearing.now_s
    found = policy.choose(file, visitor, OFFERS_MAX - 1, now_s=now_s, rng=office.rng)
    if found.mirror is None:
        return () if ORIGIN in asked.asked_not else (_masters(file, asked, office),)
    return tuple(_mirrors(file, asked, office, mirror) for mirror in (found.mirror, *found.others))


def _mirrors(file: PublishedFile, asked: Asked, office: Office, mirror: Mirror) -> Offer:
    location = mirror.profile.location if mirror.profile else None
    return Offer(
        mirror=mirror.name,
        url=_link(file, asked, office, mirror.name, url_of(mirror)),
        country=location.country if location else "",
        distance_km=distance_km(asked.visitor.place, location),
    )


def _masters(file: PublishedFile, asked: Asked, office: Office) -> Offer:
    return Offer(mirror=ORIGIN, url=_link(file, asked, office, ORIGIN, office.master_url))


def _link(file: PublishedFile, asked: Asked, office: Office, mirror: MirrorName, base_url: str) -> str:
    grant = leave_for(file, asked.visitor.address, mirror, office, now_s=office.clock_s())
    token = token_for(grant, mirror, office.keys)
    return f"{downloads_at(base_url)}{token}/{file_in_url(file.path)}{carried((), asked.ticket_query)}"
