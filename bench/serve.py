"""What serving costs: processor time of a mirror beside that of Debian's nginx, on this machine, in one run.

Large files: seconds for each GB. Files of 10 kB: microseconds for each request. The mirror is a real one: it joined a
site by invitation, holds the files, proves a grant of its own for each download, keeps slots and quota, and tells its
downloads to the site over RabbitMQ; all that is counted, the master, the broker and the visitors are not. nginx sends
the same files by ``sendfile`` and writes no log. Rounds take turns, and medians are compared: what else the machine
does meets all servers alike.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from ipaddress import ip_address
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from bench.cpu import spent_s, wait_until_quiet
from bench.nginx import PrivateNginx
from bench.verdict import Verdict
from broker.ports import draw_ports
from distributary.cli.nginx import plan_of
from distributary.config.load import load
from distributary.config.services.mirror import read_credentials
from distributary.fleet.broker import open_broker
from distributary.fleet.fleet import Fleet, MirrorPlan
from distributary.join import CREDENTIALS_NAME
from events.grants import GRANT_ID_BYTES, Grant, bind, mint
from events.names import Digest
from mirror.config import MirrorCredentials
from mirror.serving.nginx import snippet

CHANNEL: Final = "bench"
EXTERNAL: Final = ("mirror.serve=external", "mirror.trusted_proxies=127.0.0.1/32")
GRANT_S: Final = 3600
VISIT_TIMEOUT_S: Final = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What visitors ask for in one round."""

    name: str
    size_bytes: int
    downloads: int
    connections: int
    rounds: int
    unit: str
    per_unit: Callable[[float], float]
    builtin_goal: float
    external_goal: float


