"""How far the log is archived, and the way on from there. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from broker.port import From
from history.archive.gap import Gap, GapKind
from history.entry import BEGINNING, Entry

# Provisioning's probes stand before a generation's first event, one for each time that it was tried. A segment that
# was cut off had thousands of entries.
BEGINS_BY_OFFSET: Final = 100


class Standing(NamedTuple):
    """The last entry that was archived: its number in the archive, its place in the log, and its name there.

    ``generation`` is 0 before the first entry of all; ``offset`` is ``BEGINNING`` before the first of a generation.
    """

    number: int = 0
    generation: int = 0
    offset: int = BEGINNING
    message_id: str = ""
    log_time_ns: int = 0

    def in_generation(self, generation: int) -> Standing:
        """Stand at the beginning of another generation."""
        return self._replace(generation=generation, offset=BEGINNING, message_id="")


class RewrittenError(Exception):
    """The stream does not hold what was archived of it. Record that, and read it from its first entry."""


class Passage:
    """One way through a generation's stream: from the entry that was archived last, which must stand there still.

    ``highest`` is the highest offset that was archived of this generation, ``BEGINNING`` where none was.
    """

    def __init__(self, standing: Standing, *, highest: int) -> None:
        self._standing = standing
        self._highest = highest
        self._is_proved = False

    @property
    def start(self) -> From | int:
        """Where to begin to read: at the last entry, not behind it, so that it is seen."""
        return From.FIRST if self._standing.offset == BEGINNING else self._standing.offset

    def may_know(self, entry: Entry) -> bool:
        """Tell whether this entry, or one behind it, may be archived already: in a stream that is read again."""
        return entry.offset <= self._highest

    def check_end(self, end: int) -> None:
        """Check that the stream reaches up to where it was read.

        Raises:
            RewrittenError: it ends before.
        """
        if self._standing.offset >= end:
            raise RewrittenError(f"it ends before offset {end}")

    def take(self, entries: Sequence[Entry], *, now_ns: int) -> tuple[Sequence[Entry], Gap | None]:
        """Give what is new among the next entries, and the gap before it, if there is one.

        Raises:
            RewrittenError: another entry stands where the last one was archived.
        """
        if self._is_proved or not entries:
            return entries, None
        self._is_proved = True
        last, first = self._standing, entries[0]
        if first.offset == last.offset:
            if first.message_id != last.message_id:
                raise RewrittenError(f"offset {last.offset} holds {first.message_id!r}, not {last.message_id!r}")
            return entries[1:], None
        is_cut = last.offset != BEGINNING or self._should_begin(first)
        return entries, self._cut_off(first, now_ns) if is_cut else None

    def _should_begin(self, first: Entry) -> bool:
        """Tell whether more should stand before what is the first entry of a generation that follows another one."""
        follows = self._standing.number > 0 and self._highest == BEGINNING
        return follows and first.offset > BEGINS_BY_OFFSET

    def _cut_off(self, first: Entry, now_ns: int) -> Gap:
        return Gap(
            kind=GapKind.CUT_OFF,
            noticed_at_ns=now_ns,
            generation=first.generation,
            after_offset=self._standing.offset,
            next_offset=first.offset,
        )
