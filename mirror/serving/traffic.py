"""What visitors and other mirrors take: one admission for each connection, kept within slots, budget, quota and rate.

Each visitor's transfer is told as events. Every transfer can be cut at any time; its slot is then free at once.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import NamedTuple, TypeVar

from edge.pacing import Pacing
from edge.ranges import Part
from edge.running import Running
from events.grants import CLOCK_SKEW_S, Grant, IPAddress
from events.names import Digest, MirrorName
from events.revocation import revokes
from events.schemas import GrantClaimed, GrantsRevoked
from mirror.serving.bookkeeper import Bookkeeper
from mirror.serving.slots import PeerSlots, Refusal, Slots
from mirror.serving.transfers import PeerTransfer, Transfer, Visit
from mirror.state.traces import Said, Traces

_TransferT = TypeVar("_TransferT", bound=Transfer)


class RefusedError(Exception):
    """A good token that cannot be served here now. Send the visitor back to the site."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.value)
        self.refusal = refusal


class PeerRefusedError(Exception):
    """Another mirror cannot be served now: its slots or its share of the quota are used up. Let it ask again later."""


class _Subject(NamedTuple):
    """Whose transfer it is."""

    grant: Grant
    address: IPAddress


class Traffic:
    """All transfers of one mirror. ``pacing`` and ``peer_pacing`` are what they are sent with."""

    def __init__(
        self,
        mirror: MirrorName,
        slots: Slots,
        peer_slots: PeerSlots,
        bookkeeper: Bookkeeper,
        *,
        clock_s: Callable[[], float],
        pacing: Pacing,
        peer_pacing: Pacing,
    ) -> None:
        self.mirror = mirror
        self.slots = slots
        self.peer_slots = peer_slots
        self.bookkeeper = bookkeeper
        self.pacing = pacing
        self.peer_pacing = peer_pacing
        self.sent_bytes = 0
        self.traces = Traces[bytes]()  # by grant_id: of the notices that were seen
        self._clock_s = clock_s
        self._running = Running[_Subject]()
        self._revoked: set[GrantsRevoked] = set()
        self._transfers: set[Transfer] = set()
        self._on_change: list[Callable[[], None]] = []
        self._on_begin: list[Callable[[Digest], None]] = []

    def __iter__(self) -> Iterator[Transfer]:
        """Go over the transfers that run now."""
        return iter(tuple(self._transfers))

    def on_begin(self, callback: Callable[[Digest], None]) -> None:
        """Call back with the content of each transfer that begins."""
        self._on_begin.append(callback)

    def on_change(self, callback: Callable[[], None]) -> None:
        """Call back whenever a slot was taken or became free, or bytes left."""
        self._on_change.append(callback)

    def now_s(self) -> float:
        """Give the time."""
        return self._clock_s()

    @property
    def served(self) -> frozenset[Digest]:
        """The contents of which a transfer runs."""
        return frozenset(transfer.grant.sha256 for transfer in self._transfers)

    @property
    def slots_taken(self) -> int:
        """Slots that a newcomer cannot have: with live transfers, or kept for visitors who are back at once."""
        return self.slots.visits.active + self.slots.kept(self._clock_s())

    @asynccontextmanager
    async def visiting(self, grant: Grant, *, asked: Part, address: IPAddress) -> AsyncGenerator[Visit]:
        """Let a visitor's connection take these bytes while the block is entered.

        Raises:
            RefusedError: it cannot be let in.
        """
        with self._running.entered(_Subject(grant, address)) as cut:  # first, lest a revocation miss who waits
            visit = await self.admit(grant, asked=asked, address=address)
            try:
                yield visit
            finally:
                visit.end(cut_because=cut.reason)

    @asynccontextmanager
    async def serving_peer(self, grant: Grant, *, asked: Part, address: IPAddress) -> AsyncGenerator[Transfer]:
        """Let another mirror's connection take these bytes while the block is entered.

        Raises:
            PeerRefusedError: it cannot be let in.
        """
        with self._running.entered(_Subject(grant, address)):
            transfer = await self.admit_peer(grant, asked=asked, address=address)
            try:
                yield transfer
            finally:
                transfer.end()

    async def admit(self, grant: Grant, *, asked: Part, address: IPAddress) -> Visit:
        """Let a visitor's connection in that asks for these bytes. ``end`` the visit in any case.

        Raises:
            RefusedError: it cannot be let in.
        """
        asked_bytes = asked.stop - asked.start
        self._enter(grant, asked_bytes, address)
        booked = False
        try:
            booked = await self.bookkeeper.reserve(asked_bytes)
        finally:
            if not booked:
                self._turn_away(grant, asked_bytes, address)
        if not booked:
            raise RefusedError(Refusal.QUOTA_SPENT)
        return self._visit(grant, asked, address)

    def admit_booked(self, grant: Grant, *, asked: Part, address: IPAddress) -> Visit | None:
        """Let a visitor's connection in as ``admit`` does, at once; None where something has to be written before.

        Raises:
            RefusedError: it cannot be let in.
        """
        asked_bytes = asked.stop - asked.start
        if not self.bookkeeper.is_booked(asked_bytes):
            return None
        self._enter(grant, asked_bytes, address)
        if not self.bookkeeper.set_aside(asked_bytes):
            self._turn_away(grant, asked_bytes, address)
            raise RefusedError(Refusal.QUOTA_SPENT)
        return self._visit(grant, asked, address)

    async def admit_peer(self, grant: Grant, *, asked: Part, address: IPAddress) -> PeerTransfer:
        """Let another mirror's connection in that asks for these bytes. ``end`` the transfer in any case.

        Raises:
            PeerRefusedError: it cannot be let in.
        """
        if not self.peer_slots.enter():
            raise PeerRefusedError("all slots for other mirrors are taken")
        booked = False
        try:
            booked = await self.bookkeeper.reserve(asked.stop - asked.start, for_peer=True)
        finally:
            if not booked:
                self.peer_slots.leave()
        if not booked:
            raise PeerRefusedError("what other mirrors may take of the day or of the month is spent")
        return self._begun(PeerTransfer(self, grant, asked=asked, address=address))

    def note_claim(self, grant: Grant, address: IPAddress) -> None:
        """Say that a visitor of the other address family claimed a grant."""
        claimed = GrantClaimed(mirror=self.mirror, grant_id=grant.grant_id, address=str(address))
        self.bookkeeper.say(Said(claimed, self.traces.of(grant.grant_id)))

    def cut(self, matches: Callable[[Grant], bool], reason: str) -> int:
        """Cut the running transfers of the grants that match; give how many."""
        return self._running.cut(lambda subject: matches(subject.grant), reason)

    def revoke(self, revoked: GrantsRevoked) -> int:
        """Refuse grants that were taken back from now on, and cut their running transfers; give how many."""
        now_s = self._clock_s()
        self._revoked = {each for each in self._revoked if each.until_s + CLOCK_SKEW_S >= now_s} | {revoked}
        return self._running.cut(
            lambda subject: revokes(revoked, subject.grant, mirror=self.mirror, address=subject.address),
            revoked.reason,
        )

    def revoked(self, grant: Grant, address: IPAddress) -> bool:
        """Tell whether a visitor's grant was taken back."""
        return any(revokes(each, grant, mirror=self.mirror, address=address) for each in self._revoked)

    def ended(self, transfer: Transfer) -> None:
        """Take note that a transfer ended."""
        self._transfers.discard(transfer)
        self.changed()

    def changed(self) -> None:
        """Tell whoever wants to know."""
        for callback in self._on_change:
            callback()

    def _enter(self, grant: Grant, asked_bytes: int, address: IPAddress) -> None:
        refusal = self.slots.enter(grant, asked_bytes=asked_bytes, address=address, now_s=self._clock_s())
        if refusal is not None:
            raise RefusedError(refusal)

    def _turn_away(self, grant: Grant, asked_bytes: int, address: IPAddress) -> None:
        now_s = self._clock_s()
        self.slots.leave(grant.grant_id, unsent_bytes=asked_bytes, address=address, now_s=now_s, keep=False)

    def _visit(self, grant: Grant, asked: Part, address: IPAddress) -> Visit:
        self.changed()
        return self._begun(Visit(self, grant, asked=asked, address=address))

    def _begun(self, transfer: _TransferT) -> _TransferT:
        self._transfers.add(transfer)
        for callback in self._on_begin:
            callback(transfer.grant.sha256)
        return transfer