LARGE: Final = Work(
    name="CPU-s per GB",
    size_bytes=250_000_000,
    downloads=8,
    connections=4,
    rounds=9,  # of two seconds each: nginx alone differs by a third from one to the next
    unit="s",
    per_unit=lambda spent_s: spent_s / 2,
    builtin_goal=2.2,
    external_goal=1.15,
)
SMALL: Final = Work(
    name="CPU-us per 10 kB request",
    size_bytes=10_000,
    downloads=1500,
    connections=8,
    rounds=9,  # of a second each: what else the machine does makes some of them half as dear again
    unit="us",
    per_unit=lambda spent_s: spent_s * 1e6 / 1500,
    builtin_goal=25.0,
    external_goal=6.0,
)
WORKS: Final = (LARGE, SMALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """One of those that are compared. ``path_of`` gives a fresh path for a file of this size."""

    name: str
    port: int
    pids: tuple[int, ...]
    path_of: Callable[[Work], str]


@dataclass(slots=True, kw_only=True)
class Stage:
    """The files, published, and who serves them."""

    folder: Path
    stack: ExitStack
    environ: Mapping[str, str]
    digests: dict[str, Digest] = field(default_factory=dict[str, Digest])

    def servers(self) -> tuple[Server, ...]:
        """Start all that are to be compared."""
        broker = self.stack.enter_context(open_broker(self.environ, self.folder / "broker"))
        fleet = self.stack.enter_context(Fleet(folder=self.folder / "site", broker=broker))
        files = self._files()
        plain = self._plain_nginx(files)
        fleet.define_channel(CHANNEL)
        fleet.join(MirrorPlan(name="ana", channels=(CHANNEL,)))
        fleet.mirror_overrides = EXTERNAL
        fleet.join(MirrorPlan(name="bob", channels=(CHANNEL,)))
        for work in WORKS:
            answer = fleet.publish(files / _file_name(work), as_=_file_name(work))
            self.digests[work.name] = _digest(answer)
        fleet.wait_copies([_file_name(work) for work in WORKS], ["ana", "bob"])
        return plain, self._mirror(fleet, "ana", "built-in"), self._external(fleet)

    def _files(self) -> Path:
        files = self.folder / "files"
        files.mkdir()
        for work in WORKS:
            (files / _file_name(work)).write_bytes(secrets.token_bytes(work.size_bytes))
        return files

    def _plain_nginx(self, files: Path) -> Server:
        (port,) = draw_ports(1)
        server = f"server {{ listen 127.0.0.1:{port}; root {files}; }}"
        nginx = self.stack.enter_context(PrivateNginx(self.folder / "plain", server, port=port))
        return Server(name="nginx", port=port, pids=(nginx.pid,), path_of=lambda work: f"/{_file_name(work)}")

    def _mirror(self, fleet: Fleet, name: str, title: str) -> Server:
        mirror = fleet.mirrors[name]
        credentials = read_credentials(mirror.command.config.parent / CREDENTIALS_NAME)
        return Server(
            name=title,
            port=urlsplit(mirror.url).port or 0,
            pids=(mirror.pid or 0,),
            path_of=lambda work: _granted(work, self.digests[work.name], credentials),
        )

    def _external(self, fleet: Fleet) -> Server:
        """Put an nginx of its own before a mirror, with the configuration that the mirror's operator is given."""
        mirror = self._mirror(fleet, "bob", "external")
        (port,) = draw_ports(1)
        config = fleet.mirrors["bob"].command.config
        overrides = (*EXTERNAL, f"mirror.url=http://127.0.0.1:{port}")
        plan = plan_of(load(config=config, overrides=overrides, environ={}, cwd=self.folder))
        nginx = self.stack.enter_context(PrivateNginx(self.folder / "external", snippet(plan), port=port))
        return replace(mirror, port=port, pids=(*mirror.pids, nginx.pid))


async def measure() -> tuple[Verdict, ...]:
    """Compare; print each round."""
    return await asyncio.to_thread(_measure, os.environ)


def _measure(environ: Mapping[str, str]) -> tuple[Verdict, ...]:
    with tempfile.TemporaryDirectory(prefix="distributary-bench-") as name, ExitStack() as stack:
        servers = Stage(folder=Path(name), stack=stack, environ=environ).servers()
        print(f"{'':>26} " + " ".join(f"{server.name:>10}" for server in servers))
        return tuple(verdict for work in WORKS for verdict in _compare(work, servers))


def _compare(work: Work, servers: Sequence[Server]) -> list[Verdict]:
    for server in servers:
        _visit(server, work, 2 * work.connections)  # caches, and code that runs for the first time
    rounds = [[_one_round(server, work) for server in servers] for _ in range(work.rounds)]
    for number, figures in enumerate(rounds, 1):
        print(_row(f"{work.name}, round {number}", figures))
    medians = [statistics.median(column) for column in zip(*rounds, strict=True)]
    print(_row(f"{work.name}, median", medians))
    goals = (work.builtin_goal, work.external_goal)
    return [
        Verdict(name=f"{work.name}, {server.name} against nginx", figure=median / medians[0], goal=goal, unit="x")
        for server, median, goal in zip(servers[1:], medians[1:], goals, strict=False)
    ]


def _row(title: str, figures: Sequence[float]) -> str:
    return f"{title:>34} " + " ".join(f"{figure:>10.3f}" for figure in figures)


def _one_round(server: Server, work: Work) -> float:
    """Let visitors come and wait until the server has done all that follows; give the cost of one unit."""
    wait_until_quiet(server.pids)
    before_s = spent_s(server.pids)
    _visit(server, work, work.downloads)
    wait_until_quiet(server.pids)
    return work.per_unit(spent_s(server.pids) - before_s)


def _visit(server: Server, work: Work, downloads: int) -> None:
    paths = "\n".join(server.path_of(work) for _ in range(downloads))
    subprocess.run(  # noqa: S603 - our own interpreter on our own module
        [sys.executable, "-m", "bench.visitor", "127.0.0.1", str(server.port), str(work.connections)],
        input=paths,
        text=True,
        check=True,
        timeout=VISIT_TIMEOUT_S,
    )


def _file_name(work: Work) -> str:
    return f"{work.size_bytes}.bin"


def _digest(lines: Sequence[Mapping[str, object]]) -> Digest:
    (found,) = [line["sha256"] for line in lines if line.get("type") == "published"]
    return Digest(bytes.fromhex(str(found)))


def _granted(work: Work, sha256: Digest, credentials: MirrorCredentials) -> str:
    """Give a link as a selector writes it, with a grant of its own."""
    key_epoch = max(credentials.grant_keys)
    claim = bind(ip_address("127.0.0.1"))
    now_s = int(time.time())
    grant = Grant(
        grant_id=secrets.token_bytes(GRANT_ID_BYTES),
        sha256=sha256,
        size_bytes=work.size_bytes,
        start_by_s=now_s + GRANT_S,
        finish_by_s=now_s + GRANT_S,
        address=claim.address,
        prefix_bits=claim.prefix_bits,
        key_epoch=key_epoch,
    )
    token = mint(grant, mirror=credentials.mirror, key=credentials.grant_keys[key_epoch])
    return f"/d/{token}/{_file_name(work)}"
