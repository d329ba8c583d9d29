"""Whether a log is whole: each source's numbers without a gap, each entry what it says it is, repeats alike. Pure.

Every source numbers what it says, and its relay repeats what was not confirmed. So a log may hold an entry twice, and
entries of one source a little out of order; it may not lack a number. Where it does, the cause is told as far as the
log shows it: a new generation of the log begins between the numbers, or a selector was ended before it had said them.

Of a log whose beginning was cut off nothing is missed before the first number of a source. What is missing a little
above the number that was heard first may stand before the cut, since that one may have come late: so it is told, and
damages nothing. Of an epoch that plainly began after the cut it is missed all the same. Nor can numbers tell of what
was taken from the very end; the chain of an export does.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from broker.accounts import mirror_of_user
from broker.reading import MIRRORS_EXCHANGES, read_envelope
from events.envelope import MASTER_SOURCE, Envelope, Identity, mirror_source, parse_id
from events.errors import ForgedEventError, LanguageError, UnknownEventTypeError
from events.schemas import EventUnreadable, LogOpened, tag_of
from events.schemas.fields import NS_PER_S
from history.audit.findings import FindingKind, Findings
from history.audit.track import LATE_MAX, SELECTOR_LATE_MAX, Gap, Heard, Track
from history.entry import Entry, Position
from selection.following.unreadables import REPORTS_PER_SPEAKER_MAX

EPOCHS_MAX: Final = 3  # a selector begins one at each start, and what the broker held back may come after that
ENDED_MAX: Final = 10_000  # a selector's start is a dozen entries, and records are judged within a hundred thousand
REPORTS_MAX: Final = 100_000  # 30 MB: of a log that somebody floods with rubbish the rest counts as unreported
REFUSED_MAX: Final = 100_000  # as many
# What a relay could not publish it publishes again within seconds of the next thing that it can. A selector's notices
# wait longest: some 200 s where it sends visitors to ten thousand mirrors at once (ADR 20).
IN_FLIGHT_FOR_S: Final = 600.0

_SELECTOR_PREFIX: Final = "selector/"
_Address = tuple[str, str, str]


class _Refused(NamedTuple):
    """An entry that readers refuse."""

    kind: FindingKind
    entry: Entry
    reason: str


class _Speaker(NamedTuple):
    """A source in one epoch, which has numbers of its own."""

    source: str
    epoch: int

    @property
    def is_selector(self) -> bool:
        return self.source.startswith(_SELECTOR_PREFIX)

    @property
    def first(self) -> int:
        """Give the number that it begins with: selectors' numbers go on rising over their epochs."""
        return self.epoch + 1 if self.is_selector else 1


