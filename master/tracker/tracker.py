"""Leases pieces: the rarest first, from mirrors where one has a place, else from the master within its budget. Pure.

What keeps the master's uplink from being the bottleneck: each piece leaves it at most ``seeds_max`` times in total, to
different mirrors, and those pass it on as soon as they have it. What keeps everybody from waiting for ever: a piece
that nobody can give and that is not under way leaves the master once more after ``escape_after_s``.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from random import Random
from typing import Final

from events.names import Digest, MirrorName
from events.schemas import SourceFault
from master.heard import Announced, Ban
from master.tracker.bits import bits_of, draw
from master.tracker.egress import Egress
from master.tracker.leases import LEASE_ID_BYTES, Lease, Leases, lease_s
from master.tracker.stations import ORIGIN_NUMBER, Stations
from master.tracker.swarm import Content, Member, Swarm

LEASES_PER_MIRROR_MAX: Final = 8  # of one content at once: enough to fill a downlink from slow peers
FROM_ORIGIN_PER_MIRROR_MAX: Final = 2  # or the first that asks takes the whole budget, and shares it slowly
# While there are peers to pass pieces on, few at once: twice as many would take twice as long each, and nobody could
# pass on anything meanwhile.
FROM_ORIGIN_MAX: Final = 8
IDLE_S: Final = 600.0  # a swarm in which nobody asked for so long is put away; its spent budget is remembered
SWARMS_MAX: Final = 4096  # contents asked for at once; some 40 kB each at the most, whoever asks for everything
SPENT_KEPT_MAX: Final = 10_000  # contents; some 2 kB each at the most
RETRY_S: Final = 1.0  # for askers who do not wait for their answer

_NOBODYS_FAULT: Final = frozenset({SourceFault.OTHER})  # an asker gave the lease back: wanted no more, or stopping


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What the site's operator chose."""

    seeds_max: int
    escape_after_s: float
    bytes_per_second: int | None


@dataclass(slots=True)
class _Choice:
    """What one asker may be given at this moment: ``usable`` sources, and whether the origin is one."""

    usable: int
    origin: bool


