"""Which mirrors changed lately, so that whoever keeps something about them looks at those alone. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

KEPT_MAX: Final = 100_000  # a minute of a large fleet's load reports: 800 kB


class Changes:
    """The numbers of mirrors in the order in which anything of them changed, their load too.

    ``version`` counts all changes there ever were. Who has seen the first ``version`` of them asks for those since.
    """

    def __init__(self) -> None:
        self._numbers: list[int] = []
        self._forgotten = 0
        self.version = 0

    def note(self, number: int) -> None:
        """Note that something of a mirror changed."""
        self.version += 1
        self._numbers.append(number)
        if len(self._numbers) > KEPT_MAX:
            half = KEPT_MAX // 2
            del self._numbers[:half]
            self._forgotten += half

    def since(self, version: int) -> Sequence[int] | None:
        """Give the mirrors that changed after a version, some of them twice; None: too long ago, look at all."""
        if version < self._forgotten:
            return None
        return self._numbers[version - self._forgotten :]
