"""The published files and the channels that hold them, folded from what the master says. Pure.

A publication or withdrawal of a path in a channel is ranked by ``(generation, channel_sequence, sequence)``; the
highest rank holds, whatever arrives first. So a withdrawal beats every older publication of the path, the
withdrawal of a replaced generation does not touch the new one, and a withdrawn file can be published again.

A file that is held (``events.names.HELD_PREFIX``) is in its channels, so that mirrors are known to have it, and in
nothing that is given here.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from events.names import HELD_PREFIX, ORIGIN_CHANNEL, ChannelName, Digest, FilePath
from events.schemas import FilePublished, FileWithdrawn
from selection.view.file import Digests, Pieces, PublishedFile
from selection.view.paths import Paths

_AFTER_SLASH: Final = chr(ord("/") + 1)
_LEAST: Final = "\0"


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


class Folder(NamedTuple):
    """A page of a folder: names of subfolders (with ``/``) and files. ``next_after``: where to go on, None: no more."""

    subfolders: tuple[str, ...]
    files: tuple[PublishedFile, ...]
    next_after: str | None


class Catalogue:
    """All published files by path, and for each the channels that hold its present content."""

    def __init__(self) -> None:
        self._entries: dict[FilePath, _Entry] = {}
        self._memberships: dict[FilePath, dict[ChannelName, _Membership]] = {}
        self._numbers: dict[FilePath, int] = {}
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
            self._enter(event.path, _Entry(rank, published))
            return
        channels = self._memberships.setdefault(event.path, {})
        known = channels.get(event.channel)
        if known is None or known.rank < rank:
            channels[event.channel] = _Membership(rank, published.sha256 if published else None)

    def file(self, path: FilePath) -> PublishedFile | None:
        """Find a published file."""
        entry = self._entries.get(path)
        if entry is None or entry.file is None or path.startswith(HELD_PREFIX):
            return None
        return self._published(entry.file)

    def files(self) -> Iterator[PublishedFile]:
        """Give all published files, by path."""
        return self.after("")

    def after(self, path: str) -> Iterator[PublishedFile]:
        """Give the published files after a path, by path. Take what is wanted before anything is folded."""
        for found in self._paths.after(path):
            if file := self.file(found):
                yield file

    def folder(self, prefix: str, *, after: str = "", limit: int) -> Folder:
        """Give what stands directly in a folder (``prefix`` is empty or ends in ``/``), a page of it.

        Names up to and with ``after`` are left out; ``limit`` counts subfolders and files together.
        """
        subfolders: list[str] = []
        files: list[PublishedFile] = []
        last = after
        while (found := self._paths.first(_beyond(prefix + last) if last else prefix)) and found.startswith(prefix):
            if len(subfolders) + len(files) == limit:
                return Folder(tuple(subfolders), tuple(files), last)
            name, slash, _ = found[len(prefix) :].partition("/")
            last = name + slash
            if slash:
                subfolders.append(last)
            elif file := self.file(found):
                files.append(file)
        return Folder(tuple(subfolders), tuple(files), None)

    def digests(self, file: PublishedFile) -> Digests:
        """Give a file's other digests."""
        event = self._entries[file.path].file
        return Digests(md5=event.md5, sha1=event.sha1) if event else Digests()

    def pieces(self, file: PublishedFile) -> Pieces:
        """Give the digests of a file's pieces."""
        event = self._entries[file.path].file
        return Pieces(piece_bytes=event.piece_bytes, piece_digests=event.piece_digests) if event else Pieces()

    def _published(self, event: FilePublished) -> PublishedFile:
        memberships = self._memberships.get(event.path, {})
        return PublishedFile(
            number=self._numbers.setdefault(event.path, len(self._numbers)),
            path=event.path,
            generation=event.generation,
            size_bytes=event.size_bytes,
            sha256=event.sha256,
            media_type=event.media_type,
            tags=event.tags,
            access=event.access,
            published_at_ns=event.published_at_ns,
            channels=tuple(sorted(name for name, held in memberships.items() if held.sha256 == event.sha256)),
        )

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
        if path.startswith(HELD_PREFIX):
            return
        if was is None and now is not None:
            self._count += 1
            self._paths.add(path)
        elif was is not None and now is None:
            self._count -= 1
            self._paths.drop(path)


def _beyond(place: str) -> str:
    """Give the least text after a file's path, or after all that stands in a folder."""
    return place.removesuffix("/") + _AFTER_SLASH if place.endswith("/") else place + _LEAST
