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
# Of those that expired, at each look: all who came in one second expire in one, and 20,000 take 8 ms.
EXPIRED_AT_ONCE_MAX: Final = 16

_MOMENT_BYTES: Final = 5  # Unix seconds until the year 36812
_NAME_AT: Final = _MOMENT_BYTES + SHA256_BYTES
_END: Final = b"\n"  # no mirror's name has one


class Claims:
    """The claims that hold, by visitor. They are made in the order in which they expire, in whole Unix seconds.

    A visitor is the number of the address that a strict grant is bound to (``events.grants.bind``). What he claims is
    one text: of each claim its moment, the digest of the content, the mirror's name and an end. It is no container, or
    Python's collector of garbage would look at a million of them, 0.3 us each, and visitors wait. One that expired is
    no claim from that moment on, though it may be forgotten later, a few at each look.
    """

    def __init__(self) -> None:
        self._claims: dict[int, bytes] = {}  # of each visitor the oldest first
        self._due: deque[tuple[int, list[int]]] = deque()  # when claims expire, and whose: for each his oldest one
        self._next_due_s: float = inf
        self._count = 0

    def __len__(self) -> int:
        """Count the claims, and those that expired and are not forgotten yet."""
        return self._count

    def mirrors(self, visitor: int, sha256: Digest, *, now_s: float) -> Sequence[MirrorName]:
        """Give the mirrors (or the master) that keep a place for a visitor's download, the oldest claim first."""
        if self._next_due_s <= now_s:
            self._forget_some()
        held = self._claims.get(visitor)
        if held is None or held.find(sha256) < 0:
            return ()
        own = [claim for claim in _holding(held, now_s) if claim.startswith(sha256, _MOMENT_BYTES)]
        return [MirrorName(claim[_NAME_AT : -len(_END)].decode()) for claim in own]

    def claim(self, visitor: int, sha256: Digest, mirror: MirrorName, *, now_s: float, expires_s: int) -> bool:
        """Make a claim; tell whether it is new and there was room for it."""
        if self._next_due_s <= now_s:
            self._forget_some()
        what, held = sha256 + mirror.encode() + _END, self._claims.get(visitor)
        if self._count >= CLAIMS_MAX or (held is not None and not _has_room_for(what, _holding(held, now_s))):
            return False
        claim = expires_s.to_bytes(_MOMENT_BYTES, "big") + what
        self._claims[visitor] = claim if held is None else held + claim
        self._count += 1
        if self._due and self._due[-1][0] == expires_s:
            self._due[-1][1].append(visitor)
        else:
            self._due.append((expires_s, [visitor]))
            self._next_due_s = self._due[0][0]
        return True

    def _forget_some(self) -> None:
        """Forget a few that expired."""
        _, visitors = self._due[0]
        for visitor in visitors[-EXPIRED_AT_ONCE_MAX:]:
            held = self._claims.pop(visitor)
            if left := held[_end_of_first(held) :]:
                self._claims[visitor] = left
            self._count -= 1
        del visitors[-EXPIRED_AT_ONCE_MAX:]
        if not visitors:
            self._due.popleft()
            self._next_due_s = self._due[0][0] if self._due else inf


def _has_room_for(what: bytes, holding: Sequence[bytes]) -> bool:
    return len(holding) < CLAIMS_PER_VISITOR_MAX and all(claim[_MOMENT_BYTES:] != what for claim in holding)


def _holding(held: bytes, now_s: float) -> list[bytes]:
    """Give those of a visitor's claims that did not expire, one by one."""
    found: list[bytes] = []
    while held:
        end = _end_of_first(held)
        if int.from_bytes(held[:_MOMENT_BYTES], "big") > now_s:
            found.append(held[:end])
        held = held[end:]
    return found


def _end_of_first(held: bytes) -> int:
    return held.index(_END, _NAME_AT) + len(_END)  # a moment and a digest may have any byte
