"""One admitted connection each: what leaves by it is counted, and what does not is given back."""

from __future__ import annotations

from typing import ClassVar, Final, Protocol

from edge.ranges import Part
from events.grants import Grant, IPAddress
from events.schemas import Download, DownloadOutcome
from events.schemas.fields import NS_PER_S
from mirror.serving.bookkeeper import Bookkeeper
from mirror.serving.slots import PeerSlots, Slots
from mirror.state.traces import Traces

VISITOR_LEFT: Final = "the visitor left"
MIRROR_STOPPED: Final = "the mirror stopped"


class Admitting(Protocol):
    """Where a transfer was admitted, and gives back what it took."""

    sent_bytes: int

    @property
    def slots(self) -> Slots:
        """What visitors take."""
        ...

    @property
    def peer_slots(self) -> PeerSlots:
        """What other mirrors take."""
        ...

    @property
    def bookkeeper(self) -> Bookkeeper:
        """Who books what leaves."""
        ...

    @property
    def traces(self) -> Traces[bytes]:
        """The traces of the grants that were announced."""
        ...

    def now_s(self) -> float:
        """Give the time."""
        ...

    def changed(self) -> None:
        """Take note that bytes left."""
        ...

    def ended(self, transfer: Transfer) -> None:
        """Take note that a transfer ended."""
        ...


class Transfer:
    """``meter`` it while it sends, ``note`` what became of it, then ``end`` it in any case."""

    for_peer: ClassVar = False

    def __init__(self, traffic: Admitting, grant: Grant, *, asked: Part, address: IPAddress) -> None:
        self.grant: Final = grant
        self.address: Final = address
        self.asked: Final = asked
        self.asked_bytes: Final = asked.stop - asked.start
        self.since_s: Final = traffic.now_s()
        self.sent_bytes = 0
        self._traffic = traffic
        self._completed: bool | None = None

    def meter(self, sent_bytes: int) -> None:
        """Count bytes that left."""
        self.sent_bytes += sent_bytes
        self._traffic.sent_bytes += sent_bytes
        self._traffic.bookkeeper.spend(sent_bytes, for_peer=self.for_peer)
        self._traffic.changed()

    def note(self, *, completed: bool) -> None:
        """Take note of what became of it: whether all that was asked for was sent."""
        self._completed = completed

    def end(self, *, cut_because: str = "") -> None:
        """Give back what was not used."""
        if unsent_bytes := self.asked_bytes - self.sent_bytes:
            self._traffic.bookkeeper.quota.release(unsent_bytes, for_peer=self.for_peer)
        self._leave(was_cut=bool(cut_because))
        self._traffic.ended(self)

    def _leave(self, *, was_cut: bool) -> None:
        raise NotImplementedError


class PeerTransfer(Transfer):
    """What another mirror takes. The log is not told: pieces are many, and ``replica.ready`` says what came of them."""

    for_peer = True

    def _leave(self, *, was_cut: bool) -> None:
        del was_cut
        self._traffic.peer_slots.leave()


class Visit(Transfer):
    """What a visitor takes."""

    _untold_address = ""

    def meter(self, sent_bytes: int) -> None:
        """Count bytes that left. The first ones of a grant, whichever connection they take, begin its download."""
        if self._begins(sent_bytes):
            self._tell(DownloadOutcome.STARTED, address=str(self.address))
        self._count(sent_bytes)

    def end(self, *, cut_because: str = "") -> None:
        """Give back what was not used and tell how it ended: finished, left by the visitor, or cut by us and why."""
        super().end(cut_because=cut_because)
        self._tell_end(cut_because)

    def settle(self, sent_bytes: int, *, completed: bool) -> None:
        """Do all of it at once for what somebody else sent: its end tells of its start, too."""
        self.count_as(sent_bytes)
        self.tell_as(sent_bytes, completed=completed)

    def count_as(self, sent_bytes: int) -> None:
        """Count bytes and give back the rest for what somebody else sends; what became of it is yet to be told."""
        self._untold_address = str(self.address) if self._begins(sent_bytes) else ""
        self._count(sent_bytes)
        super().end()

    def tell_as(self, sent_bytes: int, *, completed: bool) -> None:
        """Tell what became of it, once it was counted."""
        self.sent_bytes = sent_bytes
        self.note(completed=completed)
        self._tell_end(address=self._untold_address)

    def _begins(self, sent_bytes: int) -> bool:
        return sent_bytes > 0 and not self._traffic.slots.visits.started(self.grant.grant_id)

    def _count(self, sent_bytes: int) -> None:
        self._traffic.slots.visits.count(self.grant.grant_id, sent_bytes)
        super().meter(sent_bytes)

    def _leave(self, *, was_cut: bool) -> None:
        self._traffic.slots.leave(
            self.grant.grant_id,
            unsent_bytes=self.asked_bytes - self.sent_bytes,
            address=self.address,
            now_s=self._traffic.now_s(),
            keep=not was_cut,
        )

    def _tell_end(self, cut_because: str = "", *, address: str = "") -> None:
        if not self._completed and not self.sent_bytes:
            return
        reason = cut_because or (VISITOR_LEFT if self._completed is False else MIRROR_STOPPED)
        self._tell(
            DownloadOutcome.FINISHED if self._completed else DownloadOutcome.ABORTED,
            address=address,
            first_byte=self.asked.start,
            wanted_bytes=self.asked_bytes,
            sent_bytes=self.sent_bytes,
            reason="" if self._completed else reason,
        )

    def _tell(
        self,
        outcome: DownloadOutcome,
        *,
        address: str = "",
        first_byte: int = 0,
        wanted_bytes: int = 0,
        sent_bytes: int = 0,
        reason: str = "",
    ) -> None:
        trace = self._traffic.traces.of(self.grant.grant_id)
        self._traffic.bookkeeper.tell(
            Download(
                grant_id=self.grant.grant_id,
                sha256=self.grant.sha256,
                outcome=outcome,
                at_ns=round(self._traffic.now_s() * NS_PER_S),
                address=address,
                first_byte=first_byte,
                wanted_bytes=wanted_bytes,
                sent_bytes=sent_bytes,
                reason=reason,
                traceparent="" if trace is None else trace.traceparent,
            )
        )
