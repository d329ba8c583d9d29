"""The dice of one decision, which are its grant's id. Pure.

Nobody can foresee an id, and whoever has it throws the same dice again: no record of a decision need tell of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import blake2b
from itertools import count
from typing import Final

_FLOAT_BYTES: Final = 7
_FLOAT_SHIFT: Final = 3  # 53 bits are what a float holds
_FLOAT_UNIT: Final = 2.0**-53


class GrantDice:
    """The dice of one decision: what is thrown follows from its grant's id. Most decisions take one of them.

    A number is thrown from 0 up to but not including 1.
    """

    __slots__ = ("_grant_id", "_later")

    def __init__(self, grant_id: bytes) -> None:
        self._grant_id = grant_id
        self._later: Iterator[float] | None = None

    def random(self) -> float:
        """Throw: first what the id's own bytes give, which nearly all decisions take alone, or nothing at all."""
        if self._later is not None:
            return next(self._later)
        self._later = _later_throws(self._grant_id)
        return (int.from_bytes(self._grant_id[:_FLOAT_BYTES]) >> _FLOAT_SHIFT) * _FLOAT_UNIT


def _later_throws(grant_id: bytes) -> Iterator[float]:
    """Throw until nobody asks for more: what the rest of the id's own bytes give, then those of its digests."""
    source, first = grant_id, _FLOAT_BYTES
    for digests in count():
        for start in range(first, len(source) - _FLOAT_BYTES + 1, _FLOAT_BYTES):
            yield (int.from_bytes(source[start : start + _FLOAT_BYTES]) >> _FLOAT_SHIFT) * _FLOAT_UNIT
        source, first = blake2b(grant_id, salt=digests.to_bytes(blake2b.SALT_SIZE)).digest(), 0
