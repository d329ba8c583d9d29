"""Keeps the operator's limit of disk space, and room for our own database. Blocking, as the store of content is.

A part that nobody works on is worth less than content that could be taken in whole, so it goes when the room is needed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import structlog

from events.names import Digest
from mirror.objects import DiskFullError, Objects
from mirror.plan import Entry

DISK_FREE_BYTES_MIN: Final = 4 << 20  # left for our own database, which has to say that the disk is full

log = structlog.stdlib.get_logger()


class Room:
    """The disk space of one store. ``disk_bytes_max`` is None where the operator sets no limit."""

    def __init__(self, objects: Objects, disk_bytes_max: int | None) -> None:
        self._objects = objects
        self._disk_bytes_max = disk_bytes_max

    def make(self, wanted: Entry, *, held_bytes: int, busy: Mapping[Digest, int]) -> None:
        """Make sure that a content fits, if need be by removing parts that are not ``busy``.

        Args:
            wanted: what is to be fetched.
            held_bytes: the size of all that is held.
            busy: the size of all that is worked on, ``wanted`` among it. Nobody else may begin meanwhile.

        Raises:
            DiskFullError: there is not enough; nothing was removed.
        """
        parts = self._objects.parts_bytes()
        idle = {sha256: size_bytes for sha256, size_bytes in parts.items() if sha256 not in busy}
        missing_bytes = max(0, wanted.size_bytes - parts.get(wanted.sha256, 0))
        free_bytes = self._objects.free_bytes() - DISK_FREE_BYTES_MIN
        self._free(wanted, missing_bytes - free_bytes, idle, f"{missing_bytes} bytes to come, {free_bytes} free")
        if self._disk_bytes_max is not None:
            used_bytes = held_bytes + sum(busy.values())
            lacking_bytes = used_bytes + sum(idle.values()) - self._disk_bytes_max
            self._free(wanted, lacking_bytes, idle, f"{used_bytes} bytes with it, {self._disk_bytes_max} allowed")

    def _free(self, wanted: Entry, lacking_bytes: int, idle: dict[Digest, int], why: str) -> None:
        """Remove the largest idle parts until enough is free."""
        if lacking_bytes > sum(idle.values()):
            raise DiskFullError(f"{wanted.path}: {why}")
        for sha256 in sorted(idle, key=idle.__getitem__, reverse=True):
            if lacking_bytes <= 0:
                return
            self._objects.remove_part(sha256)
            lacking_bytes -= idle.pop(sha256)
            log.info("part.removed", sha256=sha256.hex(), path=wanted.path, reason=why)
