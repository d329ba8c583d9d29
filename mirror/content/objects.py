"""The content-addressed store: ``obj/ab/cd/<sha256>`` holds verified bytes, ``tmp/<sha256>.part`` what is on its way.

A file stands in ``obj`` only after all its bytes were hashed and synced: write -> sha256 -> fsync -> chmod 0440 ->
rename -> fsync of the folders (``parts`` does the first half). The caller commits its row after that, so a row without
bytes can come from outside only, and bytes without a row are a crash between the two. Names of files never reach the
file system. Everything here blocks; call it in an executor. One process owns a store: ``locked`` sees to it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import stat
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Final

from events.names import Digest

STATUS_BLOCK_BYTES: Final = 512  # what st_blocks counts in, whatever the file system's own blocks are
FOLDER_MODE: Final = 0o750

_OBJECT_NAME = re.compile(r"[0-9a-f]{64}", re.ASCII)
_PART_SUFFIX: Final = ".part"


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

    def map_path(self, sha256: Digest) -> Path:
        """Give where it stands which pieces of that are verified."""
        return self._tmp / f"{sha256.hex()}.map"

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
        self.map_path(sha256).unlink(missing_ok=True)  # first: a map that outlives its part is never looked for again
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


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
