"""What this selector granted and no load report counts yet. Pure.

Between two reports a mirror looks as idle as it was. A selector that did not count its own grants would send everyone
to the same mirror in that time. A grant is dropped here when a report counts it (``grants_seen``), or when its visitor
can no longer come.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from events.names import MirrorName


class Reserved(NamedTuple):
    """The slots and bytes of one mirror that are spoken for."""

    grants: int
    size_bytes: int


class _Grant(NamedTuple):
    sequence: int
    size_bytes: int
    expires_s: float


NOTHING = Reserved(0, 0)


class Reservations:
    """The uncounted grants of each mirror, oldest first. At most as many as the mirror has slots: then it is full."""

    def __init__(self) -> None:
        self._grants: dict[MirrorName, deque[_Grant]] = {}
        self._size_bytes: dict[MirrorName, int] = {}

    def add(self, mirror: MirrorName, *, sequence: int, size_bytes: int, expires_s: float) -> None:
        """Note a grant. Its ``sequence`` is that of the event that tells the mirror of it, and never falls."""
        self._grants.setdefault(mirror, deque()).append(_Grant(sequence, size_bytes, expires_s))
        self._size_bytes[mirror] = self._size_bytes.get(mirror, 0) + size_bytes

    def counted(self, mirror: MirrorName, up_to_sequence: int) -> None:
        """Drop what a mirror's load report counts."""
        grants = self._grants.get(mirror)
        while grants and grants[0].sequence <= up_to_sequence:
            self._drop_oldest(mirror, grants)

    def expire(self, now_s: float) -> None:
        """Drop the grants whose visitors can no longer come."""
        for mirror, grants in self._grants.items():
            while grants and grants[0].expires_s <= now_s:
                self._drop_oldest(mirror, grants)

    def of(self, mirror: MirrorName) -> Reserved:
        """Give what is spoken for at a mirror."""
        grants = self._grants.get(mirror)
        return Reserved(len(grants), self._size_bytes[mirror]) if grants else NOTHING

    def _drop_oldest(self, mirror: MirrorName, grants: deque[_Grant]) -> None:
        self._size_bytes[mirror] -= grants.popleft().size_bytes
