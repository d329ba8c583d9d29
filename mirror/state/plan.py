"""Which files this mirror has to hold, folded from what the master said. Pure.

``Catalogue`` keeps for each followed channel the position that is known without a gap, and for each path in it the
entry with the highest ``channel_sequence``. What lies at or below the position was applied and is ignored when it
comes again; what lies beyond a gap is applied, and leads to a ``Resync`` which closes the gap. A withdrawal beyond a
gap stays as a tombstone, so that a late publication below it changes nothing; below the position it needs no trace.

All these numbers are of one epoch of the master. One that lost its numbering begins a higher epoch; then every number
that is kept is forgotten, and what the channels hold stays as it is until their snapshots were read.

Every change is noted in a ``Journal``: what a transaction has to write, and how to take it back should it fail.
Content is wanted while one live entry refers to it, whatever the number of channels and paths.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import TypeAlias

from events.names import ChannelName, Digest, FilePath, file_name
from events.schemas import FilePublished, FileWithdrawn, LossReason, WithdrawMode
from events.trace import TraceContext

Key: TypeAlias = tuple[ChannelName, FilePath]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """The last that is known of one path in one channel. Not ``live``: a tombstone.

    For ``piece_bytes`` and ``piece_digests`` see ``events.pieces``. ``published_at_ns`` is 0 where nobody said.
    """

    channel: ChannelName
    path: FilePath
    sequence: int
    generation: int
    sha256: Digest
    size_bytes: int = 0
    media_type: str = ""
    live: bool = True
    piece_bytes: int = 0
    piece_digests: bytes = b""
    published_at_ns: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """All live entries of a channel as of one ``channel_sequence`` of one epoch, from the master."""

    channel: ChannelName
    epoch: int
    sequence: int
    entries: tuple[Entry, ...]


@dataclass(frozen=True, slots=True)
class Fetch:
    """Get this content: it is wanted and not held."""

    entry: Entry
    trace: TraceContext | None = None


@dataclass(frozen=True, slots=True)
class Drop:
    """Nobody wants this content any more: say that it is lost if it is held, then remove what there is of it.

    ``cut``: whoever is being sent it gets no more of it.
    """

    sha256: Digest
    path: FilePath
    reason: LossReason
    trace: TraceContext | None = None
    cut: bool = False


@dataclass(frozen=True, slots=True)
class Resync:
    """Read the channel's snapshot: something was missed."""

    channel: ChannelName


Action: TypeAlias = Fetch | Drop | Resync


class Standing(Enum):
    """Where an event stands against what is known of its channel."""

    FOREIGN = "of a channel that is not followed"
    KNOWN = "at or below the position"
    NEXT = "the one after the position"
    AHEAD = "beyond a gap"


@dataclass(slots=True)
class Journal:
    """What one transaction changes: the value before, for each entry and position that it touches.

    ``epoch`` is None where it stays. ``traces`` has for each content whose claims changed what led to the last change,
    where that is known. ``owed`` are the channels whose master waits to hear that a withdrawal was acted on, ``cut``
    the contents that were withdrawn at once and not in peace.
    """

    epoch: int | None = None
    entries: dict[Key, Entry | None] = field(default_factory=dict[Key, Entry | None])
    positions: dict[ChannelName, int | None] = field(default_factory=dict[ChannelName, int | None])
    gaps: set[ChannelName] = field(default_factory=set[ChannelName])
    traces: dict[Digest, TraceContext | None] = field(default_factory=dict[Digest, TraceContext | None])
    owed: set[ChannelName] = field(default_factory=set[ChannelName])
    cut: set[Digest] = field(default_factory=set[Digest])


