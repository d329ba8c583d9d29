"""What a redirect costs: processor time of a selector beside nginx's ``return 302``, on this machine, in one run.

The selector is a real one: its view is fed by a real log over RabbitMQ, places are known, each visitor comes from an
address of his own (as a proxy on this machine tells; ``bench.crowd`` says from which), grants are signed, claims and
reservations kept, each decision is recorded whole, and each grant is said to the broker and counted when it comes back.
A crowd is measured while it lasts, and not from its first visitor on: what is said later of those who come now takes as
much as what is said now of those who came before. (Of 10,000 mirrors as many messages are said as in the long run, but
they are not as full yet.) ``aiohttp`` is the same selector without the fast lane. nginx writes no log. Rounds take
turns, and medians are compared: what else the machine does meets both alike. Broker and visitors (``wrk``) are not
counted. One selector runs at a time, beside nginx, and its ratio to that is what it is compared by: two read each
other's notices, which is a row of its own.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from random import Random
from typing import IO, Final

import msgspec

from bench.cpu import spent_s, wait_until_quiet
from bench.crowd import Crowd, Visits, visit
from bench.logged_fleet import LoggedFleet, log_fleet
from bench.nginx import PrivateNginx
from bench.selector import READY, Order
from bench.verdict import Verdict
from broker.ports import draw_ports
from distributary.fleet.broker import open_broker
from selection.answering.announcer import BATCHES_PER_TURN, TURN_S

ROUNDS: Final = 3
WARM_UP_S: Final = 3  # some visitors from nearly each of their networks
RISE_S: Final = 1.0  # of each crowd, until notices of the first are said and read back
RISE_S_MAX: Final = 12.0  # until 1,000 mirrors have a notice; of 10,000 an eighth have
MEASURED_S: Final = 3.0
FALL_S: Final = 1.0  # more than a crowd takes to begin
SEED: Final = 302
STOP_TIMEOUT_S: Final = 30.0
KEPT_GOAL: Final = 2.2
NEW_GOAL: Final = 2.0
GROWTH_GOAL: Final = 1.1
AIOHTTP_GOAL: Final = 0.25
P50_GOAL: Final = 1.5
P99_GOAL: Final = 2.0

_NGINX: Final = "server {{ listen 127.0.0.1:{port}; location / {{ return 302 https://m1.example/d/x; }} }}"


@dataclass(frozen=True, slots=True)
class Scene:
    """So many mirrors, all of which hold so many files."""

    mirrors: int
    files: int

    def __str__(self) -> str:
        """Name it."""
        return f"{self.mirrors} mirrors, {self.files} files"


MAIN: Final = Scene(50, 1000)
GROWN: Final = (Scene(1000, 1000), Scene(10_000, 100), Scene(50, 100_000))
SCENES: Final = (Scene(10, 1000), MAIN, Scene(200, 1000), *GROWN)


@dataclass(frozen=True, slots=True)
class Server:
    """One of those that are compared."""

    name: str
    port: int
    pid: int


@dataclass(frozen=True, slots=True)
class Cost:
    """What one round showed."""

    cpu_us: float
    visits: Visits


class Stage:
    """nginx and a broker, for one scene after the other."""

    def __init__(self, folder: Path, environ: Mapping[str, str], nginx: Server) -> None:
        self._folder, self._environ, self._nginx = folder, environ, nginx
        self._seeds = count(SEED)

    @contextmanager
    def beside(
        self, scene: Scene, *, fast_lane: bool = True, with_another: bool = False
    ) -> Generator[tuple[Server, Server]]:
        """Run nginx and a selector while the block is entered; ``with_another`` that only reads along."""
        with ExitStack() as stack:
            broker = stack.enter_context(open_broker(self._environ, self._folder / f"broker-{next(self._seeds)}"))
            fleet = LoggedFleet(mirrors=scene.mirrors, files=scene.files, replicas=scene.mirrors, rng=Random(SEED))  # noqa: S311 - the same each time
            asyncio.run(log_fleet(fleet, broker.amqp_url))
            log = stack.enter_context((self._folder / "selectors.log").open("ab"))
            name = "lane" if fast_lane else "aiohttp"
            selector = stack.enter_context(_selector(name, broker.amqp_url, log, fast_lane=fast_lane))
            if with_another:
                stack.enter_context(_selector("another", broker.amqp_url, log, fast_lane=True))
            yield self._nginx, selector

    def compare(self, servers: Sequence[Server], crowd: Crowd, title: str, *, rise_s: float = RISE_S) -> list[Cost]:
        """Let a crowd come to some servers in turns; measure each so long after it began, and give the medians."""
        for server in servers:
            self._visit(server, crowd, WARM_UP_S)  # rankings, caches, code that runs first
        rounds = [[self._round(server, crowd, rise_s) for server in servers] for _ in range(ROUNDS)]
        costs = [_median(column) for column in zip(*rounds, strict=True)]
        for server, cost in zip(servers, costs, strict=True):
            seen = cost.visits
            print(
                f"{title:>48} {server.name:>8} {cost.cpu_us:>8.1f} us {seen.per_second:>8.0f} /s"
                f" p50 {seen.p50_ms:>6.2f} ms p99 {seen.p99_ms:>6.2f} ms"
            )
        return costs

    def _round(self, server: Server, crowd: Crowd, rise_s: float) -> Cost:
        """Let visitors come, and see what the server takes in the midst of it."""
        wait_until_quiet([server.pid])
        seconds = round(rise_s + MEASURED_S + FALL_S)
        with ThreadPoolExecutor(1) as threads:
            visiting = threads.submit(self._visit, server, crowd, seconds)
            time.sleep(rise_s)
            before_s, from_s = spent_s([server.pid]), time.monotonic()
            time.sleep(MEASURED_S)
            spent, measured_s = spent_s([server.pid]) - before_s, time.monotonic() - from_s
            visits = visiting.result()
        return Cost(1e6 * spent / (visits.per_second * measured_s), visits)

    def _visit(self, server: Server, crowd: Crowd, seconds: int) -> Visits:
        return visit(crowd, server.port, self._folder, seed=next(self._seeds), seconds=seconds)


async def measure() -> tuple[Verdict, ...]:
    """Compare; print the table."""
    return await asyncio.to_thread(_measure, os.environ)


def _measure(environ: Mapping[str, str]) -> tuple[Verdict, ...]:
    with tempfile.TemporaryDirectory(prefix="distributary-bench-") as name:
        (port,) = draw_ports(1)
        with PrivateNginx(Path(name) / "nginx", _NGINX.format(port=port), port=port) as nginx:
            stage = Stage(Path(name), environ, Server("nginx", port, nginx.pid))
            found: list[Verdict] = []
            ratios: dict[Scene, float] = {}
            for scene in SCENES:
                with stage.beside(scene) as servers:
                    costs = stage.compare(servers, Crowd(files=scene.files), str(scene), rise_s=_rise_s(scene))
                    ratios[scene] = _ratio(costs)
                    if scene == MAIN:
                        found += _others(stage, servers, costs[1])
            return (*_kept(stage, ratios[MAIN]), *found, *_growth(ratios))


def _rise_s(scene: Scene) -> float:
    return min(RISE_S + scene.mirrors * TURN_S / BATCHES_PER_TURN, RISE_S_MAX)


def _ratio(costs: Sequence[Cost]) -> float:
    """Give what a selector takes of nginx's, which ran beside it."""
    plain, selector = costs
    return selector.cpu_us / plain.cpu_us


