"""Content on its way: verified pieces in any order, in ``tmp/<sha256>.part``, and in ``.map`` which of them are there.

A piece counts once its bytes were hashed and are what the master published; only then its bit is set, and never again
is one of its bytes written. The map is no proof, for the page cache may not have reached the disk: when a part is
opened, each piece that it claims is hashed again. A content is put in its place in the store after all of it was hashed
once more as a whole, synced, and made read-only. A short content is one piece, whose digest is the content's own: it is
hashed while it is written and not a second time, and has no map.

Everything here blocks; call it in an executor. Pieces may land in several threads at once.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import hashlib
import os
import stat
import threading
from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import Final

from events.names import Digest, MirrorName
from events.pieces import Span
from mirror.content.objects import DigestMismatchError, DiskFailedError, DiskFullError, Objects
from mirror.content.piecemap import PieceLayout, PieceMap

READ_BYTES: Final = 1 << 20  # larger blocks gain nothing, measured
OBJECT_MODE: Final = 0o440  # never modified after it was verified
PART_MODE: Final = 0o640

_OPEN_FLAGS: Final = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_FALLOC_FL_KEEP_SIZE: Final = 1
_libc = ctypes.CDLL(None, use_errno=True)


class Part:
    """One content on its way. ``close`` it in any case; it can be gone on with later unless it was removed.

    ``pieces`` are the verified ones, ``came_from`` tells how many of those that this process fetched came from whom.
    """

    def __init__(self, objects: Objects, layout: PieceLayout) -> None:
        """Open what is on its way, hash what is claimed to be there already, and set the disk space aside.

        Raises:
            DiskFullError: there is no room for all of it.
        """
        self._objects = objects
        self.layout: Final = layout
        self.pieces = PieceMap(layout.count)
        self.came_from: Final = Counter[MirrorName]()
        self._lock = threading.Lock()
        path = objects.part_path(layout.sha256)
        _make_writable(path)
        with _disk_full(f"{layout.size_bytes} bytes for {layout.sha256.hex()}"):
            self._fd = os.open(path, _OPEN_FLAGS, PART_MODE)
        try:
            self._adopt()
            with _disk_full(f"{layout.size_bytes} bytes for {layout.sha256.hex()}"):
                _reserve(self._fd, layout.size_bytes)
        except BaseException:
            self.close()
            raise

    @property
    def have_bytes(self) -> int:
        """How many bytes are verified."""
        return sum(span.stop - span.start for span in map(self.layout.span, self.pieces))

    def land(self, piece: int) -> Landing:
        """Begin with a piece that is not there. The caller sees to it that none lands twice at once.

        Raises:
            IndexError: there is no such piece.
            ValueError: it is there.
        """
        span = self.layout.span(piece)
        if piece in self.pieces:
            raise ValueError(f"piece {piece} is verified; its bytes are not touched any more")
        return Landing(self, piece, span)

    def duplicate(self) -> int:
        """Give a descriptor of its own, to read verified pieces from by position. The caller closes it."""
        return os.dup(self._fd)

    def commit(self) -> None:
        """Verify the whole content and put it in its place, safe against a crash at any moment.

        Raises:
            DigestMismatchError: wrong bytes, even if each piece is right; they are deleted.
            DiskFullError, DiskFailedError: the disk could not take it over.
        """
        sha256 = self.layout.sha256
        actual = self._whole_digest()
        if actual != sha256 or not self.pieces.complete:
            self._objects.remove_part(sha256)
            raise DigestMismatchError(expected=sha256, actual=actual)
        self._sync()
        with _disk_full(f"while placing {sha256.hex()}"):
            os.fchmod(self._fd, OBJECT_MODE)
            self._objects.map_path(sha256).unlink(missing_ok=True)  # a part without a map claims all of its pieces
            self._objects.place(sha256)

    def close(self) -> None:
        """Close the descriptor."""
        os.close(self._fd)

    def write(self, block: bytes | memoryview, position: int) -> None:
        """Write bytes of a piece that is landing.

        Raises:
            DiskFullError: there is no room.
        """
        view = memoryview(block)
        with _disk_full(f"at byte {position} of {self.layout.size_bytes} of {self.layout.sha256.hex()}"):
            while view:
                written = os.pwrite(self._fd, view, position)
                position += written
                view = view[written:]

    def add(self, piece: int) -> None:
        """Note that all bytes of a piece are written and verified.

        Raises:
            DiskFullError: there is no room to note it.
        """
        with self._lock:
            self.pieces.add(piece)
            if self.layout.count > 1:
                with _disk_full(f"the map of {self.layout.sha256.hex()}"):
                    _overwrite(self._objects.map_path(self.layout.sha256), bytes(self.pieces))

    def _adopt(self) -> None:
        """Hash what a former attempt claims to have left."""
        left_bytes = os.fstat(self._fd).st_size
        if left_bytes > self.layout.size_bytes:
            os.ftruncate(self._fd, 0)
            left_bytes = 0
        for piece in self._claimed():
            span = self.layout.span(piece)
            if span.stop <= left_bytes and self._digest(span) == self.layout.digest(piece):
                self.pieces.add(piece)

    def _claimed(self) -> PieceMap:
        """Give what the map claims; without one, everything: the content was whole once, or is one piece."""
        try:
            return PieceMap.read(self._objects.map_path(self.layout.sha256).read_bytes(), self.layout.count)
        except FileNotFoundError:
            return PieceMap.full(self.layout.count)

    def _whole_digest(self) -> bytes:
        if self.layout.count == 1 and self.pieces.complete:
            return self.layout.digest(0)  # its one piece was hashed while it was written, or when it was adopted
        return self._digest(Span(0, self.layout.size_bytes))

    def _digest(self, span: Span) -> bytes:
        digest = hashlib.sha256()
        for block in self._blocks(span):
            digest.update(block)
        return digest.digest()

    def _blocks(self, span: Span) -> Iterator[bytes]:
        position = span.start
        while position < span.stop and (block := os.pread(self._fd, min(READ_BYTES, span.stop - position), position)):
            yield block
            position += len(block)

    def _sync(self) -> None:
        try:
            os.fsync(self._fd)
        except OSError as error:
            # The kernel forgets which pages it failed to write, so a second fsync would tell success.
            self._objects.remove_part(self.layout.sha256)
            kind = DiskFullError if error.errno in _FULL else DiskFailedError
            raise kind(f"{error.strerror}: while syncing {self.layout.sha256.hex()}") from error


class PartsOnOffer:
    """The parts that are open now, from which other mirrors may be given verified pieces."""

    def __init__(self) -> None:
        self._parts: dict[Digest, Part] = {}

    @contextlib.contextmanager
    def offering(self, part: Part) -> Generator[None]:
        """Offer a part while the block is entered."""
        self._parts[part.layout.sha256] = part
        try:
            yield
        finally:
            del self._parts[part.layout.sha256]

    def get(self, sha256: Digest) -> Part | None:
        """Give what is open of a content. It is closed as soon as the caller lets the loop go on."""
        return self._parts.get(sha256)


class Landing:
    """The bytes of one piece, as they come from one source, from first to last."""

    def __init__(self, part: Part, piece: int, span: Span) -> None:
        self.piece: Final = piece
        self.span: Final = span
        self.have_bytes = 0
        self._part = part
        self._hash = hashlib.sha256()

    @property
    def position(self) -> int:
        """Where the next byte belongs."""
        return self.span.start + self.have_bytes

    @property
    def missing_bytes(self) -> int:
        """How many bytes are still to come."""
        return self.span.stop - self.position

    def append(self, blocks: Sequence[bytes]) -> None:
        """Write and hash what came next.

        Raises:
            DiskFullError: there is no room.
            ValueError: more than the piece has.
        """
        for block in blocks:
            if len(block) > self.missing_bytes:
                raise ValueError(f"piece {self.piece} has {self.missing_bytes} bytes to come, not {len(block)}")
            self._part.write(block, self.position)
            self._hash.update(block)
            self.have_bytes += len(block)

    def restart(self) -> None:
        """Forget all bytes: the source does not go on where they end."""
        self._hash = hashlib.sha256()
        self.have_bytes = 0

    def finish(self) -> bool:
        """Verify the piece; tell whether it is what was published. If not, it can be landed again.

        Raises:
            DiskFullError: there is no room to note it.
        """
        expected = self._part.layout.digest(self.piece)
        if self.missing_bytes or self._hash.digest() != expected:
            return False
        self._part.add(self.piece)
        return True


@contextlib.contextmanager
def _disk_full(what: str) -> Generator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise DiskFullError(f"{error.strerror}: {what}") from error
        raise


def _reserve(fd: int, size_bytes: int) -> None:
    """Set disk space aside without changing the file's size, so that a full disk is found before the first byte."""
    if size_bytes == 0:
        return
    result: int = _libc.fallocate(fd, _FALLOC_FL_KEEP_SIZE, ctypes.c_longlong(0), ctypes.c_longlong(size_bytes))
    if result != 0 and (problem := ctypes.get_errno()) in _FULL:
        raise OSError(problem, os.strerror(problem))


def _overwrite(path: Path, content: bytes) -> None:
    """Write over what is there, which is as long; emptied first, it would claim nothing after a crash in between."""
    fd = os.open(path, _OPEN_FLAGS, PART_MODE)
    try:
        os.pwrite(fd, content, 0)
    finally:
        os.close(fd)


def _make_writable(path: Path) -> None:
    """Let a part be gone on with that was demoted, or that a crash left between its last two steps."""
    try:
        status = path.lstat()
    except FileNotFoundError:
        return
    if stat.S_ISREG(status.st_mode):
        path.chmod(PART_MODE)
    else:
        path.unlink()
