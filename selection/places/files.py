"""The files that tell where addresses are, read again when they are replaced.

A file is read again once it has changed and then stayed as it is for one look, so that one that is just being written
is left alone. One that cannot be read is refused, which is said, and what was read before goes on to be used.
"""

from __future__ import annotations

import asyncio
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

import structlog

from edge.health import Check
from selection.places.database import Database, GeoFileError
from selection.places.geo import Places
from selection.places.overrides import OverrideError, Overrides, read_overrides
from selection.places.registry import Registry

LOOK_EVERY_S: Final = 10.0  # databases are replaced once or twice a week; a look is one system call a file
OVERRIDES_BYTES_MAX: Final = 16_000_000  # more than the most lines that a table may have

Signature: TypeAlias = tuple[int, int, int]
"""What changes with a file's content: its inode, size and time of change."""

log = structlog.stdlib.get_logger()


@dataclass(slots=True)
class _Watched:
    """One file: what is used of it, what it looked like when that was read and lately, and why a newer one is not.

    ``tried`` is what it looked like when it was last read, whether or not that was of use.
    """

    path: Path
    source: Database | Overrides
    used: Signature
    tried: Signature
    seen: Signature
    problem: str = ""


class PlaceFiles:
    """The overrides and databases of one selector, in this order, and after them the registries' tables."""

    def __init__(self, databases: Sequence[Path] = (), overrides: Path | None = None) -> None:
        """Read all files.

        Raises:
            GeoFileError: one of them cannot be read.
        """
        self._files: list[_Watched] = []
        try:
            for path in (*(() if overrides is None else (overrides,)), *databases):
                signature = _signature(path)
                source = _read(path, is_table=path == overrides)
                self._files.append(_Watched(path, source, signature, signature, signature))
        except GeoFileError:
            self.close()
            raise
        self.places = Places(self._sources())

    async def run(self) -> None:
        """Look again and again."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            await self.look()

    async def look(self) -> None:
        """Read again what has changed and settled."""
        for file in self._files:
            try:
                seen = _signature(file.path)
            except GeoFileError as error:
                self._refuse(file, error.reason)
                continue
            settled, file.seen = seen == file.seen, seen
            if seen == file.used:
                file.problem = ""
            elif settled and seen != file.tried:
                await self._renew(file, seen)

    def checks(self) -> Iterable[Check]:
        """Tell for each file whether what is used is what stands there; nothing depends on it."""
        for file in self._files:
            yield Check(
                name=f"places:{file.path.name}",
                ok=not file.problem,
                detail=file.problem or file.source.name,
                vital=False,
            )

    def close(self) -> None:
        """Close all databases."""
        for file in self._files:
            _close(file.source)

    async def _renew(self, file: _Watched, seen: Signature) -> None:
        file.tried = seen
        try:
            renewed = await asyncio.to_thread(_read, file.path, is_table=isinstance(file.source, Overrides))
        except GeoFileError as error:
            self._refuse(file, error.reason)
            return
        former, file.source, file.used, file.problem = file.source, renewed, seen, ""
        self.places.use(self._sources())
        _close(former)
        log.info("places.renewed", file=str(file.path), now=renewed.name)

    def _refuse(self, file: _Watched, reason: str) -> None:
        if file.problem != reason:
            file.problem = reason
            log.warning("places.file_refused", file=str(file.path), reason=reason, still_used=file.source.name)

    def _sources(self) -> tuple[Database | Overrides | Registry, ...]:
        return (*(file.source for file in self._files), Registry())


@contextmanager
def open_places(databases: Sequence[Path] = (), overrides: Path | None = None) -> Generator[PlaceFiles]:
    """Read all files and keep them open while the block is entered.

    Raises:
        GeoFileError: one of them cannot be read.
    """
    files = PlaceFiles(databases, overrides)
    try:
        yield files
    finally:
        files.close()


def _signature(path: Path) -> Signature:
    try:
        found = path.stat()
    except OSError as error:
        raise GeoFileError(path, error.strerror or str(error)) from error
    return found.st_ino, found.st_size, found.st_mtime_ns


def _read(path: Path, *, is_table: bool) -> Database | Overrides:
    if not is_table:
        return Database.open(path)
    try:
        with path.open(encoding="utf-8") as file:
            return read_overrides(file.read(OVERRIDES_BYTES_MAX).splitlines())
    except (OSError, UnicodeDecodeError, OverrideError) as error:
        raise GeoFileError(path, str(error)) from error


def _close(source: Database | Overrides) -> None:
    if isinstance(source, Database):
        source.close()
