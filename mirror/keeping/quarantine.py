"""Copies that were found damaged, in ``quarantine/<sha256>``: kept for the operator, and for what of them is sound.

They count as used disk space and give way, the oldest first, whenever room is needed. Everything here blocks; call it
in an executor.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Generator
from pathlib import Path
from typing import Final, NamedTuple

import structlog

from events.names import Digest
from events.pieces import piece_count
from mirror.content.objects import FOLDER_MODE, Objects
from mirror.state.plan import Entry

QUARANTINED_MAX: Final = 10  # enough to see what a disk does to files; more of the same tells nothing new
BLOCK_BYTES: Final = 1 << 20
DIGEST_HEX_LENGTH: Final = 64

log = structlog.stdlib.get_logger()


class Quarantined(NamedTuple):
    """How much is in quarantine."""

    files: int
    bytes: int


class Quarantine:
    """The damaged copies of one data folder."""

    def __init__(self, folder: Path, objects: Objects) -> None:
        self._folder = folder / "quarantine"
        self._objects = objects
        self._folder.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)

    def path(self, sha256: Digest) -> Path:
        """Give where a damaged copy stands."""
        return self._folder / sha256.hex()

    def put(self, sha256: Digest) -> None:
        """Take a copy out of the store. The oldest in quarantine goes when there are too many."""
        os.rename(self._objects.path(sha256), self.path(sha256))  # noqa: PTH104 - not Path.rename: the crash tests count system calls
        for old in list(self.listing())[:-QUARANTINED_MAX]:
            self.remove(old)

    def listing(self) -> dict[Digest, int]:
        """Give what is in quarantine and its size, the oldest first."""
        found: list[tuple[int, Digest, int]] = []
        for path in self._folder.iterdir():
            with contextlib.suppress(FileNotFoundError, ValueError):  # gone meanwhile; nothing of ours
                if len(path.name) == DIGEST_HEX_LENGTH:
                    sha256, status = Digest(bytes.fromhex(path.name)), path.lstat()
                    found.append((status.st_ctime_ns, sha256, status.st_size))
        return {sha256: size_bytes for _, sha256, size_bytes in sorted(found)}

    def count(self) -> Quarantined:
        """Give how much is in quarantine."""
        found = self.listing()
        return Quarantined(len(found), sum(found.values()))

    def remove(self, sha256: Digest) -> None:
        """Remove a damaged copy for good. No harm if there is none."""
        self.path(sha256).unlink(missing_ok=True)

    def give_back(self, sha256: Digest) -> None:
        """Put a damaged copy among the parts, where each of its pieces is hashed before it counts."""
        os.rename(self.path(sha256), self._objects.part_path(sha256))  # noqa: PTH104 - as above

    def salvage(self, wanted: Entry) -> None:
        """Copy what can be read of a damaged copy among the parts; only what was not sound is to be fetched then.

        Nothing is done where nothing of it is here, the content is one piece, or a part of it is there already.
        """
        source, part = self.path(wanted.sha256), self._objects.part_path(wanted.sha256)
        if piece_count(wanted.size_bytes, wanted.piece_bytes) == 1 or part.exists() or not source.exists():
            return
        with _opened(source, os.O_RDONLY) as reading, _opened(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL) as writing:
            copied_bytes = _copy(reading, writing, wanted.size_bytes)
        log.info("replica.salvaged", sha256=wanted.sha256.hex(), copied_bytes=copied_bytes)


def _copy(reading: int, writing: int, size_bytes: int) -> int:
    """Copy all that can be read; what cannot stays a hole."""
    copied_bytes = 0
    for position in range(0, size_bytes, BLOCK_BYTES):
        with contextlib.suppress(OSError):  # a bad sector, or no room: the piece is fetched
            block = os.pread(reading, min(BLOCK_BYTES, size_bytes - position), position)
            copied_bytes += os.pwrite(writing, block, position)
    return copied_bytes


@contextlib.contextmanager
def _opened(path: Path, flags: int) -> Generator[int]:
    fd = os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o640)
    try:
        yield fd
    finally:
        os.close(fd)