class Tracker:
    """All swarms, and the stations that they share."""

    def __init__(self, rules: Rules, *, rng: Random) -> None:
        self._rules = rules
        self._rng = rng
        self._egress = Egress(rules.bytes_per_second)
        self._leases = Leases()
        self._swarms: OrderedDict[Digest, Swarm] = OrderedDict()  # the one longest not asked for comes first
        self._spent: OrderedDict[Digest, list[int]] = OrderedDict()
        self._sessions: dict[int, str] = {}
        self.stations = Stations()

    @property
    def leases(self) -> int:
        """Count the leases that run."""
        return len(self._leases)

    def sources(self, now_s: float) -> int:
        """Count the mirrors that serve others now."""
        return self.stations.sources(now_s).bit_count()

    @property
    def contents(self) -> tuple[Digest, ...]:
        """Give the contents that have a swarm."""
        return tuple(self._swarms)

    def has(self, sha256: Digest) -> bool:
        """Tell whether a content has a swarm."""
        return sha256 in self._swarms

    def open(self, content: Content, *, holders: Iterable[MirrorName], bans: Iterable[Ban]) -> None:
        """Begin a swarm with what the log says: who is whole, and who sent wrong bytes.

        What was sent before this process began is not known. As many mirrors as are whole and serve others are taken
        for as many copies that left: they have them from here, or make it needless that one more leaves.
        """
        whole = [self.stations.number(holder) for holder in holders]
        serving = sum(map(self.stations.offers, whole))
        unknown = [min(serving, self._rules.seeds_max)] * content.pieces
        swarm = self._swarms[content.sha256] = Swarm(content, self._spent.pop(content.sha256, unknown))
        for number in whole:
            swarm.hold(number, held=True)
        for ban in bans:
            self.ban(ban)

    def put_away(self, now_s: float) -> None:
        """Forget the swarms in which nobody asks any more, and of too many the oldest; not what the master has sent."""
        while self._swarms:
            sha256, swarm = next(iter(self._swarms.items()))
            if now_s - swarm.last_asked_at_s <= IDLE_S and len(self._swarms) < SWARMS_MAX:
                break
            for lease in self._leases.of_content(sha256) if swarm.leases else ():
                self._end(lease)
            del self._swarms[sha256]
            self._spent[sha256] = swarm.spent
        while len(self._spent) > SPENT_KEPT_MAX:
            self._spent.popitem(last=False)

    def announce(self, announced: Announced) -> None:
        """Take up what a mirror says of itself."""
        self.stations.announce(announced)

    def resume(self, mirror: MirrorName, session: str) -> None:
        """End what was leased to a mirror before it began anew: it knows nothing of that, and others wait for it."""
        number = self.stations.number(mirror)
        if self._sessions.get(number, session) != session:
            for lease in self._leases.of_station(number):
                if lease.asker == number:
                    self._end(lease)
        self._sessions[number] = session

    def leave(self, mirror: MirrorName) -> None:
        """Let a mirror neither fetch nor serve any more."""
        number = self.stations.number(mirror)
        self._sessions.pop(number, None)
        for lease in self._leases.of_station(number):
            self._end(lease)
        self.stations.leave(number)
        for swarm in self._swarms.values():
            swarm.leave(number)

    def hold(self, mirror: MirrorName, sha256: Digest, *, held: bool) -> None:
        """Take it from the log that a mirror has a content, or lost it."""
        swarm = self._swarms.get(sha256)
        if swarm is not None:
            swarm.hold(self.stations.number(mirror), held=held)

    def replace(self, mirror: MirrorName, sha256s: Collection[Digest]) -> None:
        """Take it from the log which of the contents that have a swarm a mirror holds, all of them."""
        number = self.stations.number(mirror)
        for sha256, swarm in self._swarms.items():
            swarm.hold(number, held=sha256 in sha256s)

    def ban(self, ban: Ban) -> None:
        """Note that a source sent a mirror wrong bytes."""
        swarm = self._swarms.get(ban.sha256)
        if swarm is not None:
            swarm.accuse(self.stations.number(ban.source), self.stations.number(ban.mirror))

    def ask(self, mirror: MirrorName, sha256: Digest, *, have: int, want_max: int, now_s: float) -> list[Lease]:
        """Lease to a mirror some of the pieces that it lacks; nothing when there is nothing to be had now.

        Raises:
            KeyError: the content has no swarm; open it.
        """
        self.expire(now_s)
        swarm, asker = self._swarms[sha256], self.stations.number(mirror)
        self._swarms.move_to_end(sha256)
        self.stations.asked(asker, now_s=now_s)
        new = swarm.report(asker, have & swarm.full, now_s=now_s)
        member = swarm.member(asker)
        for piece in bits_of(new & member.leased):
            self._serve(self._leases.of_piece(asker, sha256, piece))
        wanted = swarm.full & ~member.have & ~member.leased
        room = min(want_max, LEASES_PER_MIRROR_MAX - member.leased.bit_count(), self.stations.room(asker))
        choice = self._choice(swarm, asker, member, now_s)
        if not wanted or room <= 0 or not (choice.origin or self.stations.free(choice.usable, asker)):
            return []
        return self._lease(swarm, asker, member, choice, wanted=wanted, room=room, now_s=now_s)

    def settle(self, mirror: MirrorName, lease_id: bytes, fault: SourceFault | None, *, now_s: float) -> None:
        """Take a mirror's word on what became of a lease. One that ended already, or is another's, is passed over."""
        lease = self._leases.find(lease_id)
        asker = self.stations.number(mirror)
        if lease is None or lease.asker != asker:
            return
        if fault is None:
            self._serve(lease)
            return
        swarm = self._swarms.get(lease.sha256)
        self._end(lease)
        if swarm is not None and fault is SourceFault.WRONG_BYTES:
            swarm.accuse(lease.source, asker)
        elif swarm is not None:
            swarm.member(asker).avoid(lease.source, now_s=now_s)
        if fault not in _NOBODYS_FAULT:
            self.stations.failed(lease.source, asker, now_s=now_s)

    def expire(self, now_s: float) -> None:
        """End the leases whose time is over. Who is at fault nobody knows: asker and source part for a while."""
        for lease in self._leases.expired(now_s):
            self._end(lease)
            swarm = self._swarms.get(lease.sha256)
            if swarm is not None:
                swarm.member(lease.asker).avoid(lease.source, now_s=now_s)

    def find_lease(self, mirror: MirrorName, lease_id: bytes, sha256: Digest, *, now_s: float) -> Lease | None:
        """Find a lease of this mirror from the origin; None where there is no such lease."""
        self.expire(now_s)
        lease = self._leases.find(lease_id)
        wanted = (self.stations.number(mirror), ORIGIN_NUMBER, sha256)
        return lease if lease is not None and (lease.asker, lease.source, lease.sha256) == wanted else None

    def retry_after_s(self) -> float:
        """Give a time after which to ask again, another for each, so that not all come at once."""
        return RETRY_S * (0.5 + self._rng.random())

    def _choice(self, swarm: Swarm, asker: int, member: Member, now_s: float) -> _Choice:
        refused = swarm.refused(member, now_s)
        sources = self.stations.sources(now_s)
        shared = swarm.askers & sources & ~(1 << asker)
        few_enough = swarm.from_origin < FROM_ORIGIN_MAX or not shared
        modest = member.from_origin < FROM_ORIGIN_PER_MIRROR_MAX and self.stations.may_ask_origin(asker)
        origin = few_enough and modest and not refused >> ORIGIN_NUMBER & 1
        return _Choice(
            usable=swarm.live(now_s) & sources & ~refused & ~(1 << asker),
            origin=origin and self._egress.is_open(now_s),
        )

    def _lease(
        self, swarm: Swarm, asker: int, member: Member, choice: _Choice, *, wanted: int, room: int, now_s: float
    ) -> list[Lease]:
        """Go through the pieces, the rarest first, and lease those that somebody can give now."""
        leases: list[Lease] = []
        free = self.stations.free(choice.usable, asker)
        for piece in swarm.rarest(wanted, self._rng):
            givers = swarm.holders(piece) & free
            if givers:
                source = draw(self.stations.idle(givers) or givers, self._rng)
            elif choice.origin and self._may_leave(swarm, member, piece, choice.usable, now_s):
                source = ORIGIN_NUMBER
            else:
                continue
            leases.append(self._begin(swarm, asker, piece, source, now_s))
            if len(leases) == room:
                break
            choice.origin = choice.origin and self._choice(swarm, asker, member, now_s).origin
            free = self.stations.free(choice.usable, asker)
        return leases

    def _may_leave(self, swarm: Swarm, member: Member, piece: int, usable: int, now_s: float) -> bool:
        """Tell whether the master may send a piece: within its budget, or because nobody else can for too long."""
        if swarm.spent[piece] < self._rules.seeds_max:
            return True
        if swarm.holders(piece) & usable or swarm.is_under_way(piece):
            member.starved_since_s.pop(piece, None)
            return False
        since_s = member.starved_since_s.setdefault(piece, now_s)
        return now_s - since_s >= self._rules.escape_after_s

    def _begin(self, swarm: Swarm, asker: int, piece: int, source: int, now_s: float) -> Lease:
        span = swarm.content.span(piece)
        lease = Lease(
            lease_id=self._rng.randbytes(LEASE_ID_BYTES),
            sha256=swarm.content.sha256,
            piece=piece,
            span=span,
            asker=asker,
            source=source,
            expires_at_s=now_s + lease_s(span.stop - span.start),
        )
        self._leases.add(lease)
        swarm.begin(asker, piece, source)
        self.stations.engage(source, asker)
        if source == ORIGIN_NUMBER:
            self._egress.take(lease.piece_bytes)
        return lease

    def _serve(self, lease: Lease) -> None:
        """End a lease whose piece arrived."""
        self._end(lease)
        self.stations.served(lease.source)
        swarm = self._swarms.get(lease.sha256)
        if swarm is not None:
            swarm.member(lease.asker).avoided.pop(lease.source, None)

    def _end(self, lease: Lease) -> None:
        if not self._leases.remove(lease):
            return
        unused = not lease.sending and not lease.sent_bytes
        swarm = self._swarms.get(lease.sha256)
        if swarm is not None:
            swarm.end(lease.asker, lease.piece, lease.source, unused=unused)
        self.stations.release(lease.source, lease.asker)
        if unused and lease.source == ORIGIN_NUMBER:
            self._egress.give_back(lease.piece_bytes)
