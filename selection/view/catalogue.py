"""The published files and the channels that hold them, folded from what the master says. Pure.

A publication or withdrawal of a path in a channel is ranked by ``(generation, channel_sequence, sequence)``; the
highest rank holds, whatever arrives first. So a withdrawal beats every older publication of the path, the
withdrawal of a replaced generation does not touch the new one, and a withdrawn file can be published again. A
withdrawal is remembered for as long as an older fact may yet arrive: while one of the master's numbers is missing.

A file that is held (``events.names.HELD_PREFIX``) is in its channels, so that mirrors are known to have it, and in
nothing that is given here.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from msgspec import Struct

from events.names import HELD_PREFIX, FilePath
from events.schemas import FilePublished, FileWithdrawn
from selection.view.contents import Contents
from selection.view.file import Digests, Pieces, PublishedFile
from selection.view.files import Details, Files, FilesDump
from selection.view.memberships import Memberships, MembershipsDump, Rank
from selection.view.metadata import Watches
from selection.view.paths import Paths

_AFTER_SLASH: Final = chr(ord("/") + 1)
_LEAST: Final = "\0"


class Folder(NamedTuple):
    """A page of a folder: names of subfolders (with ``/``) and files. ``next_after``: where to go on, None: no more."""

    subfolders: tuple[str, ...]
    files: tuple[PublishedFile, ...]
    next_after: str | None


class CatalogueDump(Struct, array_like=True):
    """The catalogue, as a snapshot has it. ``order`` has the numbers of the published files, by path."""

    files: FilesDump
    memberships: MembershipsDump
    withdrawn: list[tuple[int, int]]
    order: bytes


class Catalogue:
    """All published files by path, and for each the channels that hold its present content.

    ``withdrawn`` has what left a channel and is remembered: ``forget_withdrawn`` as soon as nothing older can follow.
    ``version`` rises whenever a ``file`` may be another than before.
    """

    def __init__(self, contents: Contents) -> None:
        self._contents = contents
        self._files = Files()
        self._memberships = Memberships()
        self.withdrawn: set[tuple[int, int]] = set()
        self._paths = Paths()
        self._count = 0
        self.version = 0
        self.watches = Watches(self._files, contents)

    def __len__(self) -> int:
        """Count the published files."""
        return self._count

    def publish(self, event: FilePublished, sequence: int) -> None:
        """Fold that a file entered a channel; ``sequence`` is the master's."""
        files, memberships = self._files, self._memberships
        number = files.need(event.path)
        channel = memberships.channel_id(event.channel)
        first = files.row.cells[number]
        row = memberships.find(first, channel) if first else 0
        rank = event.generation, event.channel_sequence, sequence
        if row and not memberships.is_newer(rank, row):
            return
        content = self._contents.use(event.sha256)
        if row:
            self._put(row, rank, content)
        else:
            row = memberships.add(first, channel, rank, content)
            try:
                files.row.cells[number] = row
            except OverflowError:
                files.row.put(number, row)
        if not channel:
            self._list(number, event, content)
        if first:  # else it is in ``origin`` alone, or not even there
            self._enter(number)

    def withdraw(self, event: FileWithdrawn, sequence: int, *, is_whole: bool) -> None:
        """Fold that a file left a channel; ``sequence`` is the master's. ``is_whole``: nothing older can follow."""
        files, memberships = self._files, self._memberships
        number = files.find(event.path)
        if not number:
            if is_whole:
                return
            number = files.need(event.path)
        channel = memberships.channel_id(event.channel)
        first = files.row.cells[number]
        row = memberships.find(first, channel) if first else 0
        rank = event.generation, event.channel_sequence, sequence
        if row and not memberships.is_newer(rank, row):
            return
        if row:
            self._put(row, rank, 0)
        else:
            files.row.put(number, memberships.add(first, channel, rank, 0))
        if not channel:
            self._list(number, None, 0)
        self._enter(number)
        self.withdrawn.add((number, channel))

    def forget_withdrawn(self) -> None:
        """Forget the withdrawals: all that the master said before them was heard."""
        withdrawn, self.withdrawn = self.withdrawn, set()
        for number, channel in withdrawn:
            row = self._memberships.find(self._files.row.cells[number], channel)
            if row and not self._memberships.content.cells[row]:
                self._forget(number, [row])

    def file(self, path: FilePath) -> PublishedFile | None:
        """Find a published file."""
        number = self._files.find(path)
        if not number or path.startswith(HELD_PREFIX):
            return None
        return self._files.published(number, self._contents)

    def entry(self, path: FilePath) -> PublishedFile | None:
        """Find a file that is published, or held until it will be."""
        number = self._files.find(path)
        return self._files.published(number, self._contents) if number else None

    def everything(self) -> Iterator[PublishedFile]:
        """Give all files that are published or held, in no order. Nothing may be folded meanwhile."""
        for number, path in enumerate(self._files.paths):
            if path and (file := self._files.published(number, self._contents)):
                yield file

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
        return self._details(file).digests

    def pieces(self, file: PublishedFile) -> Pieces:
        """Give the digests of a file's pieces."""
        return self._details(file).pieces

    def forget_before(self, floor: int) -> None:
        """Forget the facts under the master's sequence ``floor``: a restatement took their place."""
        files, memberships = self._files, self._memberships
        old = memberships.before(floor)
        if not old:
            return
        for number, path in enumerate(files.paths):
            if path and (gone := [row for row in memberships.rows(files.row.cells[number]) if row in old]):
                self._forget(number, gone)

    def dump(self) -> CatalogueDump:
        """Give all that cannot be derived, as ``load`` takes it."""
        order = array("I", map(self._files.find, self._paths.after("")))
        return CatalogueDump(self._files.dump(), self._memberships.dump(), list(self.withdrawn), order.tobytes())

    def load(self, dumped: CatalogueDump) -> None:
        """Take what ``dump`` gave."""
        self._files.load(dumped.files)
        self._memberships.load(dumped.memberships)
        self.withdrawn = set(dumped.withdrawn)
        self.version += 1
        order = array("I", dumped.order)
        self._count = len(order)
        self._paths = Paths.of([self._files.paths[number] for number in order])

    def _details(self, file: PublishedFile) -> Details:
        return self._files.details_of(self._files.find(file.path))

    def _put(self, row: int, rank: Rank, content: int) -> None:
        """Let a fact hold in the place of the one in a row."""
        memberships = self._memberships
        before = memberships.content.cells[row]
        memberships.rank(row, rank)
        memberships.content.put(row, content)
        if before:
            self._contents.disuse(before)

    def _list(self, number: int, event: FilePublished | None, content: int) -> None:
        """Note what is published under a path; keep the published paths in order, and their number."""
        files = self._files
        self.version += 1
        path, was_listed = files.paths[number], files.content.cells[number]
        if event is None:
            files.withdraw(number)
        else:
            files.publish(number, event, content)
        if bool(was_listed) == (event is not None) or path.startswith(HELD_PREFIX):
            return
        if event is None:
            self._count -= 1
            self._paths.drop(path)
        else:
            self._count += 1
            self._paths.add(path)

    def _enter(self, number: int) -> None:
        """Work out which channels hold what is published under a path."""
        files = self._files
        self.version += 1
        content = files.content.cells[number]
        files.enter(number, self._memberships.holding(files.row.cells[number], content) if content else ())
        if self.watches.asked:
            self.watches.changed(number)

    def _forget(self, number: int, rows: Iterable[int]) -> None:
        """Take facts out as if they had never been said."""
        files, memberships = self._files, self._memberships
        for row in rows:
            content, is_origin = memberships.content.cells[row], memberships.channel.cells[row] == 0
            files.row.put(number, memberships.drop(files.row.cells[number], row))
            if is_origin:
                self._list(number, None, 0)
            if content:
                self._contents.disuse(content)
        self._enter(number)
        if not files.row.cells[number]:
            files.remove(number)


def _beyond(place: str) -> str:
    """Give the least text after a file's path, or after all that stands in a folder."""
    return place.removesuffix("/") + _AFTER_SLASH if place.endswith("/") else place + _LEAST
