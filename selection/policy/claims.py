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
from typing import Final

from events.names import SHA256_BYTES, Digest, MirrorName

CLAIMS_PER_VISITOR_MAX: Final = 8  # the files of a release that a tool fetches at once
CLAIMS_MAX: Final = 1_000_000  # some 200 MB: ten thousand visitors a second for as long as a claim holds
# Of those that expired, with each claim: all who came in one second expire in one, and 20,000 take 8 ms.
FORGOTTEN_AT_ONCE_MAX: Final = 16

_LOT_BYTES: Final = 5  # a lot a second for 34,000 years
_NAME_AT: Final = _LOT_BYTES + SHA256_BYTES
_END: Final = b"\n"  # no mirror's name has one


class Claims:
    """The claims that hold, by visitor. Those that are made with one moment to expire are a lot; lots expire in order.

    A visitor is the number of the address that a strict grant is bound to (``events.grants.bind``). What he claims is
    one text: of each claim its lot, the digest of the content, the mirror's name and an end. It is no container, or
    Python's collector of garbage would look at a million of them, 0.3 us each, and visitors wait. A lot expires at
    once, and for good though a clock be set back; its claims are forgotten later, a few with each that is made.
    """

    def __init__(self) -> None:
        self._claims: dict[int, bytes] = {}  # of each visitor the oldest first
        self._lots: deque[tuple[int, list[int]]] = deque()  # when they expire, and whose claims they are
        self._next_due_s: float = inf
        self._last_lot = self._last_expired = 0
        self._forgettable: deque[list[int]] = deque()  # whose claims expired: for each claim its visitor
        self._count = 0

    def __len__(self) -> int:
        """Count the claims that are remembered, whether or not they hold."""
        return self._count + sum(map(len, self._forgettable))

    def mirrors(self, visitor: int, sha256: Digest, *, now_s: float) -> Sequence[MirrorName]:
        """Give the mirrors (or the master) that keep a place for a visitor's download, the oldest claim first."""
        if self._next_due_s <= now_s:
            self._expire(now_s)
        held = self._claims.get(visitor)
        if held is None or held.find(sha256) < 0:
            return ()
        own = [claim for claim in self._holding(held) if claim.startswith(sha256, _LOT_BYTES)]
        return [MirrorName(claim[_NAME_AT : -len(_END)].decode()) for claim in own]

    def claim(self, visitor: int, sha256: Digest, mirror: MirrorName, *, now_s: float, expires_s: int) -> bool:
        """Make a claim; tell whether it is new and there was room for it."""
        if self._next_due_s <= now_s:
            self._expire(now_s)
        if self._forgettable:
            self._forget_some()
        what, held = sha256 + mirror.encode() + _END, self._claims.get(visitor)
        if self._count >= CLAIMS_MAX or (held is not None and not _has_room_for(what, self._holding(held))):
            return False
        if not self._lots or self._lots[-1][0] != expires_s:
            self._last_lot += 1
            self._lots.append((expires_s, []))
            self._next_due_s = self._lots[0][0]
        self._lots[-1][1].append(visitor)
        claim = self._last_lot.to_bytes(_LOT_BYTES, "big") + what
        self._claims[visitor] = claim if held is None else held + claim
        self._count += 1
        return True

    def _expire(self, now_s: float) -> None:
        lots = self._lots
        while lots and lots[0][0] <= now_s:
            _, visitors = lots.popleft()
            self._last_expired += 1
            self._count -= len(visitors)
            self._forgettable.append(visitors)
        self._next_due_s = lots[0][0] if lots else inf

    def _forget_some(self) -> None:
        visitors = self._forgettable[0]
        for visitor in visitors[-FORGOTTEN_AT_ONCE_MAX:]:
            held = self._claims.pop(visitor)
            if left := held[_end_of_first(held) :]:
                self._claims[visitor] = left
        del visitors[-FORGOTTEN_AT_ONCE_MAX:]
        if not visitors:
            self._forgettable.popleft()

    def _holding(self, held: bytes) -> list[bytes]:
        """Give those of a visitor's claims that did not expire, one by one."""
        found: list[bytes] = []
        while held:
            end = _end_of_first(held)
            if int.from_bytes(held[:_LOT_BYTES], "big") > self._last_expired:
                found.append(held[:end])
            held = held[end:]
        return found


def _has_room_for(what: bytes, holding: Sequence[bytes]) -> bool:
    return len(holding) < CLAIMS_PER_VISITOR_MAX and all(claim[_LOT_BYTES:] != what for claim in holding)


def _end_of_first(held: bytes) -> int:
    return held.index(_END, _NAME_AT) + len(_END)  # a lot's number and a digest may have any byte
