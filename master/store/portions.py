"""Many rows in several statements, where one would take too much memory, or more parameters than databases allow."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, TypeVar

_Row = TypeVar("_Row")

ROWS_MAX: Final = 5000  # bounds the memory of one statement; SQLite and PostgreSQL take 32,766 parameters


def portions(rows: Sequence[_Row]) -> Iterator[Sequence[_Row]]:
    """Cut rows into what one statement takes."""
    for start in range(0, len(rows), ROWS_MAX):
        yield rows[start : start + ROWS_MAX]
