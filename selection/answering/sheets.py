"""The sheets of public files by what is asked for, so that those that many want are written once. Pure.

A sheet is written in a few microseconds. To keep one takes about as long where nobody asks for it again: something else
has to go for it, which has left the processor's caches by then. So a sheet is kept from the second time on that it is
written in a short while.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from events.errors import InvalidNameError
from events.names import FilePath
from events.schemas import AccessMode
from selection.answering.heads import Heads, Sheet
from selection.answering.requests import path_of
from selection.view.fleet import FleetView

SHEETS_KEPT: Final = 2048  # 2 MB, so that they stay in a cache near by

_WRITTEN_LATELY: Final = 4096  # places, a power of two; 180 kB with what stands there
_PUBLIC: Final = AccessMode.PUBLIC  # Python 3.11 takes as long to find a member of an enum as to call a function
_QUERY: Final = ord("?")  # by number: Python 3.11 makes an error and forgets it where bytes are looked for in bytes
_ENCODED: Final = ord("%")


class Sheets:
    """Gives sheets, always as the view is now."""

    def __init__(self, view: FleetView, heads: Heads) -> None:
        self._view, self._heads = view, heads
        self._lately = [0] * _WRITTEN_LATELY  # hashes of targets
        self._forget()

    def of(self, target: bytes) -> Sheet | None:
        """Give the sheet of a file that is for everybody; None: no such file is asked for.

        Args:
            target: path and query as they were sent, still percent-encoded; ASCII, with its first slash.
        """
        catalogue = self._view.catalogue
        if catalogue.version != self._version or catalogue is not self._catalogue:
            self._forget()
        return self._kept.get(target) or self._write(target)

    def _forget(self) -> None:
        """Begin anew: what is published is another."""
        self._catalogue = self._view.catalogue
        self._version = self._catalogue.version
        self._kept: OrderedDict[bytes, Sheet] = OrderedDict()

    def _write(self, target: bytes) -> Sheet | None:
        file = None if _QUERY in target else self._catalogue.file(_path_in(target))
        if file is None or file.access.mode is not _PUBLIC:
            return None
        sheet, hashed, lately = self._heads.sheet(file), hash(target), self._lately
        if lately[hashed % _WRITTEN_LATELY] == hashed:
            self._keep(target, sheet)
        lately[hashed % _WRITTEN_LATELY] = hashed
        return sheet

    def _keep(self, target: bytes, sheet: Sheet) -> None:
        """Keep a sheet, in the place of the one that was kept first: if many want that, it is soon here again."""
        if len(self._kept) >= SHEETS_KEPT:
            self._kept.popitem(last=False)
        self._kept[target] = sheet


def _path_in(target: bytes) -> FilePath:
    """Give the path that a target names; one that no file can have is given as the empty one, which none has."""
    if _ENCODED not in target:
        return FilePath(target[1:].decode("ascii"))
    try:
        return path_of(target.decode("ascii"))
    except InvalidNameError:
        return FilePath("")
