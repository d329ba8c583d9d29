"""One content on its way: who has which piece, how often each left the master, and who must not be asked. Pure."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Final

from events.names import Digest
from events.pieces import Span, piece_count, span_of
from master.tracker.bits import bits_of
from master.tracker.stations import LIVE_S, ORIGIN_NUMBER

AVOID_S: Final = 10.0  # a source that failed an asker; doubled for each time in a row
AVOID_S_MAX: Final = 600.0
ACCUSERS_MAX: Final = 2  # a source that sent wrong bytes to so many has a bad copy; one of them could be lying


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """What is to be fetched. ``piece_bytes`` of 0 makes it one piece."""

    sha256: Digest
    size_bytes: int
    piece_bytes: int

    @property
    def pieces(self) -> int:
        """Count the pieces."""
        return piece_count(self.size_bytes, self.piece_bytes)

    def span(self, piece: int) -> Span:
        """Give the bytes of a piece."""
        return span_of(piece, self.size_bytes, self.piece_bytes)


@dataclass(slots=True)
class _Avoided:
    """A source that failed one asker: how often in a row, and until when it is not asked."""

    times: int = 0
    until_s: float = 0.0


@dataclass(slots=True)
class Member:
    """A mirror in a swarm. Pieces are bits: ``have`` as it last reported, ``leased`` to it now.

    ``banned`` are the sources that sent it wrong bytes; ``starved_since_s`` tells of pieces that nobody could give it.
    """

    have: int = 0
    leased: int = 0
    from_origin: int = 0
    banned: int = 0
    avoided: dict[int, _Avoided] = field(default_factory=dict[int, _Avoided])
    starved_since_s: dict[int, float] = field(default_factory=dict[int, float])

    def avoid(self, source: int, *, now_s: float) -> None:
        """Ask a source no more for a while: it failed."""
        avoided = self.avoided.setdefault(source, _Avoided())
        avoided.until_s = now_s + min(AVOID_S * 2**avoided.times, AVOID_S_MAX)
        avoided.times += 1

    def refused(self, now_s: float) -> int:
        """Give the sources that this mirror must not be sent to now."""
        refused = self.banned
        for source, avoided in self.avoided.items():
            if avoided.until_s > now_s:
                refused |= 1 << source
        return refused


class Swarm:
    """The mirrors that want or have one content. ``spent`` counts for each piece the leases of the master itself."""

    def __init__(self, content: Content, spent: Sequence[int] = ()) -> None:
        self.content = content
        self.pieces = content.pieces
        self.full = (1 << self.pieces) - 1
        self.spent = list(spent) or [0] * self.pieces
        self.from_origin = 0
        self.leases = 0
        self.whole = 0
        self._members: dict[int, Member] = {}
        self._holders = [0] * self.pieces
        self._copies = [0] * self.pieces
        self._under_way = [0] * self.pieces
        self._accusers: dict[int, int] = {}
        self._banned = 0
        self._asked_at_s: OrderedDict[int, float] = OrderedDict()
        self._live = 0

    @property
    def askers(self) -> int:
        """Give the mirrors that asked lately."""
        return self._live

    @property
    def last_asked_at_s(self) -> float:
        """Give when anybody asked last."""
        return next(reversed(self._asked_at_s.values()), float("-inf"))

    def member(self, number: int) -> Member:
        """Give what is known of a mirror here."""
        member = self._members.get(number)
        if member is None:
            member = self._members[number] = Member()
        return member

    def report(self, number: int, have: int, *, now_s: float) -> int:
        """Take a mirror's own word on its pieces, for it asks; give the pieces that are new."""
        new = have & ~self.member(number).have
        self._set_have(number, have)
        self.whole &= ~(1 << number)
        self._asked_at_s[number] = now_s
        self._asked_at_s.move_to_end(number)
        self._live |= 1 << number
        return new

    def hold(self, number: int, *, held: bool) -> None:
        """Take it from the log that a mirror has all of it, or no more. One that asks knows better what it has."""
        bit = 1 << number
        if held:
            self._set_have(number, self.full)
            self.whole |= bit
        elif self.whole & bit:
            self._set_have(number, 0)
            self.whole &= ~bit

    def leave(self, number: int) -> None:
        """Forget a mirror that is no longer there, but not who sent it wrong bytes: it may come back."""
        self._set_have(number, 0)
        self.whole &= ~(1 << number)
        self._asked_at_s.pop(number, None)
        self._live &= ~(1 << number)
        self._members[number] = Member(banned=self.member(number).banned)

    def accuse(self, source: int, accuser: int) -> None:
        """Note that a source sent wrong bytes: this mirror is never sent to it again, after two nobody is."""
        self.member(accuser).banned |= 1 << source
        accusers = self._accusers[source] = self._accusers.get(source, 0) | 1 << accuser
        if accusers.bit_count() >= ACCUSERS_MAX:
            self._banned |= 1 << source

    def refused(self, member: Member, now_s: float) -> int:
        """Give the sources that a mirror must not be sent to now."""
        return self._banned | member.refused(now_s)

    def live(self, now_s: float) -> int:
        """Give the mirrors that can be sources: they are whole, or asked lately."""
        while self._asked_at_s:
            number, asked_at_s = next(iter(self._asked_at_s.items()))
            if now_s - asked_at_s < LIVE_S:
                break
            del self._asked_at_s[number]
            self._live &= ~(1 << number)
        return self._live | self.whole

    def holders(self, piece: int) -> int:
        """Give the mirrors that have a piece, live or not."""
        return self._holders[piece]

    def is_under_way(self, piece: int) -> bool:
        """Tell whether anybody fetches a piece now."""
        return self._under_way[piece] > 0

    def rarest(self, wanted: int, rng: Random) -> list[int]:
        """Give pieces in the order of how many have them or soon will; equals in no order, or all would ask for one."""
        copies, under_way, random = self._copies, self._under_way, rng.random
        return sorted(bits_of(wanted), key=lambda piece: copies[piece] + under_way[piece] + random())

    def begin(self, asker: int, piece: int, source: int) -> None:
        """Count a lease."""
        member = self.member(asker)
        member.leased |= 1 << piece
        member.starved_since_s.pop(piece, None)
        self._under_way[piece] += 1
        self.leases += 1
        if source == ORIGIN_NUMBER:
            self.spent[piece] += 1
            self.from_origin += 1
            member.from_origin += 1

    def end(self, asker: int, piece: int, source: int, *, unused: bool) -> None:
        """Count it no more; one of the master's of which no byte left was not spent."""
        member = self.member(asker)
        member.leased &= ~(1 << piece)
        self._under_way[piece] -= 1
        self.leases -= 1
        if source == ORIGIN_NUMBER:
            self.spent[piece] -= unused
            self.from_origin -= 1
            member.from_origin -= 1

    def _set_have(self, number: int, have: int) -> None:
        member, bit = self.member(number), 1 << number
        changed = member.have ^ have
        member.have = have
        for piece in bits_of(changed):
            self._holders[piece] ^= bit
            self._copies[piece] += 1 if have >> piece & 1 else -1
