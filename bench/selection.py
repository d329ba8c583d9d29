"""What choosing a mirror costs, alone: no HTTP, no grant, no events.

Fleets of 10 to 10,000 mirrors all over the world, half of their slots taken; files that 13 of them hold (sparse), or
half of them, each file by others, or all (dense); visitors from random places whose rankings were prepared. Each
choice is followed by a reservation and now and then by a load report, so that what is kept has to be brought up to
date, as in life. A pick is a choice without other mirrors, which the goals are for; a redirect names others, too: what
its choice takes is told beside the pick.

The mean is processor time, of rounds of choices less the same without them: of each the least of some, since others on
the machine, and what Python does now and then, can only add to it. For percentiles single choices are timed, and after
each the same work is done: those rounds count in which that was quickest, whatever the choices took, and what its 99th
percentile exceeds its median by is noise. What a ranking costs that is not there yet, of 13 mirrors alone and of all,
and how much memory rankings take when there are more places than fit, is told beside it.
"""

from __future__ import annotations

import gc
import statistics
import time
import tracemalloc
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from ipaddress import IPv4Address
from random import Random
from typing import Final, TypeAlias

from bench.made_fleet import NOW_S, SIZE_BYTES, MadeFleet, drawn_place, drawn_profile, file_path, mirror_name
from bench.verdict import Verdict
from events.names import SelectorName
from events.schemas import EVERYBODY
from selection.answering.heads import LINKS_MAX
from selection.places.place import Place
from selection.policy.atlas import Atlas, spot_of
from selection.policy.policy import Policy
from selection.policy.ranking import RANKINGS_BYTES_MAX, Rankings
from selection.policy.reservations import Reservations
from selection.policy.rules import Rules
from selection.policy.visitor import Visitor
from selection.view.file import PublishedFile
from selection.view.roster import Mirror

FLEETS: Final = (10, 100, 1000, 10_000)
SPARSE_REPLICAS: Final = 13
FILES: Final = 200
PLACES: Final = 500
SELECTOR: Final = SelectorName("bench")
RULES: Final = Rules(silent_after_s=10.0, load_threshold=1.0, near_km=200.0, hops_max=3)
ROUNDS: Final = 60
QUIET_ROUNDS: Final = 15
CHOICES: Final = 400  # in each round
WARM_ROUNDS: Final = 10
MEANS: Final = 20  # of which the least counts: others can only add to it
REPORT_EVERY: Final = 20  # picks: of a thousand visitors a second, fifty reports
COLD_PLACES: Final = 50
CROWDED_PLACES: Final = 1500  # of 10,000 mirrors: more than fit
MEAN_GOAL_US: Final = 6.0
P99_GOAL_US: Final = 15.0
MEMORY_SLACK: Final = 1.25  # what Python keeps beside the objects that are counted
SEED: Final = 4

_Choose: TypeAlias = Callable[[PublishedFile, Visitor], Mirror | None]


@dataclass(slots=True, kw_only=True)
class Site:
    """A fleet with files, a policy, and those who ask."""

    fleet: MadeFleet
    rng: Random
    visitors: list[Visitor]
    reservations: Reservations = field(default_factory=Reservations)
    grants: int = 0

    def policy(self) -> Policy:
        """Make the policy."""
        return Policy(self.fleet.view, self.reservations, RULES)

    def question(self) -> tuple[PublishedFile, Visitor]:
        """Draw who asks for what."""
        file = self.fleet.view.file(file_path(self.rng.randrange(FILES)))
        if file is None:
            raise RuntimeError("a file is not there")
        return file, self.rng.choice(self.visitors)

    def live_on(self, picked: int, policy: Policy | None = None) -> None:
        """Count a grant, as ``policy`` does after its choice; now and then let a mirror report, which counts them.

        A selector takes a report up when it has heard it.
        """
        self.grants += 1
        if policy is None:
            reserve = partial(self.reservations.add, mirror_name(picked))
        else:
            reserve = partial(policy.reserve, self.fleet.view.by_number(picked))
        reserve(selector=SELECTOR, sequence=self.grants, size_bytes=SIZE_BYTES, expires_s=99.0)
        if self.grants % REPORT_EVERY == 0:
            reporting = mirror_name(self.rng.choice((picked, self.rng.randrange(self.fleet.mirrors))))
            self.reservations.counted(reporting, selector=SELECTOR, up_to_sequence=self.grants)
            self.fleet.report(reporting)
            if policy is not None:
                policy.heard(NOW_S)