def _kept(stage: Stage, ratio: float) -> list[Verdict]:
    """Compare kept connections with nginx, and with aiohttp alone; show what another selector adds."""
    crowd, rise_s = Crowd(files=MAIN.files), _rise_s(MAIN)
    with stage.beside(MAIN, with_another=True) as servers:
        stage.compare(servers, crowd, "beside another selector", rise_s=rise_s)
    with stage.beside(MAIN, fast_lane=False) as servers:
        of_aiohttp = _ratio(stage.compare(servers, crowd, "without the lane", rise_s=rise_s))
    return [
        Verdict(name="redirect against nginx, kept connections", figure=ratio, goal=KEPT_GOAL, unit="x"),
        Verdict(name="with the lane against aiohttp alone", figure=ratio / of_aiohttp, goal=AIOHTTP_GOAL, unit="x"),
    ]


def _others(stage: Stage, servers: Sequence[Server], busy: Cost) -> list[Verdict]:
    """Compare new connections, and how long visitors wait at half the selector's rate."""
    crowd = Crowd(files=MAIN.files)
    plain, lane = stage.compare(servers, replace(crowd, is_new_each_time=True), "a new connection each")
    stage.compare(servers, replace(crowd, are_strangers=True), "nobody from where others were")
    pause_ms = 2e3 * crowd.connections / busy.visits.per_second
    plain_half, lane_half = stage.compare(servers, replace(crowd, pause_ms=pause_ms), "half of that rate")
    waits, plain_waits = lane_half.visits, plain_half.visits
    return [
        Verdict(
            name="redirect against nginx, new connections", figure=lane.cpu_us / plain.cpu_us, goal=NEW_GOAL, unit="x"
        ),
        Verdict(
            name="p50 at half load against nginx", figure=waits.p50_ms / plain_waits.p50_ms, goal=P50_GOAL, unit="x"
        ),
        Verdict(
            name="p99 at half load against nginx", figure=waits.p99_ms / plain_waits.p99_ms, goal=P99_GOAL, unit="x"
        ),
    ]


def _growth(ratios: Mapping[Scene, float]) -> list[Verdict]:
    return [
        Verdict(name=f"{scene}, against {MAIN}", figure=ratios[scene] / ratios[MAIN], goal=GROWTH_GOAL, unit="x")
        for scene in GROWN
    ]


@contextmanager
def _selector(name: str, amqp_url: str, log: IO[bytes], *, fast_lane: bool) -> Generator[Server]:
    (port,) = draw_ports(1)
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.selector"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log
    )
    assert process.stdin is not None  # noqa: S101 - we asked for it
    assert process.stdout is not None  # noqa: S101 - we asked for it
    try:
        process.stdin.write(msgspec.json.encode(Order(name=name, amqp_url=amqp_url, port=port, fast_lane=fast_lane)))
        process.stdin.close()
        while READY not in (line := process.stdout.readline().decode()):
            if not line:
                raise RuntimeError("the selector ended before it was ready")
        yield Server(name, port, process.pid)
    finally:
        process.terminate()
        try:
            process.wait(STOP_TIMEOUT_S)
        finally:
            process.kill()
            process.stdout.close()


def _median(costs: Sequence[Cost]) -> Cost:
    """Give the median of each figure."""
    seen = [cost.visits for cost in costs]
    return Cost(
        statistics.median(cost.cpu_us for cost in costs),
        Visits(
            per_second=statistics.median(visits.per_second for visits in seen),
            p50_ms=statistics.median(visits.p50_ms for visits in seen),
            p99_ms=statistics.median(visits.p99_ms for visits in seen),
        ),
    )
