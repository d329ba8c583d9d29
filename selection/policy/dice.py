"""The dice of one decision, which are its grant's id. Pure.

Nobody can foresee an id, and whoever has it throws the same dice again: no record of a decision need tell of them.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Final

_FLOAT_BYTES: Final = 7
_FLOAT_SHIFT: Final = 3  # 53 bits are what a float holds
_FLOAT_UNIT: Final = 2.0**-53
_IN_GRANT_ID: Final = 2  # two floats; most decisions take one
_PER_DIGEST: Final = 9  # of blake2b's 64 bytes


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
