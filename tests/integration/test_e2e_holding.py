"""Held files, with the real command as real processes on a real RabbitMQ: mirrors fetch them, visitors wait."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from broker.site import BrokerSite
from distributary.answers import objects, text, words
from distributary.client import JsonObject
from distributary.demo.download import download
from distributary.exits import ExitCode
from distributary.fleet.broker import FleetBroker
from distributary.fleet.fleet import Fleet, MirrorPlan
from distributary.fleet.waiting import wait_until

pytestmark = [pytest.mark.rabbitmq, pytest.mark.processes, pytest.mark.timeout(300)]

WITHIN_S = 60.0  # a second or two are usual; two cores may have other tests to run
SIZE_BYTES = 300_000
MIRRORS = ("ana", "bob")


@pytest.fixture(scope="module")
def fleet(broker_site: BrokerSite, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """A running fleet of two mirrors that follow one channel. Each test publishes under names of its own."""
    name = f"test-{secrets.token_hex(6)}"
    vhost = broker_site.create_vhost(name)
    broker = FleetBroker(amqp_url=vhost.amqp_url, management_url=vhost.management_url, origin="the tests' broker")
    try:
        with Fleet(folder=tmp_path_factory.mktemp("fleet"), broker=broker) as running:
            running.define_channel("iso", {"paths_any": ["**/*.iso"]})
            running.join(*(MirrorPlan(name=name, channels=("iso",)) for name in MIRRORS))
            yield running
    finally:
        broker_site.delete_vhost(name)


def ask(url: str) -> tuple[int, str]:
    """Ask as a visitor; give the status, and where it redirects to."""
    parts = urlsplit(url)
    with closing(http.client.HTTPConnection(parts.netloc, timeout=WITHIN_S)) as connection:
        connection.request("GET", parts.path)
        answer = connection.getresponse()
        return answer.status, answer.headers["Location"] or ""


def command(fleet: Fleet, *arguments: str) -> list[str]:
    return [sys.executable, "-I", "-m", "distributary", *arguments, "--json", "--config", str(fleet.config)]


def clean_environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("DISTRIBUTARY_")}


def run(fleet: Fleet, *arguments: str) -> list[JsonObject]:
    """Run the real command; give the objects on stdout."""
    done = subprocess.run(  # noqa: S603 - our own interpreter
        command(fleet, *arguments), capture_output=True, text=True, check=False, env=clean_environment(), timeout=120
    )
    assert done.returncode == ExitCode.OK, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def tree_in(folder: Path, *names: str) -> dict[str, str]:
    """Write files of random bytes; give the sha256 of each."""
    folder.mkdir()
    digests: dict[str, str] = {}
    for name in names:
        content = secrets.token_bytes(SIZE_BYTES)
        (folder / name).write_bytes(content)
        digests[name] = hashlib.sha256(content).hexdigest()
    return digests


def copies(fleet: Fleet, path: str) -> int:
    """Count the mirrors that have what is held for a path, as the master heard."""
    (listing,) = run(fleet, "hold", "ls")
    files = [file for hold in objects(listing, "holds") for file in objects(hold, "files") if file["path"] == path]
    return int(text(files[0], "copies")) if files else 0


def fetched(fleet: Fleet, mirror: str) -> str:
    """Give the log of a mirror."""
    return (fleet.folder / "logs" / f"{mirror}.log").read_text()


def mirror_of(fleet: Fleet, location: str) -> str | None:
    """Name the mirror that a redirect leads to; None for the master."""
    ports = {urlsplit(process.url).port: name for name, process in fleet.mirrors.items()}
    return ports.get(urlsplit(location).port)


def test_visitors_get_a_held_file_from_a_mirror_as_soon_as_it_is_released(fleet: Fleet, tmp_path: Path) -> None:
    digests = tree_in(tmp_path / "v1", "a.iso", "b.iso")
    url = f"{fleet.site_url}/v1/a.iso"
    *held, done = run(fleet, "publish", str(tmp_path / "v1"), "--hold")
    assert [each["type"] for each in held if each["type"] != "progress"] == ["held", "held"]
    assert (done["held"], done["published"]) == (2, 0)
    wait_until(lambda: copies(fleet, "v1/a.iso") == 2, within_s=WITHIN_S, what="both mirrors have what is held")
    assert ask(url) == (404, "")
    assert [text(each, "path") for each in fleet.files() if "a.iso" in text(each, "path")] == []
    before = {name: fetched(fleet, name).count("replica.ready") for name in MIRRORS}

    (released,) = run(fleet, "release", "v1")

    began_s = time.monotonic()
    assert [text(each, "path") for each in objects(released, "released")] == ["v1/a.iso", "v1/b.iso"]
    _, location = wait_until(
        lambda: answer if (answer := ask(url))[0] == 302 else None, within_s=WITHIN_S, what="visitors are redirected"
    )
    print(f"redirected {time.monotonic() - began_s:.3f} s after the release")  # noqa: T201 - pytest shows it on demand
    assert mirror_of(fleet, location) in MIRRORS, "the very first answer leads to a mirror"
    assert download(location, tmp_path / "got").sha256 == digests["a.iso"]
    wait_until(
        lambda: {"v1/a.iso", "v1/b.iso"} <= fleet.held_by_all(MIRRORS), within_s=WITHIN_S, what="both serve all of it"
    )
    assert {name: fetched(fleet, name).count("replica.ready") for name in MIRRORS} == before, "nothing is fetched again"


def test_a_new_generation_leaves_the_old_one_to_visitors_until_it_is_released(fleet: Fleet, tmp_path: Path) -> None:
    old, new = tree_in(tmp_path / "old", "c.iso"), tree_in(tmp_path / "new", "c.iso")
    fleet.publish(tmp_path / "old", as_="both")
    fleet.wait_copies(["both/c.iso"], MIRRORS)
    url = f"{fleet.site_url}/both/c.iso"

    run(fleet, "publish", str(tmp_path / "new"), "--as", "both", "--hold")
    wait_until(lambda: copies(fleet, "both/c.iso") == 2, within_s=WITHIN_S, what="both mirrors have the new one")
    assert download(url, tmp_path / "got").sha256 == old["c.iso"]

    run(fleet, "release", "both/c.iso")
    wait_until(
        lambda: download(url, tmp_path / "got").sha256 == new["c.iso"],
        within_s=WITHIN_S,
        what="visitors get the new one",
    )
    assert mirror_of(fleet, ask(url)[1]) in MIRRORS


def test_what_waits_for_two_mirrors_is_released_by_itself_though_the_master_is_killed(
    fleet: Fleet, tmp_path: Path
) -> None:
    tree_in(tmp_path / "v2", "d.iso", "notes.txt")
    fleet.mirrors["bob"].suspend()
    try:
        waiting = subprocess.Popen(  # noqa: S603 - our own interpreter
            command(fleet, "publish", str(tmp_path / "v2"), "--wait", "2"),
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=clean_environment(),
        )  # fmt: skip
        assert waiting.stdout is not None
        while words(json.loads(waiting.stdout.readline()), "complete") != ["ana"]:
            pass
        fleet.master.kill()
        assert ask(f"{fleet.site_url}/v2/d.iso")[0] == 404
    finally:
        fleet.mirrors["bob"].resume()
    fleet.master.restart()
    told, problems = waiting.communicate(timeout=WITHIN_S)
    lines = [json.loads(line) for line in told.splitlines()]
    assert waiting.returncode == ExitCode.OK, problems
    assert lines[-2]["type"] == "released"
    wait_until(
        lambda: mirror_of(fleet, ask(f"{fleet.site_url}/v2/d.iso")[1]) in MIRRORS,
        within_s=WITHIN_S,
        what="visitors are sent to a mirror",
    )
    wait_until(
        lambda: ask(f"{fleet.site_url}/v2/notes.txt")[0] == 302, within_s=WITHIN_S, what="all of the tree is released"
    )


def test_ctrl_c_leaves_the_release_to_the_master(fleet: Fleet, tmp_path: Path) -> None:
    tree_in(tmp_path / "v3", "e.iso")
    fleet.mirrors["bob"].suspend()
    try:
        waiting = subprocess.Popen(  # noqa: S603 - our own interpreter
            command(fleet, "publish", str(tmp_path / "v3"), "--wait", "all"),
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=clean_environment(),
        )  # fmt: skip
        assert waiting.stdout is not None
        while json.loads(waiting.stdout.readline())["type"] != "waiting":
            pass
        waiting.send_signal(signal.SIGINT)
        waiting.communicate(timeout=WITHIN_S)
        assert waiting.returncode == ExitCode.INTERRUPTED
    finally:
        fleet.mirrors["bob"].resume()
    wait_until(
        lambda: mirror_of(fleet, ask(f"{fleet.site_url}/v3/e.iso")[1]) in MIRRORS,
        within_s=WITHIN_S,
        what="it is released when both have it",
    )


def test_a_held_file_that_is_withdrawn_leaves_the_mirrors_and_never_reached_a_visitor(
    fleet: Fleet, tmp_path: Path
) -> None:
    tree_in(tmp_path / "v4", "f.iso")
    run(fleet, "publish", str(tmp_path / "v4"), "--hold")
    wait_until(lambda: copies(fleet, "v4/f.iso") == 2, within_s=WITHIN_S, what="both mirrors have what is held")
    (answer,) = run(fleet, "withdraw", "v4/f.iso", "--held", "--reason", "a mistake", "--wait", "--yes")
    assert [each["acknowledged"] for each in objects(answer, "mirrors")] == [True, True]
    assert ask(f"{fleet.site_url}/v4/f.iso")[0] == 404
    (listing,) = run(fleet, "hold", "ls")
    assert "v4/f.iso" not in json.dumps(listing)
