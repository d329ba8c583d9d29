"""Whether each recorded decision follows from what its selector knew. Pure.

Each selector has a court of its own here, epoch by epoch: its records are taken in the order of their numbers, and each
decision is made again when the view has come to the entry up to which its selector had read. What cannot be made again
is counted with the reason; it is no finding, since something that is missing was found where it is missing.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import Enum
from heapq import heappop, heappush
from ipaddress import IPv4Address
from typing import Final, TypeAlias, assert_never

from events.envelope import Envelope
from events.grants import normalise
from events.schemas import DecisionsRecorded, Seen, StandingRecorded
from events.schemas.fields import NS_PER_S
from history.audit.findings import FindingKind, Findings
from history.audit.numbering import Numbering
from history.audit.records import Places, Records, Step
from history.entry import Entry, Position
from history.privacy import IPV4_BITS, IPV6_BITS
from history.replay.replayer import Replayer
from selection.following.replay import Replay
from selection.retracing.retraced import Verdict
from selection.retracing.retracer import Retracer

Speaker: TypeAlias = tuple[str, int]
"""A selector as a source, and the epoch of its numbering."""

# The master says its catalogue again and then the mirrors announce themselves; a large one takes a minute to say all.
SETTLED_AFTER_S: Final = 600.0


class Doubt(Enum):
    """Why the view here may not be the one that a selector had."""

    VIEW_UNTOLD = "its selector read a log over what it knew from another one"
    CUT_OFF = "the log begins behind what its selector had read"
    SEEN_MISSING = "what its selector had read last is not in the log"
    TOO_LATE = "its record stands too far behind what its selector had read"
    UNSETTLED = "the log does not tell all yet that its selector knew from before"


@dataclass(slots=True)
class _Court:
    """The records of one selector's epoch, and who makes its decisions again.

    ``due`` is the entry that the fold has to come to before the next is judged.
    """

    retracer: Retracer
    records: Records = field(default_factory=Records)
    due: Position | None = None
    read_to: Position | None = None
    judged_to: int = 0


class Judging:
    """Takes the records as they are read, ahead of the fold, and judges them as the fold goes on.

    Attributes:
        reproduced: how many decisions were made again, and alike.
        doubted: how many could not be, or could not be held against the log, by reason.
    """

    def __init__(self, numbering: Numbering, replayer: Replayer, findings: Findings) -> None:
        self._numbering = numbering
        self._replayer = replayer
        self._findings = findings
        self._places = Places()
        self._courts: dict[Speaker, _Court] = {}
        self._due: list[tuple[Position, Speaker]] = []
        self._first: Position | None = None
        self._settling = Replay("")
        self._settled_ns: int | None = None
        self.reproduced = 0
        self.doubted: Counter[str] = Counter()

    def read(self, entry: Entry, envelope: Envelope | None) -> None:
        """Take note of an entry that was read, ahead of the fold."""
        self._first = self._first or entry.position
        self._places.add(entry)
        if envelope is None or not isinstance(envelope.event, StandingRecorded | DecisionsRecorded):
            return
        speaker = envelope.source, envelope.epoch
        court = self._courts.get(speaker)
        if court is None:
            self._end_others(speaker)
            court = self._courts[speaker] = _Court(Retracer(self._replayer.view))
        court.records.put(envelope.sequence, envelope.event.seen, entry)
        if (seen := court.records.next_seen()) is not None:
            self._wait_for(speaker, court, self._target(court, seen))

    def judge(self, before: Position | None) -> None:
        """Judge all that was decided by what is folded now; ``before``: the next entry that will be. None: all."""
        while self._due and (before is None or self._due[0][0] < before):
            target, speaker = heappop(self._due)
            court = self._courts.get(speaker)
            if court is not None and court.due == target:
                court.due = None
                self._judge_court(speaker, court, before)

    def folded(self, entry: Entry, envelope: Envelope | None, before: Entry | None) -> None:
        """Take note that an entry was folded; ``before`` is the one before it."""
        if before is not None:
            self._places.forget(before)
            if before.generation < entry.generation:
                self._settling, self._settled_ns = Replay(""), None
        if envelope is not None and self._settled_ns is None:
            self._settling.note(envelope)
            if self._settling.catalogue is not None:
                self._settled_ns = self._replayer.log_time_ns + int(SETTLED_AFTER_S * NS_PER_S)

    def _judge_court(self, speaker: Speaker, court: _Court, before: Position | None) -> None:
        while (seen := court.records.next_seen()) is not None:
            target = self._target(court, seen)
            if before is not None and target >= before:
                self._wait_for(speaker, court, target)
                return
            court.read_to = target
            step = court.records.take()
            self._begin_record(speaker, court, step)
            self._judge_step(court, step)

    def _wait_for(self, speaker: Speaker, court: _Court, target: Position) -> None:
        """Judge a court when the fold has come to an entry, unless it is to be judged sooner anyway."""
        if court.due is None or target < court.due:
            court.due = target
            heappush(self._due, (target, speaker))

    def _target(self, court: _Court, seen: Seen) -> Position:
        """Give up to where the view is to be folded. What a selector has read, it knows ever after."""
        place = self._places.of(seen) or Position.of(seen)
        return place if court.read_to is None else max(place, court.read_to)

    def _begin_record(self, speaker: Speaker, court: _Court, step: Step) -> None:
        """Take note of records that are missing before this one."""
        if step.sequence == court.judged_to:
            return
        if court.judged_to and self._numbering.is_missing(speaker, court.judged_to, step.sequence):
            court.retracer.missed()
        court.judged_to = step.sequence

    def _judge_step(self, court: _Court, step: Step) -> None:
        if isinstance(step.told, StandingRecorded):
            court.retracer.standing(step.told)
            return
        doubt = self._doubt(step)
        retraced = court.retracer.retrace(step.told, is_cut=_may_be_cut(step.told.address))
        match retraced.verdict:
            case Verdict.AGREES:
                self.reproduced += 1
            case Verdict.DIFFERS if doubt is None:
                self._find(FindingKind.DECISION_WRONG, step, f"{step.told.path}: {retraced.why_not}")
            case Verdict.DIFFERS | Verdict.UNVERIFIABLE:
                self.doubted[retraced.why_not if doubt is None else doubt.value] += 1
            case _:
                assert_never(retraced.verdict)

    def _doubt(self, step: Step) -> Doubt | None:
        """Tell why the view here may not be the one that the selector had."""
        if step.seen.offset < 0:
            return Doubt.VIEW_UNTOLD
        if self._places.of(step.seen) is None:
            return self._doubt_of_missing(step)
        return None if self._is_settled() else Doubt.UNSETTLED

    def _doubt_of_missing(self, step: Step) -> Doubt:
        """Tell why what a selector had read is not there."""
        seen = Position.of(step.seen)
        if self._first is None or seen < self._first:
            return Doubt.CUT_OFF
        if self._replayer.position is not None and seen < self._replayer.position:
            return Doubt.TOO_LATE
        said = f"its selector had read {step.seen.message_id} at g{seen.generation}:{seen.offset}"
        self._find(FindingKind.SEEN_MISSING, step, said)
        return Doubt.SEEN_MISSING

    def _is_settled(self) -> bool:
        """Tell whether the log tells all that selectors know, also of what was said before it begins."""
        is_first = self._first is not None and self._first.generation == self._generation()
        if is_first and self._numbering.is_whole:
            return True
        return self._settled_ns is not None and self._replayer.log_time_ns >= self._settled_ns

    def _generation(self) -> int:
        return 0 if self._replayer.position is None else self._replayer.position.generation

    def _find(self, kind: FindingKind, step: Step, detail: str) -> None:
        self._findings.add(kind, step.entry.position, step.entry.message_id, detail, index=step.nth)

    def _end_others(self, speaker: Speaker) -> None:
        """Let go of a selector's earlier epochs of which nothing waits any more."""
        source, _ = speaker
        for other in [each for each in self._courts if each[0] == source]:
            if self._courts[other].records.next_seen() is None:
                del self._courts[other]


def _may_be_cut(address: str) -> bool:
    """Tell whether an address may have been shortened to its network since it was recorded."""
    if not address:
        return True
    found = normalise(address)
    kept_bits = IPV4_BITS if isinstance(found, IPv4Address) else IPV6_BITS
    return not int(found) & ((1 << found.max_prefixlen - kept_bits) - 1)
