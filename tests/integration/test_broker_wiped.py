"""A broker that is lost with all its data, under a site at work: 1,000 files on 20 mirrors, and visitors all the time.

An empty node takes its place, with its default user only: no virtual host of the site, none of its users, no exchange,
no queue, no stream. Nothing else is started again. Within a minute all is there again and redirects are right; no
visitor was left without an answer; what was published meanwhile arrives.

Master, selector and three of the mirrors are processes of the real command. The other 17 mirrors are whole mirrors,
too (``mirror.app.run``), but share one process, and begin with a copy of what the first one fetched: they hold files
and rows, join, announce, fetch and serve like any.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import http.client
import itertools
import secrets
import shutil
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self, TypeAlias
from urllib.parse import urlsplit, urlunsplit

import pytest

from broker.config import BrokerConfig
from broker.node import PrivateNode
from broker.rabbitmq import RabbitBroker
from distributary.answers import number, objects, text, words
from distributary.client import Api
from distributary.demo.download import download
from distributary.errors import CommandError
from distributary.fleet.broker import FleetBroker
from distributary.fleet.fleet import Fleet, MirrorPlan
from distributary.fleet.process import RoleProcess
from distributary.fleet.waiting import wait_until
from distributary.join import CONFIG_NAME
from events.codec import decode
from events.envelope import Envelope
from history.sources.broker_log import BrokerLog

pytestmark = [pytest.mark.rabbitmq, pytest.mark.processes, pytest.mark.faults, pytest.mark.timeout(900)]

Place: TypeAlias = tuple[str, int, int]
"""A source, its epoch, and the number that it gave."""

VHOST, USER, PASSWORD = "releases", "site", "the-sites-own-password"
FIRST: Final = "m00"
AS_PROCESSES: Final = ("m01", "m02")
IN_THE_CROWD: Final = tuple(f"m{number:02}" for number in range(3, 20))
MIRRORS: Final = (FIRST, *AS_PROCESSES, *IN_THE_CROWD)
FILES: Final = 1000
TREES: Final = 4  # that are published at once
FEW_FILES: Final = 20  # of a channel that the processes alone follow: nobody may be sent to another mirror for one
FILE_BYTES: Final = 2000
SLOTS: Final = 5000  # what is granted while the broker is away stays reserved, for no mirror can report
SAMPLE: Final = 40  # files that are looked at by `where` and downloaded; the lists cover all
SETTLE_S: Final = 300.0  # before the loss; nothing is measured there
VISIT_EVERY_S: Final = 0.02
VISITOR: Final = "127.0.0.1"

RIGHT_WITHIN_S: Final = 60.0
# On a slower machine it may take longer, as many times as ...
BOOT_QUIET_S: Final = 10.0  # ... the empty node took longer to boot than on two quiet cores (7 to 10 s), or as ...
PROBE_QUIET: Final = 4.0  # ... a little work took longer, while all came back, than with the site alone on two cores.
PROBE_CPU_S: Final = 0.02
PROBE_EVERY_S: Final = 0.5


@dataclass(slots=True)
class Site:
    """A site, its broker's node, and what was published: path to sha256."""

    fleet: Fleet
    node: PrivateNode
    folder: Path
    urls: dict[str, str] = field(default_factory=dict[str, str])
    published: dict[str, str] = field(default_factory=dict[str, str])
    few: list[str] = field(default_factory=list[str])

    def publish(self, prefix: str, count: int, *channels: str) -> list[str]:
        """Publish a tree of random files; waits for no mirror."""
        tree = self.folder / "sources" / prefix
        tree.mkdir(parents=True)
        for place in range(count):
            (tree / f"{place:04}.bin").write_bytes(secrets.token_bytes(FILE_BYTES))
        self.fleet.publish(tree, as_=prefix, channels=list(channels) or None)
        sha256s = {f"{prefix}/{file.name}": hashlib.sha256(file.read_bytes()).hexdigest() for file in tree.iterdir()}
        self.published |= sha256s
        return sorted(sha256s)

    def holders(self, path: str) -> set[str]:
        """Give the mirrors that a visitor of this file may be sent to."""
        return {FIRST, *AS_PROCESSES} if path in self.few else set(MIRRORS)

    def sample(self) -> list[str]:
        """Draw files, some of the few among them."""
        return [*secrets.SystemRandom().sample(sorted(self.published), SAMPLE), *self.few[:3]]

    def held_by_first(self) -> int:
        """Count the files that the first mirror holds."""
        mirrors = objects(self.fleet.selector_api.get("/-/api/v1/mirrors"), "mirrors")
        return next((number(each, "copies") for each in mirrors if each["mirror"] == FIRST), 0)

    def listed(self) -> dict[str, set[str]]:
        """Give the mirrors of each file as the selector lists them."""
        return {text(each, "path"): set(words(each, "mirrors")) for each in self.fleet.files()}

    def qualifying(self, path: str) -> set[str]:
        """Give the mirrors of which the selector would choose for this file."""
        try:
            answer = self.fleet.where(path, VISITOR)
        except CommandError:
            return set()
        return {text(each, "mirror") for each in objects(answer, "ranked")}

    def is_right(self) -> bool:
        """Tell whether each file is listed on each mirror that it belongs to, and those would be chosen.

        What is cheap is asked first: it is asked again and again on the cores that all of them come back on.
        """
        wanted = {path: self.holders(path) for path in self.published}
        first, *others = self.sample()
        return (
            self.qualifying(first) == wanted[first]
            and self.listed() == wanted
            and all(self.qualifying(path) == wanted[path] for path in others)
        )

    def told(self) -> str:
        """Tell how it is, for a failure's message."""
        by_count = Counter(len(mirrors) for mirrors in self.listed().values())
        degraded = {role.command.name: Api(role.url, role=role.command.role).readiness() for role in self.roles}
        return f"files by how many mirrors they are on: {dict(by_count)}; {degraded}"

    @property
    def roles(self) -> list[RoleProcess]:
        """All that run as processes of their own."""
        return [self.fleet.master, self.fleet.selector, *self.fleet.mirrors.values()]