class Catalogue:
    """What the master said, channel by channel."""

    def __init__(self) -> None:
        self._epoch = 0
        self._positions: dict[ChannelName, int] = {}
        self._entries: dict[ChannelName, dict[FilePath, Entry]] = {}
        self._claims: dict[Digest, set[Key]] = {}

    @property
    def epoch(self) -> int:
        """The master's epoch that all numbers are of; 0 before any was heard of."""
        return self._epoch

    @property
    def positions(self) -> Mapping[ChannelName, int]:
        """The followed channels, each with the sequence up to which nothing is missing."""
        return self._positions

    def entry(self, key: Key) -> Entry | None:
        """Give the last that is known of a path in a channel, tombstones included."""
        return self._entries.get(key[0], {}).get(key[1])

    def wanted(self, sha256: Digest, *, name: str = "") -> Entry | None:
        """Give a live entry that refers to this content: one of this name, else the first, or None."""
        keys = self._claims.get(sha256)
        if not keys:
            return None
        return self.entry(min(keys, key=lambda key: (file_name(key[1]) != name, key)))

    def wanted_digests(self) -> Iterator[Digest]:
        """Give each content that some live entry refers to."""
        return iter(self._claims)

    def restore(self, epoch: int, positions: Mapping[ChannelName, int], entries: Iterable[Entry]) -> None:
        """Take over what was kept across a restart."""
        journal = Journal()
        self._epoch = epoch
        self._positions.update(positions)
        for entry in entries:
            self._put((entry.channel, entry.path), entry, journal)

    def enter(self, epoch: int, journal: Journal) -> bool:
        """Tell whether what is of this epoch of the master counts; one of an earlier epoch does not.

        With a higher one all numbers are forgotten, for the new ones begin below them: all snapshots must be read.
        """
        if epoch > self._epoch:
            if journal.epoch is None:
                journal.epoch = self._epoch
            self._epoch = epoch
            for channel, entries in self._entries.items():
                for path, entry in list(entries.items()):
                    self._put((channel, path), replace(entry, sequence=0) if entry.live else None, journal)
            for channel in self._positions:
                self._move(channel, 0, journal)
                journal.gaps.add(channel)
        return epoch == self._epoch

    def follow(self, channel: ChannelName, journal: Journal) -> None:
        """Begin to follow a channel. Nothing is known of it, so its snapshot must be read."""
        if channel not in self._positions:
            self._move(channel, 0, journal)
            journal.gaps.add(channel)

    def unfollow(self, channel: ChannelName, journal: Journal, *, trace: TraceContext | None = None) -> None:
        """Stop following a channel and forget its entries."""
        for path in list(self._entries.get(channel, {})):
            self._put((channel, path), None, journal, trace)
        if channel in self._positions:
            self._move(channel, None, journal)
        journal.gaps.discard(channel)
        journal.owed.discard(channel)

    def apply(
        self, event: FilePublished | FileWithdrawn, journal: Journal, *, trace: TraceContext | None = None
    ) -> Standing:
        """Take one fact of a channel in, whatever was seen before it."""
        standing = self._standing(event.channel, event.channel_sequence)
        if isinstance(event, FileWithdrawn) and standing is not Standing.FOREIGN:
            journal.owed.add(event.channel)  # even if it is known: the acknowledgement may be what got lost
        match standing:
            case Standing.FOREIGN | Standing.KNOWN:
                return standing
            case Standing.NEXT:
                self._move(event.channel, event.channel_sequence, journal)
            case Standing.AHEAD:
                journal.gaps.add(event.channel)
        key = (event.channel, event.path)
        known = self.entry(key)
        if known is None or known.sequence < event.channel_sequence:
            entry = _entry_of(event)
            if isinstance(event, FileWithdrawn) and event.mode is WithdrawMode.CUT:
                journal.cut |= {event.sha256} if known is None else {event.sha256, known.sha256}
            # Below the position nothing can come back, so only a withdrawal beyond a gap needs its tombstone.
            self._put(key, entry if entry.live or standing is Standing.AHEAD else None, journal, trace)
        return standing

    def replace(self, snapshot: Snapshot, journal: Journal) -> None:
        """Put a snapshot in place of all that is not newer than it.

        Ignored for a channel that is not followed, and when it is of an earlier epoch.
        """
        channel = snapshot.channel
        if channel not in self._positions or not self.enter(snapshot.epoch, journal):
            return
        journal.gaps.discard(channel)
        fresh = {entry.path: entry for entry in snapshot.entries}
        for path, known in list(self._entries.get(channel, {}).items()):
            if known.sequence <= snapshot.sequence and path not in fresh:
                journal.owed.add(channel)
                self._put((channel, path), None, journal)
        for path, entry in fresh.items():
            known = self.entry((channel, path))
            if known is None or known.sequence <= snapshot.sequence:
                self._put((channel, path), entry, journal)
        if snapshot.sequence > self._positions[channel]:
            journal.owed.add(channel)
            self._move(channel, snapshot.sequence, journal)

    def roll_back(self, journal: Journal) -> None:
        """Undo what a journal notes: its transaction failed."""
        undo = Journal()
        if journal.epoch is not None:
            self._epoch = journal.epoch
        for key, before in journal.entries.items():
            self._put(key, before, undo)
        for channel, position in journal.positions.items():
            self._move(channel, position, undo)

    def touched(self, journal: Journal) -> set[Digest]:
        """Give each content whose need may have changed."""
        before = {entry.sha256 for entry in journal.entries.values() if entry is not None}
        now = (self.entry(key) for key in journal.entries)
        return before | {entry.sha256 for entry in now if entry is not None}

    def _standing(self, channel: ChannelName, sequence: int) -> Standing:
        position = self._positions.get(channel)
        if position is None:
            return Standing.FOREIGN
        if sequence <= position:
            return Standing.KNOWN
        return Standing.NEXT if sequence == position + 1 else Standing.AHEAD

    def _move(self, channel: ChannelName, position: int | None, journal: Journal) -> None:
        journal.positions.setdefault(channel, self._positions.get(channel))
        if position is None:
            self._positions.pop(channel, None)
        else:
            self._positions[channel] = position

    def _put(self, key: Key, entry: Entry | None, journal: Journal, trace: TraceContext | None = None) -> None:
        before = self.entry(key)
        if before == entry:
            return
        journal.entries.setdefault(key, before)
        journal.traces |= {each.sha256: trace for each in (before, entry) if each is not None}
        if before is not None and before.live:
            self._release(before.sha256, key)
        if entry is None:
            self._entries[key[0]].pop(key[1])
            return
        self._entries.setdefault(key[0], {})[key[1]] = entry
        if entry.live:
            self._claims.setdefault(entry.sha256, set()).add(key)

    def _release(self, sha256: Digest, key: Key) -> None:
        claims = self._claims[sha256]
        claims.discard(key)
        if not claims:
            del self._claims[sha256]


