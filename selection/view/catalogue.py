"""The published files and the channels that hold them, folded from what the master says. Pure.

A publication or withdrawal of a path in a channel is ranked by ``(generation, channel_sequence, sequence)``; the
highest rank holds, whatever arrives first. So a withdrawal beats every older publication of the path, the
withdrawal of a replaced generation does not touch the new one, and a withdrawn file can be published again.

Files are kept without the digests of their pieces, 16 kB each: the master has them for who fetches.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from msgspec.structs import replace

from events.names import ORIGIN_CHANNEL, ChannelName, Digest, FilePath
from events.schemas import FilePublished, FileWithdrawn
from selection.view.paths import Paths


class _Rank(NamedTuple):
    generation: int
    channel_sequence: int
    sequence: int


class _Entry(NamedTuple):
    rank: _Rank
    file: FilePublished | None  # None: withdrawn. The tombstone stays, or a late publication would undo it


class _Membership(NamedTuple):
    rank: _Rank
    sha256: Digest | None


class Catalogue:
    """All published files by path, and for each the channels that hold its present content."""

    def __init__(self) -> None:
        self._entries: dict[FilePath, _Entry] = {}
        self._memberships: dict[FilePath, dict[ChannelName, _Membership]] = {}
        self._paths = Paths()
        self._count = 0

    def __len__(self) -> int:
        """Count the published files."""
        return self._count

    def apply(self, event: FilePublished | FileWithdrawn, *, sequence: int) -> None:
        """Fold one fact; ``sequence`` is the master's."""
        rank = _Rank(event.generation, event.channel_sequence, sequence)
        published = event if isinstance(event, FilePublished) else None
        if event.channel == ORIGIN_CHANNEL:
            self._enter(event.path, _Entry(rank, published and _without_pieces(published)))
            return
        channels = self._memberships.setdefault(event.path, {})
        known = channels.get(event.channel)
        if known is None or known.rank < rank:
            channels[event.channel] = _Membership(rank, published.sha256 if published else None)

    def file(self, path: FilePath) -> FilePublished | None:
        """Find a published file."""
        entry = self._entries.get(path)
        return entry.file if entry else None

    def files(self) -> Iterator[FilePublished]:
        """Give all published files, by path."""
        return self.after("")

    def after(self, path: str) -> Iterator[FilePublished]:
        """Give the published files after a path, by path. Take what is wanted before anything is folded."""
        for found in self._paths.after(path):
            if file := self._entries[found].file:
                yield file

    def channels_of(self, file: FilePublished) -> tuple[ChannelName, ...]:
        """Give the channels that hold exactly this content under this path, by name."""
        memberships = self._memberships.get(file.path, {})
        return tuple(sorted(channel for channel, held in memberships.items() if held.sha256 == file.sha256))

    def forget_before(self, floor: int) -> None:
        """Forget the facts under the master's sequence ``floor``: a restatement took their place."""
        for path, entry in list(self._entries.items()):
            if entry.rank.sequence < floor:
                self._list(path, was=entry.file, now=None)
                del self._entries[path]
        memberships: dict[FilePath, dict[ChannelName, _Membership]] = {}
        for path, channels in self._memberships.items():
            if kept := {name: held for name, held in channels.items() if held.rank.sequence >= floor}:
                memberships[path] = kept
        self._memberships = memberships

    def _enter(self, path: FilePath, entry: _Entry) -> None:
        known = self._entries.get(path)
        if known is not None and known.rank >= entry.rank:
            return
        self._list(path, was=known and known.file, now=entry.file)
        self._entries[path] = entry

    def _list(self, path: FilePath, *, was: FilePublished | None, now: FilePublished | None) -> None:
        """Keep the published paths in order, and their number."""
        if was is None and now is not None:
            self._count += 1
            self._paths.add(path)
        elif was is not None and now is None:
            self._count -= 1
            self._paths.drop(path)


def _without_pieces(file: FilePublished) -> FilePublished:
    return replace(file, piece_bytes=0, piece_digests=b"") if file.piece_digests else file