@pytest.fixture
def site(private_node: PrivateNode, tmp_path: Path) -> Iterator[Site]:
    """The site with all its mirrors, and a thousand files on each."""
    private_node.ctl("add_vhost", VHOST)
    private_node.ctl("add_user", USER, PASSWORD)
    private_node.ctl("set_permissions", "--vhost", VHOST, USER, ".*", ".*", ".*")
    parts = urlsplit(private_node.amqp_url)
    own_url = urlunsplit(parts._replace(netloc=f"{USER}:{PASSWORD}@127.0.0.1:{parts.port}", path=f"/{VHOST}"))
    broker = FleetBroker(amqp_url=own_url, management_url=private_node.management_url, origin="a node to be wiped")
    with Fleet(folder=tmp_path / "fleet", broker=broker) as fleet:
        site = Site(fleet, private_node, tmp_path)
        fleet.define_channel("all", {"paths_none": ["few/**"]})
        fleet.define_channel("few", {"paths_any": ["few/**"]})
        fleet.join(MirrorPlan(name=FIRST, channels=("all", "few"), slots=SLOTS))
        publish_all(site)
        others = join_others(fleet)  # meanwhile the first one fetches
        wait_until(lambda: site.held_by_first() == FILES + FEW_FILES, within_s=SETTLE_S, what=site.told)
        with running_with_copies(site, others):
            wait_until(site.is_right, within_s=SETTLE_S, what=site.told)
            yield site


