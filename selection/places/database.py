"""A database file in MaxMind's format: GeoLite2, DB-IP and others, of cities, countries or autonomous systems.

The reader maps the file into memory, and a mapped file that is written over ends the process (SIGBUS). So a copy
without a name is opened, which nobody can write to and which the system frees when it is closed. The file itself may be
replaced in whatever way.
"""

from __future__ import annotations

import shutil
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Final, Self, cast

import maxminddb
import structlog

from events.grants import IPAddress
from selection.places.findings import NOTHING, Finding
from selection.places.records import finding_in

# Anywhere in the tree: a damaged file shows itself at the start and not at its first visitor.
_PROBES: Final = tuple(map(ip_address, ("1.1.1.1", "81.2.69.160", "190.0.0.1", "203.0.113.9", "2001:4860::8888")))

log = structlog.stdlib.get_logger()


class GeoFileError(OSError):
    """A file that tells where addresses are cannot be read. Get it again, or go on with what was read before."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path, self.reason = path, reason


class Database:
    """One open database. Close it."""

    def __init__(self, name: str, reader: maxminddb.Reader) -> None:
        metadata = reader.metadata()
        built = datetime.fromtimestamp(metadata.build_epoch, tz=UTC).date()
        self._name = f"{name} ({metadata.database_type}, {built})"
        self._ip_version = metadata.ip_version
        self._reader = reader
        self._is_damaged = False

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open a file.

        Raises:
            GeoFileError: it cannot be read, or is no such database.
        """
        try:
            reader = _copied(path)
        except OSError as error:
            raise GeoFileError(path, error.strerror or str(error)) from error
        except (ValueError, maxminddb.InvalidDatabaseError) as error:
            raise GeoFileError(path, "not a whole database in MaxMind's format") from error
        try:
            database = cls(path.name, reader)
            for probe in _PROBES:
                database.look_up(probe)
        except (ValueError, OverflowError, OSError, maxminddb.InvalidDatabaseError) as error:
            reader.close()
            raise GeoFileError(path, str(error)) from error
        return database

    @property
    def name(self) -> str:
        """The file's name, what it holds, and its date."""
        return self._name

    def find(self, address: IPAddress) -> tuple[Finding, int]:
        """Give what it knows of an address and its network; nothing where it is damaged."""
        try:
            return self.look_up(address)
        except (ValueError, maxminddb.InvalidDatabaseError) as error:
            if not self._is_damaged:
                self._is_damaged = True
                log.warning("places.damaged", database=self._name, error=str(error))
            return NOTHING, address.max_prefixlen

    def look_up(self, address: IPAddress) -> tuple[Finding, int]:
        """Give what it knows of an address and its network.

        Raises:
            maxminddb.InvalidDatabaseError: it is damaged.
            ValueError: it is damaged, and holds text that is none.
        """
        if address.version > self._ip_version:
            return NOTHING, 0
        found = self._reader.get_with_prefix_len(address)  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType] - loosely typed
        record, prefix_bits = cast("tuple[object, int]", found)
        return finding_in(record), prefix_bits

    def close(self) -> None:
        """Close it."""
        self._reader.close()


def _copied(path: Path) -> maxminddb.Reader:
    """Open a copy of a file that has lost its name by now."""
    with NamedTemporaryFile(prefix="distributary-", suffix=".mmdb") as copy, path.open("rb") as file:
        shutil.copyfileobj(file, copy)
        copy.flush()
        return maxminddb.open_database(copy.name)  # pyright: ignore[reportUnknownMemberType] - loosely typed
