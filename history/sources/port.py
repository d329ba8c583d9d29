"""What a reader of the log may rely on, wherever the log is kept."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol, runtime_checkable

from history.entry import Entry, Position

BATCH_MAX: Final = 1000  # entries at a time: some milliseconds of work, and then the loop has its turn


class SourceError(Exception):
    """The log cannot be read from there. The message says what to do."""


class SourceRefusedError(SourceError):
    """Whom we log in as may not read the log. Trying again cannot help."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Extent:
    """What a source holds: the first and the last entry's place (None: it holds nothing), and how many where known."""

    first: Position | None
    last: Position | None
    entries: int | None


class Source(Protocol):
    """A log that stands still: what is written to it after ``extent`` was asked may or may not be read.

    ``vhost`` is the broker's virtual host it was written in: who may speak for a mirror is named by it.
    """

    @property
    def vhost(self) -> str:
        """Give the virtual host."""
        ...

    @property
    def name(self) -> str:
        """Name the source for people: the broker, a folder, a database; without a password."""
        ...

    async def extent(self) -> Extent:
        """Tell what there is.

        Raises:
            SourceError: it cannot be read.
        """
        ...

    def batches(self, *, after: Position | None = None) -> AsyncGenerator[Sequence[Entry]]:
        """Give the entries behind a place, in the log's order, up to the last one that ``extent`` would tell of now.

        Each generation follows the one before. Close the generator (``contextlib.aclosing``) where it is left early.

        Raises:
            SourceError: it cannot be read (any further).
        """
        ...


class Bodies(NamedTuple):
    """Bodies of entries that were found sound, in the log's order, and which entry they come up to."""

    bodies: Sequence[bytes]
    last: Position
    message_id: str


@runtime_checkable
class Proving(Protocol):
    """A source that read and judged each entry before it kept it, and can give the sound ones bare.

    What is around a body was checked, so whoever only folds can do without it, and has many at once.
    """

    def proven(self, *, up_to: Position | None = None) -> AsyncGenerator[Bodies]:
        """Give the sound entries' bodies from the first up to and with a place, or all that there are now.

        Raises:
            SourceError: it cannot be read (any further).
        """
        ...


@runtime_checkable
class Dated(Protocol):
    """A source that finds a time without reading all that came in before."""

    async def place_before(self, time_s: float) -> Position | None:
        """Find a place that all before it came in before a time (since 1970); None: read from the beginning.

        What came in shortly before that time may still be behind the place.

        Raises:
            SourceError: it cannot be read.
        """
        ...