def plan(catalogue: Catalogue, journal: Journal, held: Container[Digest]) -> list[Action]:
    """Give what follows from the changes of a journal, in a fixed order."""
    actions: list[Action] = [Resync(channel) for channel in sorted(journal.gaps)]
    for sha256 in sorted(catalogue.touched(journal)):
        wanted = catalogue.wanted(sha256)
        if wanted is not None and sha256 not in held:
            actions.append(Fetch(wanted, journal.traces.get(sha256)))
        elif wanted is None:
            actions.append(_drop(catalogue, journal, sha256))
    return actions


def owed(catalogue: Catalogue, journal: Journal) -> dict[ChannelName, set[Digest]]:
    """Give the channels to be acknowledged, each with the contents that have to be gone before."""
    found: dict[ChannelName, set[Digest]] = {channel: set() for channel in journal.owed}
    for (channel, _), before in journal.entries.items():
        if channel in found and before is not None and catalogue.wanted(before.sha256) is None:
            found[channel].add(before.sha256)
    return found


def _drop(catalogue: Catalogue, journal: Journal, sha256: Digest) -> Drop:
    known = (*journal.entries.values(), *(catalogue.entry(key) for key in journal.entries))
    claims = (entry for entry in known if entry is not None and entry.sha256 == sha256)
    last = min(claims, key=lambda entry: (entry.channel, entry.path))
    followed = last.channel in catalogue.positions
    reason = LossReason.WITHDRAWN if followed else LossReason.UNSUBSCRIBED
    return Drop(sha256, last.path, reason, journal.traces.get(sha256), cut=sha256 in journal.cut)


def _entry_of(event: FilePublished | FileWithdrawn) -> Entry:
    match event:
        case FilePublished():
            return Entry(
                channel=event.channel,
                path=event.path,
                sequence=event.channel_sequence,
                generation=event.generation,
                sha256=event.sha256,
                size_bytes=event.size_bytes,
                media_type=event.media_type,
                piece_bytes=event.piece_bytes,
                piece_digests=event.piece_digests,
                published_at_ns=event.published_at_ns,
            )
        case FileWithdrawn():
            return Entry(
                channel=event.channel,
                path=event.path,
                sequence=event.channel_sequence,
                generation=event.generation,
                sha256=event.sha256,
                live=False,
            )
