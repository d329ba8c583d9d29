"""Which visitors have a place kept for them at a mirror, so that nobody fills a fleet by asking alone. Pure.

A redirect costs its visitor nothing, and the mirror a slot until he comes or is late. So one claim is kept for each
visitor (the address as a strict grant is bound to it), content and mirror, for as long as the grant may begin; and no
visitor has more than a few. Whoever asks beyond that gets a link as good as any: it is not announced and keeps no
place, and the mirror counts him when he is there. So those who share one address lose nothing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final, NamedTuple

from events.names import Digest, MirrorName

CLAIMS_PER_VISITOR_MAX: Final = 8  # the files of a release that a tool fetches at once
CLAIMS_MAX: Final = 1_000_000  # some 250 MB: ten thousand visitors a second, which is more than one process answers


class _Claim(NamedTuple):
    expires_s: float
    visitor: int
    sha256: Digest
    mirror: MirrorName


class Claims:
    """The claims that hold, by visitor. They are made in the order in which they expire.

    A visitor is the number of the address that a strict grant is bound to (``events.grants.bind``).
    """

    def __init__(self) -> None:
        self._claims: dict[int, tuple[_Claim, ...]] = {}
        self._oldest_first: deque[_Claim] = deque()

    def mirrors(self, visitor: int, sha256: Digest, *, now_s: float) -> Sequence[MirrorName]:
        """Give the mirrors (or the master) that keep a place for a visitor's download, the oldest claim first."""
        self._expire(now_s)
        claims = self._claims.get(visitor)
        return [claim.mirror for claim in claims if claim.sha256 == sha256] if claims else ()

    def claim(self, visitor: int, sha256: Digest, mirror: MirrorName, *, now_s: float, expires_s: float) -> bool:
        """Make a claim; tell whether it is new and there was room for it."""
        if mirror in self.mirrors(visitor, sha256, now_s=now_s):
            return False
        held = self._claims.get(visitor, ())
        if len(held) >= CLAIMS_PER_VISITOR_MAX or len(self._oldest_first) >= CLAIMS_MAX:
            return False
        claim = _Claim(expires_s, visitor, sha256, mirror)
        self._claims[visitor] = (*held, claim)
        self._oldest_first.append(claim)
        return True

    def _expire(self, now_s: float) -> None:
        while self._oldest_first and self._oldest_first[0].expires_s <= now_s:
            claim = self._oldest_first.popleft()
            left = tuple(other for other in self._claims[claim.visitor] if other is not claim)
            if left:
                self._claims[claim.visitor] = left
            else:
                del self._claims[claim.visitor]
