"""A fleet under load whose processes are killed at random moments, and what its log tells of it afterwards.

Two selectors, a master and three mirrors run as the real command over a node of RabbitMQ of their own. Visitors come,
files are published, replaced and withdrawn, and now and then one of all these is ended by ``kill -9`` and started
again. At random moments each selector hands out what it knows. In the end the log is read: folded up to where a
selector had read it, it must give what that one knew; and each recorded decision must come out of it again.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import random
import secrets
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from itertools import count
from pathlib import Path
from typing import Final, Self
from urllib.parse import urlsplit

from broker.config import BrokerConfig
from broker.node import PrivateNode
from broker.ports import draw_ports
from broker.rabbitmq import RabbitBroker
from distributary.errors import CommandError
from distributary.fleet.broker import FleetBroker
from distributary.fleet.fleet import Fleet, MirrorPlan
from distributary.fleet.process import RoleCommand, RoleProcess, stop_all
from distributary.fleet.waiting import wait_until
from history.audit.audit import Audit, audit
from history.entry import Entry, Position
from history.replay.replayer import Replayer
from history.sources.broker_log import BrokerLog
from history.sources.memory import MemorySource
from selection.following.snapshot import Found, Part, read, site_of
from selection.view.differences import Difference, differences
from selection.view.snapshot import load

CHANNEL: Final = "releases"
LOCATIONS: Final = {"ana": "41.15,-8.61", "bob": "59.91,10.75", "cat": "35.68,139.69"}
FILES_AT_FIRST: Final = 30
FILE_BYTES: Final = 20_000
VISITORS: Final = 300  # so few that many come again while their place is kept
DOWNLOADED_FRACTION: Final = 0.3
ANSWER_WITHIN_S: Final = 30.0
HANDED_OUT_WITHIN_S: Final = 90.0  # a selector that was just killed is back in seconds, on a loaded machine in more
DOWN_S_MAX: Final = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How long, how often each selector is looked at, how often something is killed, and by which dice."""

    seconds: float
    moments: int
    kill_every_s: float
    visits_per_second: float
    broker_kills: int
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What a selector knew at a moment."""

    selector: str
    found: Found

    @property
    def place(self) -> Position:
        """Give up to where it had read the log."""
        return Position(self.found.mark.generation, self.found.mark.offset)


@dataclass(slots=True, kw_only=True)
class Aftermath:
    """What came of it. ``wrong`` has, for each look that the log does not confirm, the first differences."""

    looks: int = 0
    wrong: list[str] = field(default_factory=list[str])
    kills: Counter[str] = field(default_factory=Counter[str])
    visits: Counter[int] = field(default_factory=Counter[int])
    audit: Audit

    def lines(self) -> Iterator[str]:
        """Tell it, a line each."""
        found = self.audit
        yield f"kills: {_told(self.kills)}; answers: {_told(self.visits)}"
        yield f"log: {found.entries} entries of {found.sources} sources, {found.repeated} repeated"
        yield f"views: {self.looks} looked at, {len(self.wrong)} not as the log has it"
        yield from self.wrong
        yield f"decisions: {found.reproduced} made again alike, {found.doubted.total()} in doubt"
        yield from (f"  {count} since {reason}" for reason, count in found.doubted.items())
        yield f"findings: {_told(Counter({kind.code: count for kind, count in found.findings.counts.items()}))}"
        yield from (f"  {each}" for each in found.findings.kept()[:10])


class Storm:
    """The fleet and what befalls it. ``with Storm(node, folder, plan) as storm: storm.rage()``."""

    def __init__(self, node: PrivateNode, folder: Path, plan: Plan) -> None:
        self._node, self._folder, self._plan = node, folder, plan
        broker = FleetBroker(amqp_url=node.amqp_url, management_url=node.management_url, origin="a node to be killed")
        settings = ("selector.trusted_proxies=127.0.0.1/32",)
        self._fleet = Fleet(folder=folder / "fleet", broker=broker, selector_overrides=settings)
        self._second = self._second_selector(settings)
        self._over = threading.Event()
        self._looks: list[Look] = []
        self._paths: list[str] = []
        self._kills: Counter[str] = Counter()
        self._visits: Counter[int] = Counter()

    def __enter__(self) -> Self:
        """Start all of it."""
        self._fleet.__enter__()
        try:
            self._second.start()
            self._fleet.define_channel(CHANNEL)
            self._fleet.join(
                *(MirrorPlan(name=name, channels=(CHANNEL,), location=place) for name, place in LOCATIONS.items())
            )
            self._second.wait_ready()
            for number in range(FILES_AT_FIRST):
                self._publish(f"first/{number}.bin")
            self._fleet.wait_copies(self._paths, list(LOCATIONS))
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Stop what runs."""
        stop_all([self._second])
        self._fleet.stop()

    def rage(self) -> Aftermath:
        """Let it happen, and look at the log afterwards."""
        visits = (partial(self._visit, role) for role in self._selectors)
        works: list[Callable[[random.Random], None]] = [self._kill, self._look, self._change, *visits]
        with ThreadPoolExecutor(len(works)) as threads:
            rngs = (random.Random(f"{self._plan.seed} {number}") for number in count())  # noqa: S311 - chance
            working = [threads.submit(work, rng) for work, rng in zip(works, rngs, strict=False)]
            wait(working, timeout=self._plan.seconds, return_when=FIRST_EXCEPTION)
            self._over.set()
        for work in working:
            work.result()
        self.__exit__()
        return asyncio.run(self._aftermath())

    @property
    def _selectors(self) -> Sequence[RoleProcess]:
        return self._fleet.selector, self._second

    def _second_selector(self, settings: Sequence[str]) -> RoleProcess:
        (port,) = draw_ports(1)
        overrides = (*settings, "selector.name=second", f"selector.listen=127.0.0.1:{port}")
        return RoleProcess(
            RoleCommand(
                name="second",
                role="selector",
                config=self._fleet.config,
                log_file=self._fleet.folder / "logs" / "second.log",
                overrides=overrides,
            )
        )

    def _kill(self, rng: random.Random) -> None:
        """Kill one after the other, all of them at first, and the broker so often as the plan has it."""
        plan = self._plan
        roles = [self._fleet.master, *self._selectors, *self._fleet.mirrors.values()]
        at_broker = sorted(rng.uniform(0, plan.seconds) for _ in range(plan.broker_kills))
        due: list[RoleProcess] = []
        began_s = time.monotonic()
        while not self._over.wait(rng.uniform(0.0, 2 * plan.kill_every_s)):
            if at_broker and time.monotonic() - began_s >= at_broker[0]:
                at_broker.pop(0)
                self._kills["broker"] += 1
                self._node.kill()
                self._node.start()
                continue
            due = due or rng.sample(roles, len(roles))
            role = due.pop()
            self._kills[role.command.name] += 1
            role.kill()
            self._over.wait(rng.uniform(0.0, DOWN_S_MAX))
            role.restart()

    def _look(self, rng: random.Random) -> None:
        """Let each selector hand out what it knows, at random moments; at the last ones all is over already."""
        plan, began_s = self._plan, time.monotonic()
        for moment_s in sorted(rng.uniform(0, plan.seconds) for _ in range(plan.moments)):
            self._over.wait(max(0.0, began_s + moment_s - time.monotonic()))
            for role in self._selectors:
                self._looks.append(self._handed_out(role))

    def _handed_out(self, role: RoleProcess) -> Look:
        secret = bytes.fromhex((self._fleet.folder / "site.secret").read_text())

        def look() -> Look | None:
            status, body = _get(role.url, "/-/api/v1/snapshot")
            if status != HTTPStatus.OK:
                return None
            return Look(selector=role.command.name, found=read(body, site=site_of(secret)))

        return wait_until(look, within_s=HANDED_OUT_WITHIN_S, what=f"{role.command.name} hands out what it knows")

    def _visit(self, role: RoleProcess, rng: random.Random) -> None:
        """Come to one selector again and again; take what some are sent to."""
        pause_s = len(self._selectors) / self._plan.visits_per_second
        while not self._over.wait(rng.expovariate(1 / pause_s)):
            visitor = random.Random(rng.randrange(VISITORS))  # noqa: S311 - the same visitors again
            address = ".".join(str(visitor.randint(1, 223)) for _ in range(4))
            status, location = _get(role.url, f"/{rng.choice(self._paths)}", address=address)
            self._visits[status] += 1
            if status == HTTPStatus.FOUND and rng.random() < DOWNLOADED_FRACTION:
                parts = urlsplit(location.decode())
                _get(f"{parts.scheme}://{parts.netloc}", f"{parts.path}?{parts.query}".rstrip("?"))

    def _change(self, rng: random.Random) -> None:
        """Publish, replace and withdraw."""
        number = 0
        while not self._over.wait(rng.uniform(0.2, 1.5)):
            number += 1
            with contextlib.suppress(CommandError):  # the master was killed, or is about to be
                match rng.randrange(4):
                    case 0 if len(self._paths) > FILES_AT_FIRST:
                        path = self._paths.pop(rng.randrange(len(self._paths)))
                        self._fleet.master_api.delete("/-/api/v1/files", {"path": path, "reason": "a storm"})
                    case 1:
                        self._publish(rng.choice(self._paths))
                    case _:
                        self._publish(f"later/{number}.bin")

    def _publish(self, path: str) -> None:
        source = self._folder / "sources" / f"{time.monotonic_ns()}.bin"  # the master serves it in place
        source.parent.mkdir(exist_ok=True)
        source.write_bytes(secrets.token_bytes(FILE_BYTES))
        self._fleet.publish(source, as_=path)
        if path not in self._paths:
            self._paths.append(path)

    async def _aftermath(self) -> Aftermath:
        source = await self._log()
        found = Aftermath(looks=len(self._looks), kills=self._kills, visits=self._visits, audit=await audit(source))
        replayer = Replayer(vhost=source.vhost)
        entries = await _all(source)
        for look in sorted(self._looks, key=lambda look: look.place):
            ahead = [entry for entry in entries if replayer.position is None or entry.position > replayer.position]
            replayer.fold_until(ahead, look.place)
            if problem := _problem(look, replayer):
                found.wrong.append(problem)
        return found

    async def _log(self) -> MemorySource:
        """Read the whole log into memory."""
        config = BrokerConfig(url=self._node.amqp_url)
        async with RabbitBroker(config) as broker:
            source = BrokerLog(broker, vhost=config.vhost, name="the storm's node", clock_s=time.time)
            return MemorySource(await _all(source), vhost=source.vhost)


