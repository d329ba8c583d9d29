"""A release day on a virtual clock: a crowd within a second; three of twenty mirrors leave in its first minute.

The selectors' own view, policy and reservations choose; the mirrors' own slots let visitors in or send them back, and
what is worth a load report the mirrors' own rule decides. Between them messages take their time. Seeded, so that a run
can be repeated.

A mirror that leaves says goodbye or nothing; downloads that it had break, and their visitors come to the site again. So
do those who find it gone. A visitor has his answer when a mirror lets him in, or when he is sent to the master.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from heapq import heappop, heappush
from ipaddress import IPv4Address
from itertools import count
from random import Random
from typing import Final

from bench.made_fleet import SIZE_BYTES, MadeFleet, drawn_place, file_path, mirror_name
from bench.verdict import Verdict
from events.envelope import Envelope, load_source, mirror_source
from events.grants import Grant, bind
from events.names import Digest, MirrorName, SelectorName
from events.schemas import Event, LoadReported, MirrorWentOffline
from mirror.serving.load import GAP_S_MIN, worth_telling
from mirror.serving.slots import Slots
from selection.places.place import Place
from selection.policy.policy import Policy
from selection.policy.reservations import Reservations
from selection.policy.rules import Rules
from selection.policy.visitor import Visitor
from selection.view.fleet import FleetView

MIRRORS: Final = 20
SLOTS: Final = 50
SELECTORS: Final = (SelectorName("one"), SelectorName("two"))
DOWNLOAD_S: Final = 20.0  # on the average; so the fleet can serve fifty visitors a second
PEAK_S: Final = 1.0  # from nobody to the peak
LASTS_S: Final = 70.0
LEAVING: Final = {5.0: "says goodbye", 20.0: "crashes", 40.0: "crashes"}  # when, and how
PLACES: Final = 200
START_BY_S: Final = 120.0
GATHERED_S: Final = 0.1  # grants are said in batches
MESSAGE_S: Final = 0.02  # through the broker, and to be folded
WAY_S: Final = (0.05, 0.5)  # from the redirect to the mirror
RETURN_S: Final = (0.5, 3.0)  # from a broken download back to the site
HEARTBEAT_S: Final = 5.0
SEED: Final = 4
RULES: Final = Rules(silent_after_s=10.0, load_threshold=1.0, near_km=200.0, hops_max=3)

REFUSED_GOAL_PERCENT: Final = 5.0


@dataclass(slots=True, kw_only=True)
class _Visitor:
    """One who wants the file. ``asked_not`` are mirrors that could not serve him, ``hops`` how often he was sent on."""

    address: IPv4Address
    place: Place
    asked_not: frozenset[MirrorName] = frozenset()
    hops: int = 0


@dataclass(slots=True)
class _Batch:
    """What one selector is about to say to one mirror."""

    sequence: int
    grants: list[Grant] = field(default_factory=list[Grant])


def report_of(name: MirrorName, slots: Slots, grants_seen: Mapping[SelectorName, int], now_s: float) -> LoadReported:
    """Say how a played mirror fares."""
    return LoadReported(
        mirror=name,
        slots=slots.visits.slots,
        active=slots.visits.active + slots.kept(now_s),
        reserved=slots.reserved(now_s),
        transmit_bytes_per_second=0,
        grants_seen=dict(grants_seen),
    )


@dataclass(slots=True)
class _Mirror:
    """A mirror, with the visitors that it serves."""

    name: MirrorName
    slots: Slots = field(default_factory=lambda: Slots(SLOTS, connections_per_address=SLOTS))
    visitors: dict[bytes, _Visitor] = field(default_factory=dict[bytes, _Visitor])
    grants_seen: dict[SelectorName, int] = field(default_factory=dict[SelectorName, int])
    said: LoadReported | None = None
    said_s: float = 0.0
    is_telling: bool = False
    is_gone: bool = False
    most_active: int = 0
    served: int = 0

    def report(self, now_s: float) -> LoadReported:
        """Say how it fares."""
        return report_of(self.name, self.slots, self.grants_seen, now_s)


class _Selector:
    """A selector, with a view and reservations of its own."""

    def __init__(self, name: SelectorName, seed: int) -> None:
        self.name = name
        self.fleet = _Fleet(mirrors=MIRRORS, files=1, replicas=MIRRORS, rng=Random(seed))  # noqa: S311 - the same for all
        self.fleet.tell()
        self.view: FleetView = self.fleet.view
        self.reservations = Reservations()
        self.policy = Policy(self.view, self.reservations, RULES)
        self.batches: dict[MirrorName, _Batch] = {}
        self.said = 0


@dataclass(slots=True, kw_only=True)
class _Fleet(MadeFleet):
    """A made-up fleet of mirrors that report at a given moment."""

    def report(self, name: MirrorName) -> None:
        """Let a mirror report that it is idle."""
        report = LoadReported(mirror=name, slots=SLOTS, active=0, reserved=0, transmit_bytes_per_second=0)
        self.hear(load_source(name), report, 0.0)

    def hear(self, source: str, event: Event, now_s: float) -> None:
        """Let the view hear something now."""
        sequence = self.numbers[source] = self.numbers.get(source, 0) + 1
        envelope = Envelope(source=source, epoch=0, sequence=sequence, time_ns=0, traceparent="", event=event)
        self.view.apply(envelope, heard_s=now_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class Day:
    """How a release day went. ``served`` counts for each mirror that stayed those whom it let in."""

    visitors: int
    answered: int
    by_master: int
    refused: int
    most_active: Mapping[MirrorName, int]
    served: Mapping[MirrorName, int]
    longest_way: int

    @property
    def refused_percent(self) -> float:
        """How many in a hundred the mirrors that stayed sent back."""
        return 100 * self.refused / self.visitors

    @property
    def fullest(self) -> float:
        """The largest part of its slots that a mirror that stayed had taken at once."""
        return max(self.most_active.values()) / SLOTS


class _Stage:
    """All that happens, in the order of its time."""

    def __init__(self, seed: int) -> None:
        self.rng = Random(seed)  # noqa: S311 - seeded on purpose
        self.now_s = 0.0
        self.selectors = [_Selector(name, seed) for name in SELECTORS]
        self.mirrors = {mirror_name(number): _Mirror(mirror_name(number)) for number in range(MIRRORS)}
        self.places = [drawn_place(self.rng) for _ in range(PLACES)]
        self.tally = Counter[str]()
        self.longest_way = 0
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()

    def at(self, moment_s: float, act: Callable[[], None]) -> None:
        """Let something happen."""
        heappush(self._queue, (moment_s, next(self._order), act))

    def after(self, pause_s: float, act: Callable[[], None]) -> None:
        """Let something happen in a while."""
        self.at(self.now_s + pause_s, act)

    def run(self) -> None:
        """Let all of it happen."""
        while self._queue:
            self.now_s, _, act = heappop(self._queue)
            act()

    def come(self, visitor: _Visitor) -> None:
        """Let a visitor ask the site."""
        selector = self.rng.choice(self.selectors)
        file = selector.view.file(file_path(0))
        assert file is not None  # noqa: S101 - it is never withdrawn
        asking = Visitor(visitor.address, visitor.place, asked_not=visitor.asked_not)
        selector.reservations.expire(self.now_s)
        mirror = selector.policy.choose(file, asking, 0, now_s=self.now_s, rng=self.rng).mirror
        visitor.hops += 1
        self.longest_way = max(self.longest_way, visitor.hops)
        if mirror is None:
            self.tally["by_master"] += 1
            return
        selector.policy.sent(mirror, asking, now_s=self.now_s)
        grant = self._announce(selector, mirror.name, visitor)
        self.after(self.rng.uniform(*WAY_S), lambda: self._reach(self.mirrors[mirror.name], grant, visitor))

    def _announce(self, selector: _Selector, name: MirrorName, visitor: _Visitor) -> Grant:
        batch = selector.batches.get(name)
        if batch is None:
            selector.said += 1
            batch = selector.batches[name] = _Batch(selector.said)
            self.after(GATHERED_S, lambda: self._say(selector, name))
        grant = self._grant(visitor)
        batch.grants.append(grant)
        self._reserve(selector, selector.name, name, batch)
        return grant

    def _reserve(self, selector: _Selector, by: SelectorName, name: MirrorName, batch: _Batch) -> None:
        selector.reservations.add(
            name, selector=by, sequence=batch.sequence, size_bytes=SIZE_BYTES, expires_s=self.now_s + START_BY_S
        )

    def _say(self, selector: _Selector, name: MirrorName) -> None:
        """Tell a mirror, and the other selectors, of the grants of a batch."""
        batch = selector.batches.pop(name)
        self.after(MESSAGE_S, lambda: self._hear(selector, self.mirrors[name], batch))

    def _hear(self, selector: _Selector, mirror: _Mirror, batch: _Batch) -> None:
        for other in self.selectors:
            for _ in batch.grants if other is not selector else ():
                self._reserve(other, selector.name, mirror.name, batch)
        if mirror.is_gone:
            return
        for grant in batch.grants:
            mirror.slots.expect(grant.grant_id, start_by_s=grant.start_by_s, now_s=self.now_s)
        mirror.grants_seen[selector.name] = batch.sequence
        self._changed(mirror)

    def _grant(self, visitor: _Visitor) -> Grant:
        claim = bind(visitor.address)
        return Grant(
            grant_id=self.rng.randbytes(16),
            sha256=Digest(bytes(32)),
            size_bytes=SIZE_BYTES,
            start_by_s=int(self.now_s + START_BY_S),
            finish_by_s=int(self.now_s + START_BY_S),
            address=claim.address,
            prefix_bits=claim.prefix_bits,
        )

    def _reach(self, mirror: _Mirror, grant: Grant, visitor: _Visitor) -> None:
        """Let a visitor come to the mirror that he was sent to."""
        if mirror.is_gone:
            self._return(mirror, visitor)
            return
        refusal = mirror.slots.enter(grant, asked_bytes=SIZE_BYTES, address=visitor.address, now_s=self.now_s)
        if refusal is not None:
            self.tally[f"refused by {mirror.name}"] += 1
            visitor.asked_not |= {mirror.name}
            self.after(self.rng.uniform(*WAY_S), lambda: self.come(visitor))
            return
        mirror.served += 1
        mirror.visitors[grant.grant_id] = visitor
        mirror.most_active = max(mirror.most_active, mirror.slots.visits.active)
        self._changed(mirror)
        self.after(self.rng.expovariate(1 / DOWNLOAD_S), lambda: self._end(mirror, grant, visitor))

    def _end(self, mirror: _Mirror, grant: Grant, visitor: _Visitor) -> None:
        if mirror.visitors.pop(grant.grant_id, None) is None:
            return  # it broke before
        self.tally["by_mirrors"] += 1
        mirror.slots.visits.count(grant.grant_id, SIZE_BYTES)
        mirror.slots.leave(grant.grant_id, unsent_bytes=0, address=visitor.address, now_s=self.now_s)
        self._changed(mirror)

    def leave(self, mirror: _Mirror, *, says_goodbye: bool) -> None:
        """Let a mirror go in the middle of everything."""
        mirror.is_gone = True
        if says_goodbye:
            offline = MirrorWentOffline(mirror=mirror.name, reason="stopped by its operator")
            self._publish(mirror_source(mirror.name), offline)
        for visitor in mirror.visitors.values():
            self._return(mirror, visitor)
        mirror.visitors.clear()

    def _return(self, mirror: _Mirror, visitor: _Visitor) -> None:
        """Let a visitor whom a mirror left come to the site again."""
        visitor.asked_not = frozenset({mirror.name})
        visitor.hops = 0
        self.after(self.rng.uniform(*RETURN_S), lambda: self.come(visitor))

    def _changed(self, mirror: _Mirror) -> None:
        """Let a mirror report, at once or when it may again, if it is worth it."""
        if mirror.is_telling or mirror.is_gone:
            return
        if mirror.said is None or worth_telling(mirror.said, mirror.report(self.now_s)):
            mirror.is_telling = True
            self.at(max(self.now_s, mirror.said_s + GAP_S_MIN), lambda: self._tell(mirror))

    def _tell(self, mirror: _Mirror) -> None:
        mirror.is_telling = False
        if mirror.is_gone:
            return
        mirror.said, mirror.said_s = mirror.report(self.now_s), self.now_s
        self._publish(load_source(mirror.name), mirror.said)

    def beat(self, mirror: _Mirror) -> None:
        """Let a mirror report every few seconds, whatever happens."""
        if not mirror.is_gone and self.now_s < LASTS_S:
            self._tell(mirror)
            self.after(HEARTBEAT_S, lambda: self.beat(mirror))

    def _publish(self, source: str, event: Event) -> None:
        self.after(MESSAGE_S, lambda: self._fold(source, event))

    def _fold(self, source: str, event: Event) -> None:
        for selector in self.selectors:
            selector.fleet.hear(source, event, self.now_s)
            if isinstance(event, LoadReported):
                seen = event.grants_seen.items()
                for name, sequence in seen:
                    selector.reservations.counted(event.mirror, selector=name, up_to_sequence=sequence)


def simulate(*, load: float, seed: int = SEED) -> Day:
    """Live a release day. ``load`` is the peak, as a share of what all twenty mirrors can serve."""
    stage = _Stage(seed)
    moments = list(_arrivals(load * MIRRORS * SLOTS / DOWNLOAD_S, stage.rng))
    for number, moment_s in enumerate(moments):
        visitor = _Visitor(address=IPv4Address((1 << 24) + number), place=stage.rng.choice(stage.places))
        stage.at(moment_s, lambda visitor=visitor: stage.come(visitor))
    for mirror in stage.mirrors.values():
        stage.at(stage.rng.uniform(0, HEARTBEAT_S), lambda mirror=mirror: stage.beat(mirror))
    for mirror, (moment_s, how) in zip(stage.rng.sample(list(stage.mirrors.values()), 3), LEAVING.items(), strict=True):
        stage.at(moment_s, lambda mirror=mirror, how=how: stage.leave(mirror, says_goodbye=how == "says goodbye"))
    stage.run()
    stayed = [mirror for mirror in stage.mirrors.values() if not mirror.is_gone]
    return Day(
        visitors=len(moments),
        answered=stage.tally["by_mirrors"] + stage.tally["by_master"],
        by_master=stage.tally["by_master"],
        refused=sum(stage.tally[f"refused by {mirror.name}"] for mirror in stayed),
        most_active={mirror.name: mirror.most_active for mirror in stayed},
        served={mirror.name: mirror.served for mirror in stayed},
        longest_way=stage.longest_way,
    )


def _arrivals(peak_per_s: float, rng: Random) -> Iterator[float]:
    """Draw when visitors come: ever more in the first second, then at the peak."""
    moment_s = 0.0
    while moment_s < LASTS_S:
        moment_s += rng.expovariate(peak_per_s)
        if moment_s >= PEAK_S or rng.random() < moment_s / PEAK_S:
            yield moment_s


async def measure() -> tuple[Verdict, ...]:
    """Live a day that the fleet can serve, one at its limit, and one that is too much for it; judge the worst."""
    print(f"{'load':>6} {'visitors':>9} {'by master':>10} {'sent back':>10} {'fullest':>8} {'longest way':>12}")
    days = [_told(load, simulate(load=load)) for load in (0.5, 0.8, 2.0)]
    return (
        Verdict(
            name="visitors without an answer",
            figure=max(day.visitors - day.answered for day in days),
            goal=1,
            unit="visitors",
        ),
        Verdict(
            name="slots taken at the fullest mirror that stayed",
            figure=max(max(day.most_active.values()) for day in days),
            goal=SLOTS + 1,
            unit="slots",
        ),
        Verdict(
            name="visitors whom a mirror that stayed sent back",
            figure=max(day.refused_percent for day in days),
            goal=REFUSED_GOAL_PERCENT,
            unit="%",
        ),
    )


def _told(load: float, day: Day) -> Day:
    print(
        f"{load:>5.0%} {day.visitors:>9} {day.by_master:>10} {day.refused_percent:>9.2f}% {day.fullest:>8.0%} "
        f"{day.longest_way:>12}"
    )
    return day
