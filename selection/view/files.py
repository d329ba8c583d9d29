"""What is published under each path, in columns by file number. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple, cast

from msgspec import Struct

from events.names import ChannelName, FilePath, Tag
from events.schemas import PUBLIC, Access, FilePublished
from selection.view.columns import ROWS, Cells, Column, Slots
from selection.view.contents import Contents
from selection.view.file import Digests, Pieces, PublishedFile
from selection.view.interning import Interned

# Digests of pieces are for metalinks alone, 16 kB a large file. What is published beyond this room is shown without.
PIECES_BYTES_MAX: Final = 128 << 20


class Kind(NamedTuple):
    """What many files have alike."""

    media_type: str
    tags: tuple[Tag, ...]
    access: Access


class Details(Struct, frozen=True, gc=False):
    """What few ask for."""

    digests: Digests = Digests()
    pieces: Pieces = Pieces()


NO_DETAILS: Final = Details()
_NO_PATH: Final = FilePath("")
_SEPARATOR: Final = "\n"  # no path has one


class FilesDump(Struct, array_like=True):
    """The files, as a snapshot has them."""

    paths: str
    columns: list[Cells]
    kinds: tuple[list[Kind], list[int]]
    channel_sets: tuple[list[tuple[ChannelName, ...]], list[int]]
    details: dict[int, Details]


class Files:
    """Paths by number, and what is published under each: some sixty bytes beside the path and the content.

    A number, from 1 on, is a path's for as long as there is any fact about it. ``row`` is the first one of those; a
    ``content`` of 0: nothing is published there.
    """

    def __init__(self) -> None:
        self.paths: list[FilePath] = [_NO_PATH]
        self.row = Column()
        self.content = Column()
        self.generation = Column()
        self.size_bytes = Column()
        self.published_at_ns = Column()
        self.kind = Column()
        self.channels = Column()
        self._kind = Kind("", (), PUBLIC)
        self.kinds: Interned[Kind] = Interned(Kind("", (), PUBLIC))
        self.channel_sets: Interned[tuple[ChannelName, ...]] = Interned(())
        self.details: dict[int, Details] = {}
        self.pieces_bytes = 0
        self._slots = Slots(self._hashes_of)
        self._free: list[int] = []
        self._last_path, self._last = _NO_PATH, 0
        self._columns = (
            self.row,
            self.content,
            self.generation,
            self.size_bytes,
            self.published_at_ns,
            self.kind,
            self.channels,
        )
        for column in self._columns:
            column.append(0)

    def find(self, path: FilePath) -> int:
        """Give the number of a path, or 0."""
        slots, paths = self._slots, self.paths
        cells, mask = slots.cells, slots.mask
        place = hash(path) & mask
        while number := cells[place]:
            if paths[number] == path:
                return number
            place = (place + 1) & mask
        return 0

    def need(self, path: FilePath) -> int:
        """Give the number of a path; one that nobody spoke of yet is given its number.

        What was needed last is at hand: a file enters several channels, one after the other.
        """
        if path == self._last_path:
            return self._last
        slots, paths = self._slots, self.paths
        cells, mask = slots.cells, slots.mask
        hashed = hash(path)
        place = hashed & mask
        while number := cells[place]:  # as in ``find``
            if paths[number] == path:
                break
            place = (place + 1) & mask
        else:
            number = self._begin(path)
            slots.put(number, hashed, place)
        self._last_path, self._last = path, number
        return number

    def remove(self, number: int) -> None:
        """Take a path's number back; nothing is published under it."""
        if number == self._last:
            self._last_path, self._last = _NO_PATH, 0
        self._slots.drop(number)
        self.paths[number] = _NO_PATH
        self._free.append(number)

    def publish(self, number: int, event: FilePublished, content: int) -> None:
        """Note what is published under a path."""
        try:
            self.content.cells[number] = content
            self.generation.cells[number] = event.generation
            self.size_bytes.cells[number] = event.size_bytes
            self.published_at_ns.cells[number] = event.published_at_ns
        except OverflowError:  # one has to be wider
            self.content.put(number, content)
            self.generation.put(number, event.generation)
            self.size_bytes.put(number, event.size_bytes)
            self.published_at_ns.put(number, event.published_at_ns)
        held = self.kind.cells[number]
        if (kind := self._kind_of(event)) is not self.kinds.values[held]:
            self.kind.put(number, self.kinds.exchange(held, kind))
        if event.md5 or event.sha1 or event.piece_digests or number in self.details:
            self._detail(number, event)

    def withdraw(self, number: int) -> None:
        """Note that nothing is published under a path."""
        self.content.put(number, 0)
        self.kind.put(number, self.kinds.exchange(self.kind.cells[number], self.kinds.values[0]))
        self._detail(number, None)

    def enter(self, number: int, channels: tuple[ChannelName, ...]) -> None:
        """Note which channels hold what is published under a path."""
        held = self.channels.cells[number]
        if self.channel_sets.values[held] is not channels and self.channel_sets.values[held] != channels:
            self.channels.put(number, self.channel_sets.exchange(held, channels))

    def channels_of(self, number: int) -> tuple[ChannelName, ...]:
        """Give the channels that hold what is published under a path."""
        return self.channel_sets.values[self.channels.cells[number]]

    def published(self, number: int, contents: Contents) -> PublishedFile | None:
        """Give what is published under a path."""
        content = self.content.cells[number]
        if not content:
            return None
        media_type, tags, access = self.kinds.values[self.kind.cells[number]]
        return PublishedFile(
            number=number,
            content=content,
            path=self.paths[number],
            generation=self.generation.cells[number],
            size_bytes=self.size_bytes.cells[number],
            sha256=contents.digest(content),
            media_type=media_type,
            tags=tags,
            access=access,
            published_at_ns=self.published_at_ns.cells[number],
            channels=self.channel_sets.values[self.channels.cells[number]],
        )

    def details_of(self, number: int) -> Details:
        """Give what few ask for."""
        return self.details.get(number, NO_DETAILS)

    def _begin(self, path: FilePath) -> int:
        """Give a number to a path that has none."""
        number = self._free.pop() if self._free else self._grow()
        self.paths[number] = path
        return number

    def _grow(self) -> int:
        """Make some rows; give the number of the first of them."""
        number = len(self.paths)
        self.paths += [_NO_PATH] * ROWS
        for column in self._columns:
            column.extend(ROWS)
        self._free += range(number + ROWS - 1, number, -1)
        return number

    def _kind_of(self, event: FilePublished) -> Kind:
        """Give the kind of a publication: mostly that of the one before."""
        kind = self._kind
        media_type, tags, access = kind
        is_other = event.access is not access and event.access != access
        if is_other or event.media_type != media_type or event.tags != tags:
            kind = self._kind = Kind(event.media_type, event.tags, event.access)
        return kind

    def _detail(self, number: int, event: FilePublished | None) -> None:
        known = self.details.pop(number, None)
        if known is not None:
            self.pieces_bytes -= len(known.pieces.piece_digests)
        if event is None or not (event.md5 or event.sha1 or event.piece_digests):
            return
        pieces = Pieces(piece_bytes=event.piece_bytes, piece_digests=event.piece_digests)
        if self.pieces_bytes + len(event.piece_digests) > PIECES_BYTES_MAX:
            pieces = Pieces()
        self.pieces_bytes += len(pieces.piece_digests)
        self.details[number] = Details(Digests(md5=event.md5, sha1=event.sha1), pieces)

    def dump(self) -> FilesDump:
        """Give all that cannot be derived, as ``load`` takes it."""
        return FilesDump(
            _SEPARATOR.join(self.paths),
            [column.dump() for column in self._columns],
            self.kinds.dump(),
            self.channel_sets.dump(),
            self.details,
        )

    def load(self, dumped: FilesDump) -> None:
        """Take what ``dump`` gave."""
        self.paths = cast("list[FilePath]", dumped.paths.split(_SEPARATOR))
        for column, cells in zip(self._columns, dumped.columns, strict=True):
            column.load(cells)
        self.kinds.load(*dumped.kinds)
        self.channel_sets.load(*dumped.channel_sets)
        self.details = dumped.details
        self._free = [number for number, path in enumerate(self.paths) if number and not path]
        taken = (number for number, path in enumerate(self.paths) if path)
        self._slots.fill(taken, len(self.paths) - 1 - len(self._free))
        self.pieces_bytes = sum(len(details.pieces.piece_digests) for details in self.details.values())

    def _hashes_of(self, numbers: Iterable[int]) -> Iterator[int]:
        return map(hash, map(self.paths.__getitem__, numbers))
