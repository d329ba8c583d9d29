"""Which visitors have a place kept for them at a mirror, so that nobody fills a fleet by asking alone. Pure.

A redirect costs its visitor nothing, and the mirror a slot until he comes or is late. So one claim is kept for each
visitor (the address as a strict grant is bound to it), content and mirror, for as long as the grant may begin; and no
visitor has more than a few. Whoever asks beyond that gets a link as good as any: it is not announced and keeps no
place, and the mirror counts him when he is there. So those who share one address lose nothing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from math import inf
from typing import Final, TypeAlias

from events.names import Digest, MirrorName

CLAIMS_PER_VISITOR_MAX: Final = 8  # the files of a release that a tool fetches at once
CLAIMS_MAX: Final = 1_000_000  # some 250 MB: ten thousand visitors a second, which is more than one process answers

_Claim: TypeAlias = tuple[Digest, MirrorName]


class Claims:
    """The claims that hold, by visitor. They are made in the order in which they expire.

    A visitor is the number of the address that a strict grant is bound to (``events.grants.bind``).
    """

    def __init__(self) -> None:
        self._claims: dict[int, tuple[_Claim, ...]] = {}  # of each visitor the oldest first
        self._due: deque[tuple[float, list[int]]] = deque()  # whose oldest claims expire: moments are whole seconds
        self._next_due_s = inf
        self._count = 0

    def mirrors(self, visitor: int, sha256: Digest, *, now_s: float) -> Sequence[MirrorName]:
        """Give the mirrors (or the master) that keep a place for a visitor's download, the oldest claim first."""
        if self._next_due_s <= now_s:
            self._expire(now_s)
        claims = self._claims.get(visitor)
        return [mirror for claimed, mirror in claims if claimed == sha256] if claims else ()

    def claim(self, visitor: int, sha256: Digest, mirror: MirrorName, *, now_s: float, expires_s: float) -> bool:
        """Make a claim; tell whether it is new and there was room for it."""
        if self._next_due_s <= now_s:
            self._expire(now_s)
        claim, held = (sha256, mirror), self._claims.get(visitor, ())
        if claim in held or len(held) >= CLAIMS_PER_VISITOR_MAX or self._count >= CLAIMS_MAX:
            return False
        self._claims[visitor] = (*held, claim)
        self._count += 1
        if self._due and self._due[-1][0] == expires_s:
            self._due[-1][1].append(visitor)
        else:
            self._due.append((expires_s, [visitor]))
            self._next_due_s = self._due[0][0]
        return True

    def _expire(self, now_s: float) -> None:
        due = self._due
        while due and due[0][0] <= now_s:
            _, visitors = due.popleft()
            self._count -= len(visitors)
            for visitor in visitors:
                if left := self._claims[visitor][1:]:
                    self._claims[visitor] = left
                else:
                    del self._claims[visitor]
        self._next_due_s = due[0][0] if due else inf
