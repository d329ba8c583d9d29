"""One admitted connection each: what leaves by it is counted, and what does not is given back."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final

from edge.files import Sent
from edge.ranges import Part
from events.grants import Grant, IPAddress
from events.schemas import DownloadAborted, DownloadFinished, DownloadStarted, Event
from mirror.traces import Said

if TYPE_CHECKING:
    from mirror.traffic import Traffic

VISITOR_LEFT: Final = "the visitor left"
MIRROR_STOPPED: Final = "the mirror stopped"


class Transfer:
    """``meter`` it while it sends, ``note`` what became of it, then ``end`` it in any case."""

    for_peer: ClassVar = False

    def __init__(self, traffic: Traffic, grant: Grant, *, asked: Part, address: IPAddress) -> None:
        self.grant: Final = grant
        self.address: Final = address
        self.asked: Final = asked
        self.since_s: Final = traffic.now_s()
        self.sent_bytes = 0
        self._traffic = traffic
        self._completed: bool | None = None

    @property
    def asked_bytes(self) -> int:
        """What was asked for."""
        return self.asked.stop - self.asked.start

    def meter(self, sent_bytes: int) -> None:
        """Count bytes that left."""
        self.sent_bytes += sent_bytes
        self._traffic.sent_bytes += sent_bytes
        self._traffic.bookkeeper.spend(sent_bytes, for_peer=self.for_peer)
        self._traffic.changed()

    def note(self, sent: Sent) -> None:
        """Take note of what became of it."""
        self._completed = sent.completed

    def end(self, *, cut_because: str = "") -> None:
        """Give back what was not used."""
        self._traffic.bookkeeper.quota.release(self.asked_bytes - self.sent_bytes, for_peer=self.for_peer)
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

    def meter(self, sent_bytes: int) -> None:
        """Count bytes that left. The first ones of a grant, whichever connection they take, begin its download."""
        if sent_bytes > 0 and not self._traffic.slots.visits.started(self.grant.grant_id):
            self._say(
                DownloadStarted(
                    mirror=self._traffic.mirror,
                    grant_id=self.grant.grant_id,
                    sha256=self.grant.sha256,
                    address=str(self.address),
                )
            )
        self._traffic.slots.visits.count(self.grant.grant_id, sent_bytes)
        super().meter(sent_bytes)

    def end(self, *, cut_because: str = "") -> None:
        """Give back what was not used and tell how it ended: finished, left by the visitor, or cut by us and why."""
        super().end(cut_because=cut_because)
        if self._completed:
            self._say(
                DownloadFinished(
                    mirror=self._traffic.mirror,
                    grant_id=self.grant.grant_id,
                    sha256=self.grant.sha256,
                    first_byte=self.asked.start,
                    sent_bytes=self.sent_bytes,
                )
            )
        elif self.sent_bytes > 0:
            self._say(
                DownloadAborted(
                    mirror=self._traffic.mirror,
                    grant_id=self.grant.grant_id,
                    sha256=self.grant.sha256,
                    first_byte=self.asked.start,
                    wanted_bytes=self.asked_bytes,
                    sent_bytes=self.sent_bytes,
                    reason=cut_because or (VISITOR_LEFT if self._completed is False else MIRROR_STOPPED),
                )
            )

    def _leave(self, *, was_cut: bool) -> None:
        self._traffic.slots.leave(
            self.grant.grant_id,
            unsent_bytes=self.asked_bytes - self.sent_bytes,
            address=self.address,
            now_s=self._traffic.now_s(),
            keep=not was_cut,
        )

    def _say(self, event: Event) -> None:
        self._traffic.bookkeeper.say(Said(event, self._traffic.traces.of(self.grant.grant_id)))
