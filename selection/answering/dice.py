"""Dice that nobody can foresee, and that cost little: the system's own, thrown by the thousand."""

from __future__ import annotations

import os
from random import SystemRandom
from typing import Final

POOL_BYTES: Final = 8192  # one call to the system for some hundred redirects; each asks for a dozen or two
_FLOAT_BYTES: Final = 7
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
