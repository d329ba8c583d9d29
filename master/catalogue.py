"""Which facts follow from a change of the catalogue. Pure: stored state and wish in, new state and facts out.

The law that everything here keeps: a file is in ``origin`` while it is published, and in a channel exactly while the
channel takes it. A fact is said when a file enters a channel, leaves it, or is another file than was last said.
The store gives the facts their numbers, in the order in which they stand.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final, TypeAlias, assert_never

from events.names import ORIGIN_CHANNEL, ChannelName, Digest, FilePath, Tag, unheld_path
from events.schemas import PUBLIC, Access, FilePublished, FileWithdrawn, Filter, WithdrawMode
from master.checksums import NO_CHECKSUMS, Checksums
from master.filters import Decision, Rule, Traits, decide
from master.pieces import ONE_PIECE, Pieces

WITHDRAWN_FROM_CHANNEL: Final = "the channel's filter does not take it"
WITHDRAWN_WITH_CHANNEL: Final = "the channel was removed"


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedFile:
    """A file of the catalogue. ``named_channels`` limits the channels that may take it; None leaves it to filters."""

    path: FilePath
    generation: int
    size_bytes: int
    sha256: Digest
    media_type: str
    tags: tuple[Tag, ...]
    access: Access
    named_channels: tuple[ChannelName, ...] | None
    published_at_ns: int
    pieces: Pieces = ONE_PIECE
    checksums: Checksums = NO_CHECKSUMS

    @property
    def traits(self) -> Traits:
        """What a filter may ask about it; of a held file what it may ask about the released one."""
        path = unheld_path(self.path)
        return Traits(path=path, size_bytes=self.size_bytes, media_type=self.media_type, tags=self.tags)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What a person wants to stand under a path: content and all that is said about it."""

    path: FilePath
    size_bytes: int
    sha256: Digest
    media_type: str
    pieces: Pieces = ONE_PIECE
    checksums: Checksums = NO_CHECKSUMS
    tags: tuple[Tag, ...] = ()
    access: Access = PUBLIC
    named_channels: tuple[ChannelName, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What the catalogue knows of a path: its file, or None where it has none (any more), and the channels it is in.

    ``last_generation`` counts the contents that ever stood here; 0 for a path that is new.
    """

    file: PublishedFile | None
    last_generation: int
    channels: frozenset[ChannelName]


NOTHING: Final = Standing(file=None, last_generation=0, channels=frozenset())


@dataclass(frozen=True, slots=True)
class Entered:
    """A file is in a channel: it entered, or it is another than was last said."""

    channel: ChannelName
    file: PublishedFile


@dataclass(frozen=True, slots=True)
class Left:
    """A file left a channel. By ``mode`` running downloads may end or are cut."""

    channel: ChannelName
    file: PublishedFile
    reason: str
    mode: WithdrawMode


Fact: TypeAlias = Entered | Left


@dataclass(frozen=True, slots=True)
class Change:
    """What becomes of a path, and the facts that say so. Without facts nothing changed that anybody need know."""

    standing: Standing
    facts: tuple[Fact, ...]


def publish(standing: Standing, wish: Wish, filters: Mapping[ChannelName, Filter], *, now_ns: int) -> Change:
    """Let a wish stand under its path. Publishing what already stands there changes nothing."""
    file = _fulfil(standing, wish, now_ns)
    return _settle(standing, file, filters, changed=not _says_the_same(file, standing.file))


def withdraw(standing: Standing, *, reason: str, mode: WithdrawMode) -> Change:
    """Take a file out of all its channels and, last, out of the catalogue."""
    if standing.file is None:
        return Change(standing, ())
    return _leave(standing, standing.channels, reason=reason, mode=mode)


def refilter(standing: Standing, filters: Mapping[ChannelName, Filter]) -> Change:
    """Bring a file's channels in line with what their filters are now."""
    if standing.file is None:
        return Change(standing, ())
    return _settle(standing, standing.file, filters, changed=False)


def close_channel(standing: Standing, channel: ChannelName) -> Change:
    """Take a file out of a channel that is being removed."""
    return _leave(standing, standing.channels & {channel}, reason=WITHDRAWN_WITH_CHANNEL)


def event_of(fact: Fact, *, channel_sequence: int) -> FilePublished | FileWithdrawn:
    """Give the event that says a fact."""
    file = fact.file
    match fact:
        case Entered():
            return FilePublished(
                channel=fact.channel,
                channel_sequence=channel_sequence,
                path=file.path,
                generation=file.generation,
                size_bytes=file.size_bytes,
                sha256=file.sha256,
                media_type=file.media_type,
                tags=file.tags,
                access=file.access,
                published_at_ns=file.published_at_ns,
                piece_bytes=file.pieces.piece_bytes,
                piece_digests=file.pieces.digests,
                md5=file.checksums.md5,
                sha1=file.checksums.sha1,
            )
        case Left():
            return FileWithdrawn(
                channel=fact.channel,
                channel_sequence=channel_sequence,
                path=file.path,
                generation=file.generation,
                sha256=file.sha256,
                reason=fact.reason,
                mode=fact.mode,
            )
        case _:
            assert_never(fact)


def decide_channel(file: PublishedFile, channel: ChannelName, rules: Filter) -> Decision:
    """Tell whether a channel takes a file, and which rule decided."""
    if file.named_channels is not None and channel not in file.named_channels:
        named = ", ".join(file.named_channels) or "none"
        return Decision(taken=False, rule=Rule.NAMED, detail=f"it was published for these channels alone: {named}")
    return decide(rules, file.traits)


def channels_of(file: PublishedFile, filters: Mapping[ChannelName, Filter]) -> frozenset[ChannelName]:
    """Give all channels that a file belongs in."""
    taking = (channel for channel, rules in filters.items() if decide_channel(file, channel, rules).taken)
    return frozenset((ORIGIN_CHANNEL, *taking))


def _says_the_same(file: PublishedFile, before: PublishedFile | None) -> bool:
    """Compare what events say of two files; for which channels one was meant is between the person and the master."""
    return before is not None and replace(file, named_channels=before.named_channels) == before


def generation_of(standing: Standing, sha256: Digest) -> int:
    """Tell which generation of its path a content is, or would be.

    A path that comes back after a withdrawal counts on, so that no late tombstone can fell the new file.
    """
    current = standing.file
    return current.generation if current is not None and current.sha256 == sha256 else standing.last_generation + 1


def _fulfil(standing: Standing, wish: Wish, now_ns: int) -> PublishedFile:
    current = standing.file
    published_at_ns = current.published_at_ns if current is not None and current.sha256 == wish.sha256 else now_ns
    return PublishedFile(
        path=wish.path,
        generation=generation_of(standing, wish.sha256),
        size_bytes=wish.size_bytes,
        sha256=wish.sha256,
        media_type=wish.media_type,
        tags=wish.tags,
        access=wish.access,
        named_channels=wish.named_channels,
        published_at_ns=published_at_ns,
        pieces=wish.pieces,
        checksums=wish.checksums,
    )


def _settle(standing: Standing, file: PublishedFile, filters: Mapping[ChannelName, Filter], *, changed: bool) -> Change:
    channels = channels_of(file, filters)
    lost = _leave(standing, standing.channels - channels, reason=WITHDRAWN_FROM_CHANNEL)
    said = channels if changed else channels - standing.channels
    entered = tuple(Entered(channel, file) for channel in _in_order(said))
    settled = Standing(file=file, last_generation=file.generation, channels=channels)
    return Change(settled, (*entered, *lost.facts))


def _leave(
    standing: Standing, channels: Iterable[ChannelName], *, reason: str, mode: WithdrawMode = WithdrawMode.DRAIN
) -> Change:
    if standing.file is None:
        return Change(standing, ())
    leaving = frozenset(channels)
    rest = standing.channels - leaving
    facts = tuple(Left(channel, standing.file, reason, mode) for channel in reversed(_in_order(leaving)))
    return Change(replace(standing, file=standing.file if rest else None, channels=rest), facts)


def _in_order(channels: Iterable[ChannelName]) -> list[ChannelName]:
    """Put ``origin`` first: the catalogue knows a file before any channel does, and forgets it after them."""
    return sorted(channels, key=lambda channel: (channel != ORIGIN_CHANNEL, channel))
