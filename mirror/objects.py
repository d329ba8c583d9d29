"""The content-addressed store: ``obj/ab/cd/<sha256>`` holds verified bytes, ``tmp/<sha256>.part`` what is on its way.

A file stands in ``obj`` only after all its bytes were hashed and synced: write -> sha256 -> fsync -> chmod 0440 ->
rename -> fsync of the folders. The caller commits its row after that, so a row without bytes can come from outside
only, and bytes without a row are a crash between the two. Names of files never reach the file system. Everything here
blocks; call it in an executor. One process owns a store: ``locked`` sees to it.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import hashlib
import os
import re
import stat
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import Final

from events.names import Digest

READ_BYTES: Final = 1 << 20  # larger blocks gain nothing, measured
OBJECT_MODE: Final = 0o440  # never modified after it was verified
PART_MODE: Final = 0o640
STATUS_BLOCK_BYTES: Final = 512  # what st_blocks counts in, whatever the file system's own blocks are
FOLDER_MODE: Final = 0o750

_OBJECT_NAME = re.compile(r"[0-9a-f]{64}", re.ASCII)
_PART_SUFFIX: Final = ".part"
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_FALLOC_FL_KEEP_SIZE: Final = 1
_libc = ctypes.CDLL(None, use_errno=True)


class ObjectsError(Exception):
    """The store could not do it. See the subclass."""


class StoreLockedError(ObjectsError):
    """Another process uses this data folder. Stop it, or use another folder."""


class DiskFullError(ObjectsError):
    """There is no room. What was written stays; try again when there is."""


class DiskFailedError(ObjectsError):
    """The disk did not take bytes that it had accepted. They were deleted, for nobody knows what is left of them."""


class DigestMismatchError(ObjectsError):
    """The bytes are not the file. They were deleted; fetch it again."""

    def __init__(self, *, expected: Digest, actual: bytes) -> None:
        super().__init__(f"expected sha256 {expected.hex()}, got {actual.hex()}")
        self.expected, self.actual = expected, actual


class Objects:
    """All content under one data folder."""

    def __init__(self, folder: Path) -> None:
        self._obj = folder / "obj"
        self._tmp = folder / "tmp"
        self._lasting: set[Path] = set()
        for path in (folder, self._obj, self._tmp):
            path.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)

    def path(self, sha256: Digest) -> Path:
        """Give where content stands once it is verified."""
        name = sha256.hex()
        return self._obj / name[:2] / name[2:4] / name

    def part_path(self, sha256: Digest) -> Path:
        """Give where content stands until then."""
        return self._tmp / f"{sha256.hex()}{_PART_SUFFIX}"

    def listing(self) -> Iterator[tuple[Digest, int]]:
        """Give all content in ``obj`` with its size. Anything that is no object of ours is left alone."""
        for path in self._obj.glob("??/??/*"):
            if _OBJECT_NAME.fullmatch(path.name):
                status = path.lstat()
                size_bytes = status.st_size if stat.S_ISREG(status.st_mode) else -1
                yield Digest(bytes.fromhex(path.name)), size_bytes

    def parts(self) -> list[Digest]:
        """Give all content that is on its way."""
        names = (path.name.removesuffix(_PART_SUFFIX) for path in self._tmp.glob(f"*{_PART_SUFFIX}"))
        return [Digest(bytes.fromhex(name)) for name in names if _OBJECT_NAME.fullmatch(name)]

    def place(self, sha256: Digest) -> None:
        """Rename a verified and synced part to where content stands, and make the new name last."""
        target = self.path(sha256)
        target.parent.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
        os.rename(self.part_path(sha256), target)  # noqa: PTH104 - not Path.rename: the crash tests count system calls
        _sync_folder(target.parent)
        for folder in (target.parent, target.parent.parent):
            # A folder that is there may be one that a power failure would take back, so each is synced once by us.
            if folder not in self._lasting:
                _sync_folder(folder.parent)
                self._lasting.add(folder)

    def remove(self, sha256: Digest) -> None:
        """Remove content, verified or on its way. No harm if there is none."""
        path = self.path(sha256)
        path.unlink(missing_ok=True)
        self.remove_part(sha256)
        if path.parent.exists():
            _sync_folder(path.parent)

    def remove_part(self, sha256: Digest) -> None:
        """Remove content that is on its way. No harm if there is none."""
        self.part_path(sha256).unlink(missing_ok=True)

    def free_bytes(self) -> int:
        """Give what the file system has left for us."""
        status = os.statvfs(self._tmp)
        return status.f_bavail * status.f_frsize

    def parts_bytes(self) -> dict[Digest, int]:
        """Give what each content that is on its way takes of the disk, with the space that was set aside for it."""
        found: dict[Digest, int] = {}
        for sha256 in self.parts():
            with contextlib.suppress(FileNotFoundError):  # it was finished meanwhile
                found[sha256] = self.part_path(sha256).lstat().st_blocks * STATUS_BLOCK_BYTES
        return found

    def demote(self, sha256: Digest) -> None:
        """Put content that no row vouches for back among the parts, to be hashed before it is trusted."""
        self.path(sha256).replace(self.part_path(sha256))

    def part(self, sha256: Digest, size_bytes: int) -> Part:
        """Open what is on its way, hash what is there already, and set the disk space aside.

        Raises:
            DiskFullError: there is no room for all of it.
        """
        return Part(self, sha256, size_bytes)

    @contextlib.contextmanager
    def locked(self) -> Generator[None]:
        """Own this store while the block is entered. The lock goes with the process, however it ends.

        Raises:
            StoreLockedError: another process owns it.
        """
        fd = os.open(self._tmp.parent / "lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o640)
        try:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise StoreLockedError(f"another mirror uses {self._tmp.parent}") from error
            yield
        finally:
            os.close(fd)


class Part:
    """Content on its way. ``close`` it in any case; it can be gone on with later unless it was removed."""

    def __init__(self, objects: Objects, sha256: Digest, size_bytes: int) -> None:
        self._objects = objects
        self.sha256 = sha256
        self.size_bytes = size_bytes
        self.have_bytes = 0
        self._hash = hashlib.sha256()
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        path = objects.part_path(sha256)
        _make_writable(path)
        with _disk_full(f"{size_bytes} bytes for {sha256.hex()}"):
            self._fd = os.open(path, flags, PART_MODE)
        try:
            self._adopt()
            with _disk_full(f"{size_bytes} bytes for {sha256.hex()}"):
                _reserve(self._fd, size_bytes)
        except BaseException:
            self.close()
            raise

    def append(self, blocks: Sequence[bytes]) -> None:
        """Write and hash what came next.

        Raises:
            DiskFullError: there is no room. The part ends after what was written.
        """
        with _disk_full(f"after {self.have_bytes} of {self.size_bytes} bytes of {self.sha256.hex()}"):
            for block in blocks:
                self._write(block)

    def restart(self) -> None:
        """Forget all bytes: the source does not let us go on where we are."""
        os.ftruncate(self._fd, 0)
        os.lseek(self._fd, 0, os.SEEK_SET)
        self._hash = hashlib.sha256()
        self.have_bytes = 0

    def commit(self) -> None:
        """Verify the whole content and put it in its place, safe against a crash at any moment.

        Raises:
            DigestMismatchError: wrong bytes; they are deleted.
            DiskFullError: the disk could not take it over.
        """
        actual = self._hash.digest()
        if actual != self.sha256 or self.have_bytes != self.size_bytes:
            self._objects.part_path(self.sha256).unlink(missing_ok=True)
            raise DigestMismatchError(expected=self.sha256, actual=actual)
        self._sync()
        with _disk_full(f"while placing {self.sha256.hex()}"):
            os.fchmod(self._fd, OBJECT_MODE)
            self._objects.place(self.sha256)

    def close(self) -> None:
        """Close the descriptor."""
        os.close(self._fd)

    def _sync(self) -> None:
        try:
            os.fsync(self._fd)
        except OSError as error:
            # The kernel forgets which pages it failed to write, so a second fsync would tell success.
            self._objects.part_path(self.sha256).unlink(missing_ok=True)
            kind = DiskFullError if error.errno in _FULL else DiskFailedError
            raise kind(f"{error.strerror}: while syncing {self.sha256.hex()}") from error

    def _adopt(self) -> None:
        """Hash what a former attempt left; the page cache may not have reached the disk, so nothing is believed."""
        left_bytes = os.fstat(self._fd).st_size
        if left_bytes > self.size_bytes:
            self.restart()
            return
        while block := os.read(self._fd, READ_BYTES):
            self._hash.update(block)
            self.have_bytes += len(block)

    def _write(self, block: bytes) -> None:
        view = memoryview(block)
        while view:
            written = os.write(self._fd, view)
            self._hash.update(view[:written])
            self.have_bytes += written
            view = view[written:]


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


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
