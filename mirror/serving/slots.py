"""Downloads that are under way or announced: slots, connections and bytes for each grant. Pure.

A slot is a grant with a live connection, not a connection: a tool that fetches segments in parallel takes one, and
keeps it between two segments for ``SLOT_KEPT_S``, unless all of the file was sent. A notice from a selector reserves a
slot softly: it is counted in the load report, so that selectors send fewer, but a visitor who is here is never refused
for one who may not come.

All of it is forgotten when the process ends; a visitor then gets a new link from the site.
"""

from __future__ import annotations

from collections import Counter
from enum import Enum
from typing import Final

from edge.visits import GRANTS_REMEMBERED_MAX, Excess, Visits
from events.grants import Grant, IPAddress
from mirror.serving.awaited import Awaited

SLOT_KEPT_S: Final = 5.0  # a tool asks for its next segment within a second; a broken line is back within some
RESERVED_S_MAX: Final = 30.0  # a browser follows a redirect within seconds; a visitor past that is not coming
CONNECTIONS_PER_ADDRESS: Final = 8  # two tools at once, or some people behind one router
_IPV4: Final = 4
_HOST_BITS: Final = 64  # of an IPv6 address: one visitor has all of them


class Refusal(Enum):
    """Why a visitor with a good token is sent back to the site."""

    SLOTS_FULL = "all slots are taken"
    CONNECTIONS_FULL = "this download has enough connections"
    ADDRESS_FULL = "this address has enough connections"
    BUDGET_SPENT = "this download took more than twice its size"
    QUOTA_SPENT = "the bytes of the day or of the month are spent"
    EXPIRED = "the link is too old"
    FILES_EXHAUSTED = "too many files are open"
    GONE = "the file is not here any more"
    LEFT = "this mirror left the fleet"


_EXCESSES: Final = {
    Excess.SLOTS: Refusal.SLOTS_FULL,
    Excess.CONNECTIONS: Refusal.CONNECTIONS_FULL,
    Excess.BUDGET: Refusal.BUDGET_SPENT,
}


class Slots:
    """Who is here, who may be back and who is announced. ``connections_per_address`` is the operator's limit."""

    def __init__(self, slots: int, *, connections_per_address: int = CONNECTIONS_PER_ADDRESS) -> None:
        self.visits = Visits(slots)
        self._connections_per_address = connections_per_address
        self._connections = Counter[int]()
        self._expected = Awaited()
        self._kept = Awaited()

    @property
    def connections(self) -> int:
        """Live transfers."""
        return self._connections.total()

    def kept(self, now_s: float) -> int:
        """Slots whose visitor has no connection now and is expected back at once."""
        return self._kept.count(now_s, longest_s=SLOT_KEPT_S)

    def reserved(self, now_s: float) -> int:
        """Slots that were announced and whose visitor may still come."""
        return self._expected.count(now_s, longest_s=RESERVED_S_MAX)

    def expect(self, grant_id: bytes, *, start_by_s: float, now_s: float) -> None:
        """Take note of a grant that a selector announced."""
        is_new = not self.visits.knows(grant_id)
        if is_new and start_by_s >= now_s and len(self._expected) < GRANTS_REMEMBERED_MAX:
            self._expected.put(grant_id, now_s=now_s, for_s=min(start_by_s - now_s, RESERVED_S_MAX))

    def enter(self, grant: Grant, *, asked_bytes: int, address: IPAddress, now_s: float) -> Refusal | None:
        """Let one connection of a grant in, or say why not."""
        household = _household(address)
        if self._connections[household] >= self._connections_per_address:
            return Refusal.ADDRESS_FULL
        kept_for_others = self.kept(now_s) - (grant.grant_id in self._kept)
        excess = self.visits.enter(grant, asked_bytes=asked_bytes, now_s=now_s, slots_kept=kept_for_others)
        if excess is not None:
            return _EXCESSES[excess]
        self._connections[household] += 1
        self._expected.drop(grant.grant_id)
        self._kept.drop(grant.grant_id)
        return None

    def leave(self, grant_id: bytes, *, unsent_bytes: int, address: IPAddress, now_s: float, keep: bool = True) -> None:
        """Take note that a connection of a grant ended, and how many of the bytes it asked for never left.

        ``keep`` tells that its visitor may be back for more, so that his slot is kept for a while.
        """
        self.visits.leave(grant_id, unsent_bytes=unsent_bytes)
        household = _household(address)
        self._connections[household] -= 1
        if not self._connections[household]:
            del self._connections[household]
        if not keep:
            self._kept.drop(grant_id)
        elif not self.visits.connections(grant_id) and self.visits.started(grant_id):
            self._keep(grant_id, now_s)

    def _keep(self, grant_id: bytes, now_s: float) -> None:
        if not self.visits.is_whole(grant_id):
            self._kept.put(grant_id, now_s=now_s, for_s=SLOT_KEPT_S)


class PeerSlots:
    """What other mirrors take at once."""

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self.active = 0

    def enter(self) -> bool:
        """Let one transfer in, if there is a slot for it."""
        if self.active >= self.slots:
            return False
        self.active += 1
        return True

    def leave(self) -> None:
        """Take note that a transfer ended."""
        self.active -= 1


def _household(address: IPAddress) -> int:
    """Number whom one limit is for: an IPv4 address, or the /64 of an IPv6 one. To hash an address takes longer."""
    number = int(address)
    return ~number if address.version == _IPV4 else number >> _HOST_BITS
