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

_END: Final = b"\n"  # no mirror's name has one


class Claims:
    """The claims that hold, by visitor. They are made in the order in which they expire.

    A visitor is the number of the address that a strict grant is bound to (``events.grants.bind``). What he claims is
    one text: the digest of each content, the mirror's name and an end. It is no container, or Python's collector of
    garbage would look at a million of them, 0.3 us each, and visitors wait.
    """

    def __init__(self) -> None:
        self._claims: dict[int, bytes] = {}  # of each visitor the oldest first
        self._due: deque[tuple[float, list[int]]] = deque()  # whose oldest claims expire: moments are whole seconds
        self._next_due_s = inf
        self._count = 0

    def mirrors(self, visitor: int, sha256: Digest, *, now_s: float) -> Sequence[MirrorName]:
        """Give the mirrors (or the master) that keep a place for a visitor's download, the oldest claim first."""
        if self._next_due_s <= now_s:
            self._expire(now_s)
        held = self._claims.get(visitor)
        if held is None or held.find(sha256) < 0:
            return ()
        own = [claim for claim in _parted(held) if claim.startswith(sha256)]
        return [MirrorName(claim[SHA256_BYTES : -len(_END)].decode()) for claim in own]

    def claim(self, visitor: int, sha256: Digest, mirror: MirrorName, *, now_s: float, expires_s: float) -> bool:
        """Make a claim; tell whether it is new and there was room for it."""
        if self._next_due_s <= now_s:
            self._expire(now_s)
        claim, held = sha256 + mirror.encode() + _END, self._claims.get(visitor)
        if self._count >= CLAIMS_MAX or (held is not None and not _has_room_for(claim, _parted(held))):
            return False
        self._claims[visitor] = claim if held is None else held + claim
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
                held = self._claims.pop(visitor)
                if left := held[_end_of_first(held) :]:
                    self._claims[visitor] = left
        self._next_due_s = due[0][0] if due else inf


def _has_room_for(claim: bytes, held: Sequence[bytes]) -> bool:
    return claim not in held and len(held) < CLAIMS_PER_VISITOR_MAX


def _parted(held: bytes) -> list[bytes]:
    """Give a visitor's claims one by one."""
    found: list[bytes] = []
    while held:
        end = _end_of_first(held)
        found.append(held[:end])
        held = held[end:]
    return found


def _end_of_first(held: bytes) -> int:
    return held.index(_END, SHA256_BYTES) + len(_END)  # a digest may have any byte
