"""Read a file on the master's disk once, whole, and know that it held still meanwhile.

Published content is served in place, so what was hashed is remembered with the file's size, time of change and inode
(its ``Fingerprint``); whoever opens it later compares. A file that changed is refused, never served as something else.
The device is left out: its number changes when a machine restarts.
"""

from __future__ import annotations

import hashlib
import os
import stat
import time
from collections.abc import Callable, Collection, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from events.names import Digest
from master.checksums import Checksum, ChecksumHasher, Checksums
from master.errors import UnusableFileError
from master.pieces import PieceHasher, Pieces

BLOCK_BYTES: Final = 1 << 20  # large enough that hashlib and read release the GIL for nearly all of the time
PROGRESS_EVERY_BYTES: Final = 32 << 20  # some 20 a second from a fast disk
# File systems stamp changes with the clock's last tick (up to 10 ms; 2 s on FAT), so a change right after the hashing
# may leave the time as it was. A younger file is hashed again instead of being taken as unchanged.
SETTLED_AFTER_NS: Final = 2_000_000_000
_INODE_MASK: Final = 2**63 - 1

Progress = Callable[[int, int], None]
"""Called from the hashing thread with the bytes hashed and in all. It may raise to end the hashing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fingerprint:
    """What tells, without reading it, that a file is still the one that was hashed."""

    size_bytes: int
    mtime_ns: int
    inode: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where the bytes of a published file stand on the master's disk, and how they were when they were hashed.

    ``hashed_at_ns`` is when that hashing began.
    """

    location: Path
    fingerprint: Fingerprint
    hashed_at_ns: int

    def settled(self) -> bool:
        """Tell whether the fingerprint alone proves that the content is unchanged."""
        return self.fingerprint.mtime_ns + SETTLED_AFTER_NS < self.hashed_at_ns


@dataclass(frozen=True, slots=True)
class Hashed:
    """A file's content, where it stood, and when the reading began. The fingerprint was the same before and after."""

    sha256: Digest
    pieces: Pieces
    checksums: Checksums
    source: Source


class FileChangedError(UnusableFileError):
    """A file is not what it was when it was hashed. Publish it (again) once nobody writes to it."""

    def __init__(self, location: Path, *, when: str, hint: str) -> None:
        super().__init__("file_changed", f"{location} changed {when}", hint=hint)


def hash_file(location: Path, *, progress: Progress, checksums: Collection[Checksum] = ()) -> Hashed:
    """Hash a regular file, once for all digests. Blocks: call it in a thread.

    Raises:
        FileChangedError: it changed meanwhile.
        UnusableFileError: missing, unreadable, a symbolic link or no regular file.
    """
    began_at_ns = time.time_ns()
    with open_regular(location) as descriptor:
        before = fingerprint_of(descriptor)
        hashers = _Hashers(before.size_bytes, checksums)
        _read_all(descriptor, before.size_bytes, hashers.update, progress)
        if fingerprint_of(descriptor) != before or look(location) != before:
            raise FileChangedError(location, when="while it was hashed", hint="publish it when it is complete")
    return hashers.finish(Source(location=location, fingerprint=before, hashed_at_ns=began_at_ns))


def look(location: Path) -> Fingerprint:
    """Give the fingerprint of what stands at a location now.

    Raises:
        UnusableFileError: as for ``open_regular``.
    """
    with open_regular(location) as descriptor:
        return fingerprint_of(descriptor)


def fingerprint_of(descriptor: int) -> Fingerprint:
    """Give the fingerprint of an open file."""
    status = os.fstat(descriptor)
    # Some file systems number inodes with all 64 bits; databases keep 63.
    return Fingerprint(size_bytes=status.st_size, mtime_ns=status.st_mtime_ns, inode=status.st_ino & _INODE_MASK)


def check_unchanged(descriptor: int, source: Source) -> None:
    """Check that an open file is still the one that was published.

    Raises:
        FileChangedError: it is not.
    """
    if fingerprint_of(descriptor) != source.fingerprint:
        raise FileChangedError(
            source.location, when="since it was published", hint="publish it again, or restore what was published"
        )


@contextmanager
def open_regular(location: Path) -> Generator[int, None, None]:
    """Open a regular file for reading, without following a symbolic link or waiting for a pipe.

    Raises:
        UnusableFileError: missing, unreadable, a symbolic link or no regular file.
    """
    descriptor = open_descriptor(location)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def open_descriptor(location: Path) -> int:
    """Open like ``open_regular``; the caller closes.

    Raises:
        UnusableFileError: missing, unreadable, a symbolic link or no regular file.
    """
    try:
        # Without O_NONBLOCK the opening of a pipe would wait for a writer.
        descriptor = os.open(location, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        raise _unusable(location, error) from error
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    os.close(descriptor)
    raise UnusableFileError("not_a_file", f"{location} is no regular file")


class _Hashers:
    """All digests that are made of one file.

    Measured: a file of several pieces takes 1.4 s of CPU a GB, reading included, 1.9 times as much as one digest.
    """

    def __init__(self, total_bytes: int, checksums: Collection[Checksum]) -> None:
        self._whole = hashlib.sha256()
        self._pieces = PieceHasher(total_bytes)
        self._checksums = ChecksumHasher(checksums)

    def update(self, block: memoryview) -> None:
        self._whole.update(block)
        self._pieces.update(block)
        self._checksums.update(block)

    def finish(self, source: Source) -> Hashed:
        return Hashed(Digest(self._whole.digest()), self._pieces.finish(), self._checksums.finish(), source)


def _read_all(descriptor: int, total_bytes: int, take: Callable[[memoryview], None], progress: Progress) -> None:
    block = bytearray(BLOCK_BYTES)
    view = memoryview(block)
    read_bytes = said_bytes = 0
    while count := os.readv(descriptor, [block]):
        take(view[:count])
        read_bytes += count
        if read_bytes - said_bytes >= PROGRESS_EVERY_BYTES:
            said_bytes = read_bytes
            progress(read_bytes, total_bytes)
        if read_bytes > total_bytes:
            break  # it grows while we read; the comparison afterwards refuses it


def _unusable(location: Path, error: OSError | ValueError) -> UnusableFileError:
    if location.is_symlink():
        return UnusableFileError(
            "symlink", f"{location} is a symbolic link", hint="publish what it points to, under the name you want"
        )
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return UnusableFileError("source_missing", f"{location} is not there")
    return UnusableFileError("unreadable", f"{location} cannot be read: {error}")
