"""kill -9 of each role and of the broker, ten times each, at random moments of publishing 200 files.

A round publishes a tree of 200 files and kills the victim once, at a random moment of that, and starts it again. A
publisher whose request is cut off asks again, as a person would. At the end of all rounds every file is on every
mirror with the right bytes, and the log holds each fact under one number, and no number is left out.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import secrets
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from broker.config import BrokerConfig
from broker.discovery import newest_generation
from broker.node import PrivateNode
from broker.port import Delivery, Message
from broker.rabbitmq import RabbitBroker
from broker.topology import log_stream
from distributary.answers import text
from distributary.errors import CommandError
from distributary.fleet.broker import FleetBroker
from distributary.fleet.fleet import Fleet, MirrorPlan
from distributary.fleet.process import RoleProcess
from distributary.fleet.waiting import wait_until
from events.codec import decode
from events.envelope import Envelope
from events.names import ORIGIN_CHANNEL
from events.schemas import FilePublished, ReplicaReady, tag_of

pytestmark = [pytest.mark.rabbitmq, pytest.mark.processes, pytest.mark.faults, pytest.mark.timeout(1500)]

MIRRORS = ("ana", "bob", "cat")
CHANNEL = "releases"
ROUNDS = 10
FILES = 200
FILE_BYTES_MAX = 40_000
CONVERGE_S = 180.0  # two cores, eight processes; seconds on a quiet machine
PUBLISH_AGAIN_S = 120.0
KILL_WITHIN_S = 5.0  # what a round takes on a quiet machine: the kill falls anywhere in it


@dataclass(slots=True)
class Site:
    """A fleet over a node of its own, and what was published there: path to sha256."""

    fleet: Fleet
    node: PrivateNode
    published: dict[str, str] = field(default_factory=dict[str, str])


@pytest.fixture
def site(private_node: PrivateNode, tmp_path: Path) -> Iterator[Site]:
    broker = FleetBroker(
        amqp_url=private_node.amqp_url, management_url=private_node.management_url, origin="a node to be killed"
    )
    with Fleet(folder=tmp_path / "fleet", broker=broker) as fleet:
        fleet.define_channel(CHANNEL)
        fleet.join(*(MirrorPlan(name=name, channels=(CHANNEL,)) for name in MIRRORS))
        yield Site(fleet, private_node)


@pytest.fixture
def rng(record_property: Callable[[str, object], None]) -> random.Random:
    """Chance that can be had again: the seed is in the report, and in the environment it may be set."""
    seed = int(os.environ.get("DISTRIBUTARY_FAULT_SEED", "0")) or secrets.randbits(32)
    record_property("DISTRIBUTARY_FAULT_SEED", seed)
    print(f"DISTRIBUTARY_FAULT_SEED={seed}")  # noqa: T201 - pytest shows it when the test fails
    return random.Random(seed)  # noqa: S311 - chance, not secrets


@pytest.mark.parametrize("role", ["master", "mirror", "selector", "broker"])
def test_nothing_is_lost_and_nothing_happens_twice_when_killed(
    role: str, site: Site, rng: random.Random, tmp_path: Path
) -> None:
    for number in range(ROUNDS):
        tree = make_tree(tmp_path / f"tree-{number}", rng)
        victim = pick(site, role, rng)
        publishing = threading.Thread(target=publish_until_done, args=(site, tree))
        publishing.start()
        publishing.join(rng.uniform(0.0, KILL_WITHIN_S))
        victim.kill()
        start_again(victim)
        publishing.join()
    expect_all_copies(site)
    expect_right_bytes(site)
    expect_each_fact_once(site)


def pick(site: Site, role: str, rng: random.Random) -> RoleProcess | PrivateNode:
    match role:
        case "master":
            return site.fleet.master
        case "selector":
            return site.fleet.selector
        case "mirror":
            return site.fleet.mirrors[rng.choice(MIRRORS)]
        case _:
            return site.node


def start_again(victim: RoleProcess | PrivateNode) -> None:
    victim.start()
    if isinstance(victim, RoleProcess):
        victim.wait_ready()


def make_tree(folder: Path, rng: random.Random) -> Path:
    folder.mkdir()
    for number in range(FILES):
        (folder / f"file-{number}").write_bytes(rng.randbytes(rng.randint(1, FILE_BYTES_MAX)))
    return folder


def publish_until_done(site: Site, tree: Path) -> None:
    """Publish a tree; ask again when the master dies under it."""

    def publish() -> list[dict[str, object]] | None:
        try:
            return site.fleet.publish(tree, as_=tree.name)
        except CommandError:
            return None

    lines = wait_until(publish, within_s=PUBLISH_AGAIN_S, what=f"{tree.name} is published")
    kept = [each for each in lines if each["type"] in {"published", "unchanged"}]
    assert len(kept) == FILES, lines[-1]
    for file in tree.iterdir():
        site.published[f"{tree.name}/{file.name}"] = hashlib.sha256(file.read_bytes()).hexdigest()


def expect_all_copies(site: Site) -> None:
    assert len(site.published) == ROUNDS * FILES
    wait_until(
        lambda: set(site.published) == site.fleet.held_by_all(MIRRORS),
        within_s=CONVERGE_S,
        what=f"all mirrors hold all files; missing: {sorted(set(site.published) - site.fleet.held_by_all(MIRRORS))}",
    )
    seen = {text(each, "path"): text(each, "sha256") for each in site.fleet.files()}
    assert seen == site.published


def expect_right_bytes(site: Site) -> None:
    wanted = set(site.published.values())
    for name in MIRRORS:
        objects = [file for file in (site.fleet.folder / "mirrors" / name).rglob("obj/*/*/*") if file.is_file()]
        assert {hashlib.sha256(file.read_bytes()).hexdigest() for file in objects} == wanted, name
        assert {file.name for file in objects} == wanted, name


def expect_each_fact_once(site: Site) -> None:
    """Each number of each source is in the log, and no two numbers tell the same."""
    envelopes = asyncio.run(read_log(site.node.amqp_url))
    said: defaultdict[tuple[str, int], list[Envelope]] = defaultdict(list)
    for envelope in sorted(envelopes.values(), key=lambda each: each.version):
        if not envelope.source.startswith("selector/"):  # a selector numbers what it may lose when it is killed
            said[envelope.source, envelope.epoch].append(envelope)
    assert [gap for ordered in said.values() for gap in gaps(ordered)] == []
    assert {source for source, _ in said} == {"master", *(f"mirror/{name}" for name in MIRRORS)}
    told = Counter(fact for envelope in envelopes.values() if (fact := what_happened(envelope)) is not None)
    assert set(told.values()) == {1}, [fact for fact, times in told.items() if times > 1]
    assert len(told) == len(site.published) * (2 + len(MIRRORS))  # in origin, in the channel, ready on each mirror


def gaps(ordered: list[Envelope]) -> list[str]:
    """Name the numbers that one epoch of a source leaves out, and what stands before and after."""
    found: list[str] = []
    number, name = 0, "the beginning"
    for envelope in ordered:
        now = f"{envelope.sequence} {tag_of(envelope.event)}"
        if envelope.sequence > number + 1:
            missing = f"{number + 1} to {envelope.sequence - 1}"
            found.append(f"{envelope.source} epoch {envelope.epoch}: no {missing}, between {name} and {now}")
        number, name = envelope.sequence, now
    return found


def what_happened(envelope: Envelope) -> tuple[str, ...] | None:
    match envelope.event:
        case FilePublished() as event:
            channel = "origin" if event.channel == ORIGIN_CHANNEL else "channel"
            return ("published", channel, event.path, str(event.generation))
        case ReplicaReady() as event:
            return ("ready", event.mirror, event.sha256.hex())
        case _:
            return None


async def read_log(amqp_url: str) -> dict[str, Envelope]:
    """Read the whole log; by id, since at least once means that the same fact may stand there again."""
    envelopes: dict[str, Envelope] = {}
    marker = secrets.token_hex(8)
    done = asyncio.Event()

    def fold(delivery: Delivery) -> None:
        if delivery.message_id == marker:
            done.set()
            return
        envelope = decode(delivery.body)
        envelopes[envelope.id] = envelope

    async with RabbitBroker(BrokerConfig(url=amqp_url)) as broker:
        generation = await newest_generation(broker)
        assert generation == 1, "a healthy log is not given up"
        # First the marker: on a busy machine the backlog of the log keeps its confirmation waiting past all limits.
        await broker.publish(
            Message(exchange="", routing_key=log_stream(generation), message_id=marker, type="marker", body=b"")
        )
        following = asyncio.create_task(broker.follow(log_stream(generation), fold))
        await asyncio.wait_for(done.wait(), CONVERGE_S)
        following.cancel()
    return envelopes