def publish_all(site: Site) -> None:
    """Publish all files, some trees at once: for each file the master waits for its disk a few times."""
    with ThreadPoolExecutor() as pool:
        few = pool.submit(site.publish, "few", FEW_FILES)
        trees = [pool.submit(site.publish, f"release/{number}", FILES // TREES) for number in range(TREES)]
    site.few = few.result()
    assert sum(len(tree.result()) for tree in trees) == FILES


def join_others(fleet: Fleet) -> dict[str, RoleProcess]:
    """Let all other mirrors join; none is started."""
    return {
        name: fleet.joined(
            MirrorPlan(name=name, channels=("all", "few") if name in AS_PROCESSES else ("all",), slots=SLOTS)
        )
        for name in (*AS_PROCESSES, *IN_THE_CROWD)
    }


@contextlib.contextmanager
def running_with_copies(site: Site, roles: dict[str, RoleProcess]) -> Generator[None]:
    """Give other mirrors a copy of what the first one keeps; run all while the block is entered."""
    fleet, first = site.fleet, site.fleet.mirrors[FIRST]
    first.stop()
    for name in roles:
        copy(fleet.folder / "mirrors" / FIRST / "data", fleet.folder / "mirrors" / name / "data")
    fleet.mirrors |= {name: roles[name] for name in AS_PROCESSES}
    for mirror in fleet.mirrors.values():
        mirror.start()
    with crowd(fleet.folder / "mirrors" / name / CONFIG_NAME for name in IN_THE_CROWD) as urls:
        for mirror in fleet.mirrors.values():
            mirror.wait_ready()
        site.urls = {name: mirror.url for name, mirror in fleet.mirrors.items()}
        site.urls |= {name: next(url for url in urls if url == offered(roles[name])) for name in IN_THE_CROWD}
        yield


def offered(role: RoleProcess) -> str:
    """Give the URL that a mirror offered when it joined."""
    config = role.command.config.read_text()
    return next(line.split('"')[1] for line in config.splitlines() if line.startswith("url"))


def copy(source: Path, target: Path) -> None:
    """Copy a mirror's database, and its contents without their bytes: they are never changed."""
    target.mkdir(parents=True)
    shutil.copyfile(source / "state.db", target / "state.db")
    shutil.copytree(source / "obj", target / "obj", copy_function=lambda old, new: Path(new).hardlink_to(old))


@contextlib.contextmanager
def crowd(configs: Iterable[Path]) -> Generator[set[str]]:
    """Run mirrors in one process while the block is entered; give their URLs once all are ready."""
    names = [str(config) for config in configs]
    command = [sys.executable, str(Path(__file__).with_name("crowd_process.py")), *names]
    log = Path(names[0]).parent / "crowd.log"
    with (
        log.open("wb") as errors,
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors) as process,  # noqa: S603 - our own
    ):
        assert process.stdout is not None
        try:
            lines = itertools.islice(process.stdout, len(names))
            urls = {line.decode().strip() for line in lines}
            assert len(urls) == len(names), log.read_text()[-2000:]
            yield urls
        finally:
            process.kill()  # its folders are thrown away


class Visits:
    """Visits files in a random order, in a thread, all the time; notes every answer and what had none."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._paths = sorted(site.published)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._visit, name="visits")
        self.answers: list[tuple[str, int, str]] = []
        self.unanswered: list[str] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()

    def _visit(self) -> None:
        random = secrets.SystemRandom()
        while not self._stopped.wait(VISIT_EVERY_S):
            path = random.choice(self._paths)
            try:
                self.answers.append((path, *ask(self._site.fleet.site_url, path)))
            except (OSError, http.client.HTTPException) as error:
                self.unanswered.append(f"{path}: {error!r}")


def ask(site_url: str, path: str) -> tuple[int, str]:
    """Ask the selector as a visitor does, follow nothing; give the status and where it sends us."""
    with contextlib.closing(http.client.HTTPConnection(urlsplit(site_url).netloc, timeout=SETTLE_S)) as connection:
        connection.request("GET", f"/{path}")
        answer = connection.getresponse()
        return answer.status, answer.headers["Location"] or ""


class Slowness:
    """How many times longer than alone on a core a little work takes here, while the block is entered."""

    def __init__(self) -> None:
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._probe, name="slowness")
        self._ratios: list[float] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()

    @property
    def ratio(self) -> float:
        """On average, so far."""
        return statistics.fmean(self._ratios) if self._ratios else 1.0

    def _probe(self) -> None:
        while not self._stopped.wait(PROBE_EVERY_S):
            began_s, until_cpu_s = time.monotonic(), time.thread_time() + PROBE_CPU_S
            while time.thread_time() < until_cpu_s:
                pass
            self._ratios.append((time.monotonic() - began_s) / PROBE_CPU_S)


def test_wiped_broker_is_filled_again_under_way_and_visitors_notice_nothing(site: Site) -> None:
    fleet, node = site.fleet, site.node
    pids = [role.pid for role in site.roles]
    said_before = asyncio.run(read_log(site))
    with Visits(site) as visits:
        node.stop()
        shutil.rmtree(site.folder / "node" / "data")
        mistake, withdrawn = withdraw(site, "release/0/0007.bin")
        (meanwhile,) = site.publish("meanwhile", 1)
        began_s = time.monotonic()
        node.start()
        boot_s = time.monotonic() - began_s
        with Slowness() as slowness:
            right_s = time_until(site.is_right, site)
        allowed_s = RIGHT_WITHIN_S * max(1.0, boot_s / BOOT_QUIET_S, slowness.ratio / PROBE_QUIET)
        wait_until(lambda: len(visits.answers) > SAMPLE, within_s=SETTLE_S, what="visitors came")
    print(  # noqa: T201 - the figure, for whoever runs this with -s
        f"{FILES} files x {len(MIRRORS)} mirrors right again {right_s:.1f} s after the empty node took connections "
        f"(it booted in {boot_s:.1f} s; slowness {slowness.ratio:.1f}; allowed {allowed_s:.0f} s)"
    )
    expect_all_answered(site, visits, mistake)
    expect_right_downloads(site, [meanwhile, *site.sample()])
    assert ask(fleet.site_url, mistake)[0] == http.HTTPStatus.NOT_FOUND
    expect_removed(site, withdrawn)
    expect_numbers_go_on(said_before, asyncio.run(read_log(site)))
    assert [role.pid for role in site.roles] == pids
    assert right_s < allowed_s


def withdraw(site: Site, path: str) -> tuple[str, str]:
    """Withdraw a file; give its path and its sha256."""
    site.fleet.master_api.delete("/-/api/v1/files", {"path": path, "reason": "a test"})
    return path, site.published.pop(path)


def expect_removed(site: Site, sha256: str) -> None:
    """What was withdrawn while nobody could be told is removed from every mirror's store all the same."""
    kept = [site.fleet.folder / "mirrors" / name / "data/obj" / sha256[:2] / sha256[2:4] / sha256 for name in MIRRORS]
    wait_until(lambda: not any(path.exists() for path in kept), within_s=SETTLE_S, what=f"{sha256} is removed")


def time_until(condition: Callable[[], bool], site: Site) -> float:
    began_s = time.monotonic()
    wait_until(condition, within_s=SETTLE_S, what=site.told)
    return time.monotonic() - began_s


def expect_all_answered(site: Site, visits: Visits, mistake: str) -> None:
    """Each visitor was sent to a mirror that holds the file, or to the master; a withdrawn one may be gone."""
    assert visits.unanswered == []
    named = {url: name for name, url in site.urls.items()} | {site.fleet.master.url: ""}
    for path, status, location in visits.answers:
        if path == mistake and status == http.HTTPStatus.NOT_FOUND:
            continue
        parts = urlsplit(location)
        assert status == http.HTTPStatus.FOUND, (path, status)
        assert named[f"{parts.scheme}://{parts.netloc}"] in {"", *site.holders(path)}, (path, location)


def expect_right_downloads(site: Site, paths: Sequence[str]) -> None:
    """Downloads by the site's address come from mirrors that should hold them, and are what was published."""
    for path in paths:
        result = download(f"{site.fleet.site_url}/{path}", site.folder / "download")
        assert result.server in {site.urls[name] for name in site.holders(path)}, result.hops
        assert result.sha256 == site.published[path]


def expect_numbers_go_on(before: dict[Place, Envelope], after: dict[Place, Envelope]) -> None:
    """What went with the old log is missing visibly: no source numbers anew, and none uses a number twice."""
    reused = [place for place in before.keys() & after.keys() if before[place] != after[place]]
    assert reused == []
    spoke_before = {(source, epoch) for source, epoch, _ in before}
    first_now: dict[tuple[str, int], int] = {}
    for source, epoch, sequence in sorted(after):
        first_now.setdefault((source, epoch), sequence)
    goes_on = {speaker: first for speaker, first in first_now.items() if speaker in spoke_before}
    assert {source for source, _ in goes_on} >= {"master", *(f"mirror/{name}" for name in MIRRORS)}
    assert min(goes_on.values()) > 1, goes_on


async def read_log(site: Site) -> dict[Place, Envelope]:
    """Read all that the log holds now, of the newest generation or those before it."""
    async with RabbitBroker(BrokerConfig(url=site.fleet.broker.amqp_url)) as broker:
        source = BrokerLog(broker, vhost=VHOST, name="the node", clock_s=time.time)
        envelopes = [decode(entry.body) async for batch in source.batches() for entry in batch]
    return {(each.source, each.epoch, each.sequence): each for each in envelopes}
