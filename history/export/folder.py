"""The folder of an export: which segments are in it, and one writer at a time. A file is there whole or not at all."""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

_NAME: Final = re.compile(r"segment-([0-9]{8,})\.zst")
PART_SUFFIX: Final = ".part"  # what is being written; a killed export leaves one, which the next one writes over


class ExportError(Exception):
    """This folder cannot be exported to, or read as an export. The message says what to do."""


class ExportBusyError(ExportError):
    """Somebody else is writing into the folder. Wait until he is done."""


def segment_path(folder: Path, number: int) -> Path:
    """Name a segment's file."""
    return folder / f"segment-{number:08d}.zst"


def segments_in(folder: Path) -> Mapping[int, Path]:
    """Give the segments by the numbers in their names, in that order.

    Raises:
        ExportError: there is no such folder, or it cannot be read.
    """
    try:
        found = [(int(match[1]), path) for path in folder.iterdir() if (match := _NAME.fullmatch(path.name))]
    except OSError as error:
        raise ExportError(f"{folder} cannot be read: {error.strerror}") from error
    return dict(sorted(found))


@contextmanager
def locked(folder: Path) -> Generator[None]:
    """Make the folder where it is missing, and keep other writers out while the block is entered.

    Raises:
        ExportBusyError: somebody else writes there.
        ExportError: it cannot be made or opened.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise ExportError(f"{folder} cannot be written to: {error.strerror}") from error
    try:
        _lock(descriptor, folder)
        yield
    finally:
        os.close(descriptor)


def part_path(path: Path) -> Path:
    """Name the file that a segment is written to until it is whole."""
    return path.with_name(path.name + PART_SUFFIX)


def put_in_place(part: Path, path: Path) -> None:
    """Give a file that was synced its name, for good."""
    part.rename(path)
    descriptor = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_parts(folder: Path) -> None:
    """Take away what a killed export left half written."""
    for path in folder.glob(f"segment-*{PART_SUFFIX}"):
        with suppress(FileNotFoundError):
            path.unlink()


def _lock(descriptor: int, folder: Path) -> None:
    """Take the lock; it ends with the descriptor, hence also with the process."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise ExportBusyError(f"another export writes into {folder}: wait until it is done") from None
