"""What a choice says: the mirrors that qualify, best first, and why not each other one, for a person to read."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from events.names import MirrorName


class RejectReason(Enum):
    """Why a mirror was not chosen: a stable code, the number of the criterion that decided, and a sentence.

    Criterion 0 stands beside the six: the visitor comes from mirrors that could not serve him.
    """

    ASKED_NOT = ("asked_not", 0, "it has just sent this visitor back")
    HOPS_SPENT = ("hops_spent", 0, "too many mirrors have just sent this visitor back: the master serves him")
    ASKED_OTHER = ("asked_other", 0, "the visitor asks for another mirror")
    NO_ACCESS = ("no_access", 1, "the visitor has no access to the file")
    NOT_FOR_PLACE = ("not_for_place", 1, "it takes no visitors from this country, continent or network")
    NOT_SUBSCRIBED = ("not_subscribed", 2, "it is subscribed to no channel that holds the file")
    NO_COPY = ("no_copy", 2, "it has no copy of the file")
    FETCH_DECLINED = ("fetch_declined", 2, "it has no copy: it could not fetch the file")
    UNACKNOWLEDGED = ("unacknowledged", 2, "it has yet to act on the withdrawal of what stood there before")
    NOT_CURRENT = ("not_current", 2, "it lacks some of the channel's metadata, and others have all of it")
    DISABLED = ("disabled", 3, "the site sends it no visitors for now")
    NEVER_ONLINE = ("never_online", 3, "it has never come online")
    OFFLINE = ("offline", 3, "it is offline")
    URL_UNUSABLE = ("url_unusable", 3, "its URL is none that a visitor can follow")
    KEYS_OUTDATED = ("keys_outdated", 3, "it has yet to take its new grant key: links under the old one open nothing")
    INVENTORY_INCOMPLETE = ("inventory_incomplete", 3, "it came online and has yet to say all that it holds")
    SILENT = ("silent", 3, "it has not reported its load lately")
    PAUSED = ("paused", 3, "its operator has paused it")
    DRAINING = ("draining", 3, "it is on its way to a stop")
    CLOSED = ("closed", 3, "it is outside its hours")
    NOT_SECURE = ("not_secure", 3, "the visitor asks for https, and its URL is not")
    NOT_PLAIN = ("not_plain", 3, "the visitor asks for plain http, and its URL is https")
    OTHER_FAMILY = ("other_family", 3, "it is not reached by the visitor's address family")
    FULL = ("full", 4, "its load is at the threshold: no slot is free")
    SHARE_SPENT = ("share_spent", 4, "it has had its share of the continent's visitors, and others can serve")
    QUOTA_SPENT = ("quota_spent", 5, "too little of its quota is left for the file")
    SPARING = ("sparing", 5, "a soft limit of its operator is reached: others are chosen first")
    NEAR_EQUAL = ("near_equal", 6, "it is as near, and the draw by free slots fell on another")
    FARTHER = ("farther", 6, "it is farther from the visitor")

    def __init__(self, code: str, criterion: int, text: str) -> None:
        self.code, self.criterion, self.text = code, criterion, text


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why this mirror; ``detail`` gives the figures of the case, or nothing."""

    reason: RejectReason
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A mirror that qualifies by the first five criteria. ``free_slots`` are those under the threshold, at least 1.

    ``distance_km`` is None where a place is unknown, ``quota_left_bytes`` is None without a limit.
    """

    mirror: MirrorName
    base_url: str
    distance_km: float | None
    free_slots: int
    quota_left_bytes: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The verdict. The first of ``ranked`` is chosen; all others stand in ``rejected``, the rest of ``ranked`` too."""

    access: bool
    ranked: tuple[Candidate, ...]
    rejected: dict[MirrorName, Rejection]

    @property
    def best(self) -> Candidate | None:
        """Give the mirror to send the visitor to, or None."""
        return self.ranked[0] if self.ranked else None

    @property
    def fallback(self) -> bool:
        """Tell whether the master is to serve the file itself."""
        return self.access and not self.ranked
