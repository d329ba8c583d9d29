"""Dice that nobody can foresee, and that cost little: the system's own, thrown by the thousand.

Those of one decision are its grant's id. So whoever has the id throws them again, and no record need tell of them.
"""

from __future__ import annotations

import os
from hashlib import blake2b
from random import SystemRandom
from typing import Final

POOL_BYTES: Final = 8192  # one call to the system for some hundred redirects; each asks for a dozen or two
_FLOAT_BYTES: Final = 7
_IN_GRANT_ID: Final = 2  # two floats; most decisions take one
_PER_DIGEST: Final = 9  # of blake2b's 64 bytes
_FLOAT_SHIFT: Final = 3  # 53 bits are what a float holds
_FLOAT_UNIT: Final = 2.0**-53


class Dice(SystemRandom):
    """``SystemRandom`` with a stock. A process that forks must make its own."""

    def __init__(self) -> None:
        super().__init__()
        self._pool = b""
        self._at = 0

    def random(self) -> float:
        """Give a number from 0 up to but not including 1."""
        return (int.from_bytes(self.randbytes(_FLOAT_BYTES)) >> _FLOAT_SHIFT) * _FLOAT_UNIT

    def getrandbits(self, k: int) -> int:
        """Give a number of ``k`` bits."""
        count = (k + 7) // 8
        return int.from_bytes(self.randbytes(count)) >> (count * 8 - k)

    def randbytes(self, n: int) -> bytes:
        """Give bytes, each of them once."""
        begin = self._at
        self._at = end = begin + n
        if end > len(self._pool):
            self._pool = os.urandom(max(POOL_BYTES, n))
            begin, self._at = 0, n
            end = n
        return self._pool[begin:end]


class GrantDice:
    """The dice of one decision: what is thrown follows from its grant's id."""

    __slots__ = ("_grant_id", "_thrown")

    def __init__(self, grant_id: bytes) -> None:
        self._grant_id = grant_id
        self._thrown = 0

    def random(self) -> float:
        """Give a number from 0 up to but not including 1."""
        at = self._thrown
        self._thrown = at + 1
        source = self._grant_id
        if at >= _IN_GRANT_ID:
            digest, at = divmod(at - _IN_GRANT_ID, _PER_DIGEST)
            source = blake2b(source, salt=digest.to_bytes(blake2b.SALT_SIZE)).digest()
        start = at * _FLOAT_BYTES
        return (int.from_bytes(source[start : start + _FLOAT_BYTES]) >> _FLOAT_SHIFT) * _FLOAT_UNIT
