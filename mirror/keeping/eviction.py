"""Which copies make room for another content, and which of those that had to go may come back. Pure.

Between the two watermarks lies what keeps it calm. A content that was told of lately and does not fit under the high
mark displaces the copies that were used least recently, down to the low mark, and none that was used or told of since
it was told of itself: so a channel that is larger than the disk is not fetched round and round. A content that was
displaced comes back only where there is room under the low mark, and displaces nothing. Hence between two things that
happen outside (a publication, a withdrawal, a visitor) each content is fetched at most twice, and what came back stays.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple, Self

from events.names import Digest


@dataclass(frozen=True, slots=True)
class Marks:
    """How much the mirror may use of the disk: up to ``high_bytes``, and after making room up to ``low_bytes``."""

    high_bytes: int
    low_bytes: int

    @classmethod
    def of(cls, disk_bytes: int, *, high: float, low: float) -> Self:
        """Give the marks as parts of what the operator lends."""
        return cls(int(disk_bytes * high), int(disk_bytes * low))


class Copy(NamedTuple):
    """A copy that is held. ``used_at_s``: when it was last served, or told of where that is later."""

    sha256: Digest
    size_bytes: int
    used_at_s: int
    is_served: bool = False


class Displaced(NamedTuple):
    """A content that had to go. ``told_at_s``: since when it is wanted."""

    sha256: Digest
    size_bytes: int
    told_at_s: int


def victims(
    copies: Iterable[Copy], *, used_bytes: int, wanted_bytes: int, told_at_s: int, marks: Marks
) -> tuple[Digest, ...] | None:
    """Choose the copies that go so that a content of ``wanted_bytes`` fits; None where it does not fit anyhow.

    Args:
        copies: what is held and not being worked on.
        used_bytes: all that is used now, without the content that is to come.
        wanted_bytes: its size; 0 where room is to be made for its own sake.
        told_at_s: since when it is wanted. Copies used then or later stay.
        marks: how much may be used.
    """
    need_bytes = used_bytes + wanted_bytes
    if need_bytes <= marks.high_bytes:
        return ()
    chosen: list[Copy] = []
    for copy in sorted(_older(copies, told_at_s), key=_worth):
        if need_bytes <= marks.low_bytes:
            break
        chosen.append(copy)
        need_bytes -= copy.size_bytes
    if need_bytes > marks.high_bytes:
        return None
    return tuple(copy.sha256 for copy in _without_the_spared(chosen, marks.low_bytes - need_bytes))


def returning(displaced: Iterable[Displaced], *, used_bytes: int, marks: Marks) -> tuple[Digest, ...]:
    """Choose which of the displaced contents come back: those told of last, as far as they fit under the low mark."""
    room_bytes = marks.low_bytes - used_bytes
    chosen: list[Digest] = []
    for content in sorted(displaced, key=lambda each: (-each.told_at_s, each.sha256)):
        if content.size_bytes <= room_bytes:
            chosen.append(content.sha256)
            room_bytes -= content.size_bytes
    return tuple(chosen)


def _older(copies: Iterable[Copy], told_at_s: int) -> Iterable[Copy]:
    return (copy for copy in copies if copy.used_at_s < told_at_s)


def _worth(copy: Copy) -> tuple[bool, int, Digest]:
    return (copy.is_served, copy.used_at_s, copy.sha256)


def _without_the_spared(chosen: list[Copy], room_bytes: int) -> Iterable[Copy]:
    """Leave out, the most useful first, what fits after all since a larger one goes: it would come right back."""
    going: list[Copy] = []
    for copy in reversed(chosen):
        if copy.size_bytes <= room_bytes:
            room_bytes -= copy.size_bytes
        else:
            going.append(copy)
    return reversed(going)
