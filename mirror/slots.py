"""Downloads that are under way or announced: slots, connections and bytes for each grant. Pure.

A slot is a grant with a live connection, not a connection: a tool that fetches segments in parallel takes one. A
notice from a selector reserves a slot softly: it is counted in the load report, so that selectors send fewer, but a
visitor who is here is never refused for one who may not come.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final

from events.grants import Grant

GRANT_CONNECTIONS_MAX: Final = 4  # what download tools use for one file; more only starves other visitors
BUDGET_FACTOR: Final = 2  # a whole download that broke at its very end, and once more
RESERVED_S_MAX: Final = 30.0  # a browser follows a redirect within seconds; a visitor past that is not coming
GRANTS_REMEMBERED_MAX: Final = 100_000  # some 20 MB; forgetting the oldest costs its visitor a new redirect at most


class Refusal(Enum):
    """Why a visitor with a good token is sent back to the site."""

    SLOTS_FULL = "all slots are taken"
    CONNECTIONS_FULL = "this download has enough connections"
    BUDGET_SPENT = "this download took more than twice its size"
    QUOTA_SPENT = "the month's bytes are spent"
    EXPIRED = "the link is too old"
    GONE = "the file is not here any more"
    LEFT = "this mirror left the fleet"


@dataclass(slots=True)
class _Visit:
    finish_by_s: int
    budget_bytes: int
    connections: int = 0
    sent_bytes: int = 0
    asked_bytes: int = 0


class Slots:
    """All grants that this process has seen."""

    def __init__(self, slots: int) -> None:
        self._slots = slots
        self._visits: dict[bytes, _Visit] = {}
        self._expected: dict[bytes, float] = {}
        self._active = 0

    @property
    def active(self) -> int:
        """Slots with a live transfer."""
        return self._active

    @property
    def slots(self) -> int:
        """How many there are."""
        return self._slots

    def reserved(self, now_s: float) -> int:
        """Slots that were announced and whose visitor may still come."""
        for grant_id in [grant_id for grant_id, until_s in self._expected.items() if until_s < now_s]:
            del self._expected[grant_id]
        return len(self._expected)

    def expect(self, grant_id: bytes, *, start_by_s: float, now_s: float) -> None:
        """Take note of a grant that a selector announced."""
        if grant_id not in self._visits and start_by_s >= now_s and len(self._expected) < GRANTS_REMEMBERED_MAX:
            self._expected[grant_id] = min(start_by_s, now_s + RESERVED_S_MAX)

    def started(self, grant_id: bytes) -> bool:
        """Tell whether bytes were already sent under this grant."""
        visit = self._visits.get(grant_id)
        return visit is not None and visit.sent_bytes > 0

    def enter(self, grant: Grant, *, asked_bytes: int) -> Refusal | None:
        """Let one connection of a grant in, or say why not."""
        visit = self._visits.get(grant.grant_id) or _Visit(grant.finish_by_s, BUDGET_FACTOR * grant.size_bytes)
        if visit.connections >= GRANT_CONNECTIONS_MAX:
            return Refusal.CONNECTIONS_FULL
        if visit.sent_bytes + visit.asked_bytes + asked_bytes > visit.budget_bytes:
            return Refusal.BUDGET_SPENT
        if visit.connections == 0:
            if self._active >= self._slots:
                return Refusal.SLOTS_FULL
            self._active += 1
        visit.connections += 1
        visit.asked_bytes += asked_bytes
        self._visits[grant.grant_id] = visit
        self._expected.pop(grant.grant_id, None)
        return None

    def count(self, grant_id: bytes, sent_bytes: int) -> None:
        """Take note of bytes that left."""
        visit = self._visits[grant_id]
        visit.sent_bytes += sent_bytes
        visit.asked_bytes -= sent_bytes

    def leave(self, grant_id: bytes, *, unsent_bytes: int, now_s: float) -> None:
        """Take note that a connection of a grant ended, and how many of the bytes it asked for never left."""
        visit = self._visits[grant_id]
        visit.connections -= 1
        visit.asked_bytes -= unsent_bytes
        if visit.connections == 0:
            self._active -= 1
        if len(self._visits) > GRANTS_REMEMBERED_MAX:
            self._forget(now_s)

    def _forget(self, now_s: float) -> None:
        idle = [(visit.finish_by_s, grant_id) for grant_id, visit in self._visits.items() if visit.connections == 0]
        idle.sort()
        surplus = GRANTS_REMEMBERED_MAX // 10
        for place, (finish_by_s, grant_id) in enumerate(idle):
            if finish_by_s >= now_s and place >= surplus:
                break
            del self._visits[grant_id]