@dataclass(slots=True)
class Round:
    """What single choices took, and the work that is always the same, in microseconds."""

    choices: list[float] = field(default_factory=list[float])
    same: list[float] = field(default_factory=list[float])


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What choices cost, in microseconds."""

    mean_us: float
    median_us: float
    p99_us: float
    noise_us: float


async def measure() -> tuple[Verdict, ...]:
    """Measure all fleets and both kinds of files; judge the dearest."""
    columns = f"{'mean':>7} {'p50':>7} {'p99':>7} {'noise':>7}"
    print(f"{'mirrors':>8} {'held by':>8} {columns}  us a pick {columns}  with others")
    found: list[Figures] = []
    for mirrors in FLEETS:
        for replicas in sorted({min(SPARSE_REPLICAS, mirrors), mirrors // 2, mirrors}):
            picks = _measured(_site(mirrors, replicas), 0)
            with_others = _measured(_site(mirrors, replicas), LINKS_MAX)
            found.append(picks)
            print(f"{mirrors:>8} {replicas:>8} {_row(picks)}            {_row(with_others)}")
    _tell_of_rankings()
    return (
        Verdict(name="a pick, mean", figure=max(each.mean_us for each in found), goal=MEAN_GOAL_US, unit="us"),
        Verdict(
            name="a pick, 99th percentile beyond noise",
            figure=max(each.p99_us - each.noise_us for each in found),
            goal=P99_GOAL_US,
            unit="us",
        ),
        Verdict(
            name=f"rankings of {CROWDED_PLACES} places for {FLEETS[-1]} mirrors",
            figure=_crowded_bytes() / 2**20,
            goal=RANKINGS_BYTES_MAX * MEMORY_SLACK / 2**20,
            unit="MiB",
        ),
    )


def _row(figures: Figures) -> str:
    return f"{figures.mean_us:>7.2f} {figures.median_us:>7.2f} {figures.p99_us:>7.2f} {figures.noise_us:>7.2f}"


def _site(mirrors: int, replicas: int) -> Site:
    rng = Random(SEED)  # noqa: S311 - the same fleet and visitors each time
    fleet = MadeFleet(mirrors=mirrors, files=FILES, replicas=replicas, rng=rng)
    fleet.tell()
    visitors = [Visitor(IPv4Address(rng.getrandbits(32)), drawn_place(rng)) for _ in range(PLACES)]
    return Site(fleet=fleet, rng=rng, visitors=visitors)


def _measured(site: Site, others: int) -> Figures:
    """Measure choices with so many other mirrors, by a policy of their own."""
    policy = site.policy()
    for visitor in site.visitors:
        policy.expect(visitor.place)
    while policy.prepare(now_s=NOW_S):
        pass

    def choose(file: PublishedFile, visitor: Visitor) -> Mirror | None:
        return policy.choose(file, visitor, others, now_s=NOW_S, rng=site.rng).mirror

    for _ in range(WARM_ROUNDS):
        _one_round(site, policy, choose)  # makes what is drawn by
    gc.unfreeze()  # the fleets before this one go
    gc.collect()
    gc.freeze()  # or the collector looks at the whole fleet now and then
    rounds = sorted((_one_round(site, policy, choose) for _ in range(ROUNDS)), key=lambda each: sum(each.same))[
        :QUIET_ROUNDS
    ]
    choices = sorted(taken for each in rounds for taken in each.choices)
    same = sorted(taken for each in rounds for taken in each.same)
    clock_us = _clock_us()
    return Figures(
        mean_us=_mean_us(site, policy, choose),
        median_us=statistics.median(choices) - clock_us,
        p99_us=_p99(choices) - clock_us,
        noise_us=_p99(same) - statistics.median(same),
    )


def _mean_us(site: Site, policy: Policy, choose: _Choose) -> float:
    """Give the processor time of a choice on the average: of a life with choices, less that of the same without.

    What the policy does for a grant after the choice is counted in. The least of both is taken before one is taken from
    the other: a round without choices that came to more would else make them look like less.
    """
    lives = [_lives_ns(site, policy, choose) for _ in range(MEANS)]
    with_ns, without_ns = map(min, zip(*lives, strict=True))
    return (with_ns - without_ns) / CHOICES / 1000


def _lives_ns(site: Site, policy: Policy, choose: _Choose) -> tuple[int, int]:
    """Give the processor time of a round of choices and what follows each, and of what follows the same choices."""
    policy.prepare(now_s=NOW_S)  # takes up what happened without it
    picked: list[int] = []
    begun_ns = time.thread_time_ns()
    for _ in range(CHOICES):
        file, visitor = site.question()
        mirror = choose(file, visitor)
        picked.append(mirror.number if mirror else 0)
        site.live_on(picked[-1], policy)
    between_ns = time.thread_time_ns()
    for number in picked:
        site.question()
        site.live_on(number)
    return between_ns - begun_ns, time.thread_time_ns() - between_ns


def _one_round(site: Site, policy: Policy, choose: _Choose) -> Round:
    """Take the time of each choice, by the wall: to ask for that of the processor takes as long as a choice."""
    taken = Round()
    for _ in range(CHOICES):
        file, visitor = site.question()
        before_ns = time.perf_counter_ns()
        mirror = choose(file, visitor)
        between_ns = time.perf_counter_ns()
        _work()
        after_ns = time.perf_counter_ns()
        taken.choices.append((between_ns - before_ns) / 1000)
        taken.same.append((after_ns - between_ns) / 1000)
        if mirror is None:
            raise RuntimeError("nobody was chosen of a fleet that is half idle")
        site.live_on(mirror.number, policy)
    return taken


def _work() -> int:
    """Do what always takes the same, and about as long as a pick."""
    return sum([number & 7 for number in range(80)])


def _clock_us() -> float:
    """Tell what it takes to read the clock."""
    taken: list[int] = []
    for _ in range(10_000):
        before_ns = time.perf_counter_ns()
        taken.append(time.perf_counter_ns() - before_ns)
    return statistics.median(taken) / 1000


def _p99(ordered: Sequence[float]) -> float:
    return ordered[len(ordered) * 99 // 100]


def _tell_of_rankings() -> None:
    """Say what rankings cost: of a few mirrors alone, of all, and when they are put right after a mirror has moved."""
    rng = Random(SEED)  # noqa: S311 - the same places each time
    print(f"{'mirrors':>8} {'of few':>8} {'made':>8} {'moved':>8}  us a ranking {'kB':>8}")
    for mirrors in FLEETS:
        atlas = _atlas(mirrors, rng)
        rankings = Rankings(atlas)
        places = [drawn_place(rng) for _ in range(COLD_PLACES)]
        pools = [sum(1 << number for number in rng.sample(range(mirrors), min(SPARSE_REPLICAS, mirrors)))]
        few_us = _asking_us(partial(rankings.for_pools, pools=pools), places)
        made_us = _asking_us(rankings.of, places)
        atlas.put(0, spot_of(drawn_profile(mirror_name(0), rng), EVERYBODY))
        moved_us = _asking_us(rankings.of, places)
        kilobytes = rankings.size_bytes / len(rankings) / 1000
        print(f"{mirrors:>8} {few_us:>8.1f} {made_us:>8.1f} {moved_us:>8.1f}  {kilobytes:>20.1f}")


def _asking_us(ask: Callable[[Place], object], places: Sequence[Place]) -> float:
    before_ns = time.thread_time_ns()
    for place in places:
        ask(place)
    return (time.thread_time_ns() - before_ns) / len(places) / 1000


def _crowded_bytes() -> int:
    """Ask for the rankings of more places than fit; give the memory that they really take."""
    rng = Random(SEED)  # noqa: S311 - the same places each time
    atlas = _atlas(FLEETS[-1], rng)
    places = [drawn_place(rng) for _ in range(CROWDED_PLACES)]
    tracemalloc.start()
    try:
        rankings = Rankings(atlas)
        for place in places:
            rankings.of(place)
        taken_bytes, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return taken_bytes


def _atlas(mirrors: int, rng: Random) -> Atlas:
    atlas = Atlas(near_km=RULES.near_km)
    for number in range(mirrors):
        atlas.put(number, spot_of(drawn_profile(mirror_name(number), rng), EVERYBODY))
    return atlas
