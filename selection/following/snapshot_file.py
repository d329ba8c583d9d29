"""Where a selector's snapshots lie: the newest, and the one before it for the day on which the newest is damaged.

A snapshot is written beside them, brought to the disk, and then takes the newest one's place; whatever is killed or
fails at whatever moment, a whole one is left.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from events.names import SelectorName

_NEWEST: Final = "snapshot"
_BEFORE: Final = "snapshot-before"
_UNFINISHED: Final = "unfinished"
_MODE: Final = 0o600  # what is published under access rules is named in it


class SnapshotFile:
    """The snapshots of one selector in a folder; others may have theirs beside them."""

    def __init__(self, folder: Path, selector: SelectorName) -> None:
        self._folder = folder
        self._selector = selector
        self.newest = folder / f"{selector}.{_NEWEST}"
        self.before = folder / f"{selector}.{_BEFORE}"

    def prepare(self) -> None:
        """Make the folder, and take away what a killed writer left.

        Raises:
            OSError: the folder cannot be made or written to.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        for left in self._folder.glob(f"{self._selector}.{_UNFINISHED}.*"):
            left.unlink(missing_ok=True)

    def found(self) -> Iterator[tuple[Path, bytes]]:
        """Give what there is, the newest first; what cannot be read is not there.

        Raises:
            OSError: one is there and cannot be read.
        """
        for path in (self.newest, self.before):
            if path.exists():
                yield path, path.read_bytes()

    def write(self, parts: Iterable[bytes], *, while_child_of: int | None = None) -> int:
        """Write the newest snapshot; give its size in bytes. A writer whose parent is gone leaves what there is.

        Raises:
            OSError: it cannot be written; what there was is there still.
            ProcessLookupError: the parent is gone.
        """
        unfinished = self._folder / f"{self._selector}.{_UNFINISHED}.{os.getpid()}"
        try:
            size_bytes = _write(unfinished, parts)
            if while_child_of is not None and os.getppid() != while_child_of:
                raise ProcessLookupError("the selector is gone, and another one may have begun")
            if self.newest.exists():
                self.newest.replace(self.before)
            unfinished.replace(self.newest)
        finally:
            unfinished.unlink(missing_ok=True)
        _sync(self._folder)
        return size_bytes


def _write(path: Path, parts: Iterable[bytes]) -> int:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, _MODE)
    with os.fdopen(descriptor, "wb") as file:
        size_bytes = sum(file.write(part) for part in parts)
        file.flush()
        os.fsync(file.fileno())
    return size_bytes


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