class Numbering:
    """Reads a log from its first entry to its last, and then tells by ``finish`` what it lacks.

    Attributes:
        entries: how many were read.
        repeated: how many say again, byte for byte, what was said before.
        unknown_types: how many a newer version may know.
        log_time_ns: how far the clocks of the site's own sources have come.
    """

    def __init__(self, findings: Findings, *, vhost: str) -> None:
        self._findings = findings
        self._vhost = vhost
        self._tracks: dict[str, dict[int, Track]] = {}
        self._ended: dict[tuple[str, int], Track] = {}
        self._refused: list[_Refused] = []
        self._reported: set[_Address] = set()
        self._reports_of: dict[str, int] = {}
        self._opened: set[int] = set()
        self._first: Position | None = None
        self._last: Position | None = None
        self._first_ns = 0
        self.entries = 0
        self.repeated = 0
        self.unknown_types = 0
        self.log_time_ns = 0

    @property
    def sources(self) -> int:
        """Count who spoke."""
        return len(self._tracks)

    @property
    def is_whole(self) -> bool:
        """Tell whether the log is there from its very first entry on, as far as it was read."""
        return 1 in self._opened and self._first is not None and self._first.generation == 1

    def is_missing(self, speaker: tuple[str, int], after: int, before: int) -> bool:
        """Tell whether any number of a source's epoch between two others has not been heard."""
        source, epoch = speaker
        track = self._tracks.get(source, {}).get(epoch) or self._ended.get(speaker)
        return track is None or track.is_missing(after, before)

    def note(self, entry: Entry) -> Envelope | None:
        """Take the next entry; give what it says, where that can be believed."""
        self.entries += 1
        if self._last is not None and entry.position <= self._last:
            self._find(FindingKind.OUT_OF_ORDER, entry, f"the one before it is at {_place(self._last)}")
        self._first, self._last = self._first or entry.position, entry.position
        if not entry.body:
            self._find(FindingKind.EMPTIED, entry, entry.type)
            self._note_unknown(entry)
            return None
        try:
            envelope = read_envelope(entry.delivery, vhost=self._vhost)
        except UnknownEventTypeError:
            self.unknown_types += 1
            self._note_unknown(entry)
            return None
        except LanguageError as error:
            is_forged = isinstance(error, ForgedEventError)
            self._refuse(FindingKind.FORGED if is_forged else FindingKind.UNREADABLE, entry, str(error))
            return None
        self._note_envelope(entry, envelope)
        return envelope

    def finish(self) -> None:
        """Tell what is missing, now that nothing follows."""
        for refused in self._refused:
            kind = FindingKind.REFUSED if self._is_reported(refused.entry) else refused.kind
            self._find(kind, refused.entry, refused.reason)
        for source, epochs in self._tracks.items():
            for epoch, track in epochs.items():
                self._finish_track(_Speaker(source, epoch), track, is_ended=epoch < max(epochs))

    def _note_envelope(self, entry: Entry, envelope: Envelope) -> None:
        if (entry.message_id, entry.type) != (envelope.id, tag_of(envelope.event)):
            told = f"it is {tag_of(envelope.event)} {envelope.id}, and labelled {entry.type} {entry.message_id}"
            self._find(FindingKind.MISLABELLED, entry, told)
        if envelope.source == MASTER_SOURCE or envelope.source.startswith(_SELECTOR_PREFIX):
            self.log_time_ns = max(self.log_time_ns, envelope.time_ns)
            self._first_ns = self._first_ns or self.log_time_ns
        match envelope.event:
            case EventUnreadable() as report if len(self._reported) < REPORTS_MAX:
                self._reported.add((report.exchange, report.routing_key, report.message_id))
                self._reports_of[report.user_id] = self._reports_of.get(report.user_id, 0) + 1
            case LogOpened() as opened:
                self._opened.add(opened.generation)
            case _:
                pass
        self._number(entry, Identity(envelope.source, envelope.epoch, envelope.sequence))

    def _note_unknown(self, entry: Entry) -> None:
        """Count an event that nobody can read by its label, which says no less than the event does."""
        if (identity := _labelled(entry, vhost=self._vhost)) is not None:
            self._number(entry, identity)

    def _number(self, entry: Entry, identity: Identity) -> None:
        track = self._track(entry, identity)
        if track is None:
            return
        match track.note(identity.sequence, entry, log_time_ns=self.log_time_ns):
            case Heard.NEW:
                pass
            case Heard.REPEATED:
                self.repeated += 1
            case Heard.ALTERED:
                self._find(FindingKind.ALTERED_REPEAT, entry, f"number {identity.sequence} of {identity.source}")
            case Heard.MISPLACED:
                said = f"number {identity.sequence} of {identity.source}, which had come to {track.last}"
                self._find(FindingKind.MISPLACED, entry, said)

    def _track(self, entry: Entry, identity: Identity) -> Track | None:
        speaker = _Speaker(identity.source, identity.epoch)
        epochs = self._tracks.setdefault(identity.source, {})
        track = epochs.get(identity.epoch)
        if track is None:
            if len(epochs) >= EPOCHS_MAX:
                oldest = min(epochs)
                if identity.epoch < oldest:
                    self._find(FindingKind.MISPLACED, entry, f"of epoch {identity.epoch} of {identity.source}")
                    return None
                self._end_track(_Speaker(speaker.source, oldest), epochs.pop(oldest))
            track = epochs[identity.epoch] = Track(
                late_max=SELECTOR_LATE_MAX if speaker.is_selector else LATE_MAX,
                first=identity.sequence,
                first_position=entry.position,
                first_message_id=entry.message_id,
                first_ns=self.log_time_ns,
            )
        return track

    def _end_track(self, speaker: _Speaker, track: Track) -> None:
        """Finish a track of which nothing more is expected; what it lacks is asked for until its records are judged."""
        self._finish_track(speaker, track, is_ended=True)
        track.end()
        self._ended[speaker] = track
        if len(self._ended) > ENDED_MAX:
            del self._ended[next(iter(self._ended))]

    def _finish_track(self, speaker: _Speaker, track: Track, *, is_ended: bool) -> None:
        beginning = track.missing_before(speaker.first) if self.is_whole else None
        for gap in (beginning, *track.gaps()):
            if gap is not None:
                self._miss(self._cause(gap, track, speaker, is_ended=is_ended), gap, speaker.source)

    def _cause(self, gap: Gap, track: Track, speaker: _Speaker, *, is_ended: bool) -> FindingKind:
        """Tell why numbers are missing, as far as the log shows it."""
        if gap.generation < gap.position.generation:
            return FindingKind.LOST_WITH_BROKER
        if gap.high > track.last - track.late_max:
            if is_ended and speaker.is_selector:
                return FindingKind.LOST_WITH_SELECTOR
            if not is_ended and track.last_ns - gap.opened_ns <= IN_FLIGHT_FOR_S * NS_PER_S:
                return FindingKind.IN_FLIGHT
        is_before = self._may_begin_before_the_cut(track, speaker) and track.may_stand_before(gap)
        return FindingKind.BEFORE_THE_CUT if is_before else FindingKind.GAP

    def _may_begin_before_the_cut(self, track: Track, speaker: _Speaker) -> bool:
        """Tell whether the log's beginning was cut off after an epoch began.

        It was not where the epoch's first number is the one heard first, nor where it was first heard so long after the
        log's first time that nothing which was numbered before the cut was still under way.
        """
        if self.is_whole or track.heard_first == speaker.first:
            return False
        return track.first_ns - self._first_ns <= IN_FLIGHT_FOR_S * NS_PER_S

    def _miss(self, kind: FindingKind, gap: Gap, source: str) -> None:
        which = str(gap.low) if gap.low == gap.high else f"{gap.low} to {gap.high}"
        self._findings.add(kind, gap.position, gap.message_id, f"{which} of {source}")

    def _refuse(self, kind: FindingKind, entry: Entry, reason: str) -> None:
        if len(self._refused) < REFUSED_MAX:
            self._refused.append(_Refused(kind, entry._replace(body=b""), reason))
        else:
            self._find(kind, entry, reason)

    def _is_reported(self, entry: Entry) -> bool:
        address = entry.exchange, entry.routing_key, entry.message_id
        return address in self._reported or self._reports_of.get(entry.user_id, 0) >= REPORTS_PER_SPEAKER_MAX

    def _find(self, kind: FindingKind, entry: Entry, detail: str) -> None:
        self._findings.add(kind, entry.position, entry.message_id, detail)


def _labelled(entry: Entry, *, vhost: str) -> Identity | None:
    """Read the source and number that an entry is labelled with; None: it has none, or not its own speaker's.

    Anybody may label what he writes as he likes, so a mirror's label counts for that mirror alone.
    """
    if not entry.user_id and entry.exchange in MIRRORS_EXCHANGES:
        return None
    mirror, label = mirror_of_user(entry.user_id, vhost=vhost), parse_id(entry.message_id)
    is_own = label is not None and (mirror is None or label.source == mirror_source(mirror))
    return label if is_own else None


def _place(position: Position) -> str:
    return f"g{position.generation}:{position.offset}"