async def _all(source: MemorySource | BrokerLog) -> list[Entry]:
    return [entry async for batch in source.batches() for entry in batch]


def _problem(look: Look, replayer: Replayer) -> str:
    """Tell what the log does not confirm; empty where it confirms all."""
    where = f"{look.selector} at g{look.place.generation}:{look.place.offset}"
    if (replayer.position, replayer.message_id) != (look.place, look.found.mark.message_id):
        return f"{where}: the log has {replayer.message_id} at {replayer.position}, not {look.found.mark.message_id}"
    found: list[Difference] = list(differences(replayer.view, load(look.found.parts[Part.VIEW])))
    return f"{where}: {len(found)} differences, such as {found[:5]}" if found else ""


def _get(url: str, target: str, *, address: str = "") -> tuple[int, bytes]:
    """Ask once; give the status, 0 where nobody answers, and where it sends us or else the body."""
    headers = {"X-Forwarded-For": address} if address else {}
    with contextlib.closing(http.client.HTTPConnection(urlsplit(url).netloc, timeout=ANSWER_WITHIN_S)) as connection:
        try:
            connection.request("GET", target, headers=headers)
            answer = connection.getresponse()
            location = answer.headers["Location"]
            return answer.status, location.encode() if location else answer.read()
        except (OSError, http.client.HTTPException) as error:
            return 0, str(error).encode()


def _told(counts: Counter[str] | Counter[int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.most_common()) or "none"
