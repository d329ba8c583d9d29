"""What people really download with, from real processes: apt from a published repository, aria2 by a metalink."""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from broker.site import BrokerSite
from distributary.answers import objects, text
from distributary.fleet.broker import FleetBroker
from distributary.fleet.fleet import Fleet, MirrorPlan
from distributary.fleet.waiting import wait_until

pytestmark = [pytest.mark.rabbitmq, pytest.mark.processes, pytest.mark.timeout(300)]

WITHIN_S = 30.0  # one or two seconds are usual; two cores may have other tests to run
LARGE_BYTES = 20_000_000  # of several pieces, so that the metalink has their digests
PACKAGE = "hello-distributary"
CONTROL = (
    f"Package: {PACKAGE}\nVersion: 1.0\nArchitecture: all\nMaintainer: Nobody <nobody@example.org>\n"
    "Description: says nothing\n"
)


@pytest.fixture(scope="module")
def fleet(broker_site: BrokerSite, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Two mirrors that follow a channel of everything; one that is gone counts as there for as long as a test takes."""
    folder, name = tmp_path_factory.mktemp("fleet"), f"test-{secrets.token_hex(6)}"
    vhost = broker_site.create_vhost(name)
    broker = FleetBroker(amqp_url=vhost.amqp_url, management_url=vhost.management_url, origin="the tests' broker")
    try:
        with Fleet(folder=folder, broker=broker, selector_overrides=("selector.silent_after=5m",)) as running:
            running.define_channel("all", {})
            running.join(MirrorPlan(name="ana", channels=("all",)), MirrorPlan(name="bob", channels=("all",)))
            yield running
    finally:
        broker_site.delete_vhost(name)


def needs(*commands: str) -> None:
    """Skip at home, fail in CI, where a client is missing."""
    if missing := [command for command in commands if shutil.which(command) is None]:
        lack = f"needs {', '.join(missing)}: .ci/setup test"
        pytest.fail(lack) if os.environ.get("CI") else pytest.skip(lack)


def run(*words: str, folder: Path) -> str:
    """Run a command in a folder; give all that it wrote."""
    environ = {"PATH": os.environ["PATH"], "HOME": str(folder), "LC_ALL": "C"}
    done = subprocess.run(  # noqa: S603 - written here
        words, cwd=folder, env=environ, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def wait_chosen(fleet: Fleet, path: str) -> None:
    """Wait until both mirrors qualify for a file."""
    wait_until(
        lambda: len({text(each, "mirror") for each in objects(fleet.where(path, "127.0.0.1"), "ranked")}) == 2,
        within_s=WITHIN_S,
        what=lambda: f"both mirrors qualify for {path}",
    )


def test_apt_updates_and_fetches_from_a_published_repository(fleet: Fleet, tmp_path: Path) -> None:
    needs("apt-get", "dpkg-deb")
    root = tmp_path / "debian"
    package = make_repository(root)
    fleet.publish(root, as_="debian", tags=["metadata"])
    paths = [f"debian/{path.relative_to(root)}" for path in root.rglob("*") if path.is_file()]
    fleet.wait_copies(paths, ["ana", "bob"], within_s=WITHIN_S)
    for path in paths:
        wait_chosen(fleet, path)
    apt = apt_command(tmp_path / "apt", f"{fleet.site_url}/debian")
    assert "Get:" in run(*apt, "update", folder=tmp_path)
    assert "Hit:" in run(*apt, "update", folder=tmp_path)
    run(*apt, "download", PACKAGE, folder=tmp_path)
    assert (tmp_path / f"{PACKAGE}_1.0_all.deb").read_bytes() == package


def test_aria2_fetches_by_metalink_though_one_of_two_mirrors_is_killed(fleet: Fleet, tmp_path: Path) -> None:
    needs("aria2c", "curl")
    content = secrets.token_bytes(LARGE_BYTES)
    (tmp_path / "source").write_bytes(content)
    fleet.publish(tmp_path / "source", as_="large.bin")
    fleet.wait_copies(["large.bin"], ["ana", "bob"], within_s=WITHIN_S)
    wait_chosen(fleet, "large.bin")
    metalink = run("curl", "-fsS", f"{fleet.site_url}/large.bin.meta4", folder=tmp_path)
    (tmp_path / "large.meta4").write_text(metalink)
    assert all(fleet.mirrors[name].url in metalink for name in ("ana", "bob"))
    assert metalink.count("<hash>") > 1
    fleet.mirrors["bob"].kill()
    try:
        run("aria2c", "--no-conf", "--quiet", "--retry-wait=0", "-s2", "-k1M", "-M", "large.meta4", folder=tmp_path)
    finally:
        fleet.mirrors["bob"].restart()
    assert (tmp_path / "large.bin").read_bytes() == content


def make_repository(root: Path) -> bytes:
    """Make a repository of one package; give the package."""
    build = root.parent / "build"
    (build / "DEBIAN").mkdir(parents=True)
    (build / "DEBIAN/control").write_text(CONTROL)
    pool, index = root / "pool", root / "dists/stable/main/binary-all"
    pool.mkdir(parents=True)
    index.mkdir(parents=True)
    name = f"pool/{PACKAGE}_1.0_all.deb"
    run("dpkg-deb", "--root-owner-group", "--build", str(build), str(root / name), folder=root.parent)
    package = (root / name).read_bytes()
    described = f"Filename: {name}\nSize: {len(package)}\nSHA256: {hashlib.sha256(package).hexdigest()}\n\n"
    packages = f"{CONTROL}{described}".encode()
    (index / "Packages").write_bytes(packages)
    (root / "dists/stable/Release").write_text(
        "Origin: Distributary\nSuite: stable\nCodename: stable\nArchitectures: all\nComponents: main\n"
        "Date: Sun, 22 Nov 2026 12:00:00 UTC\nSHA256:\n"
        f" {hashlib.sha256(packages).hexdigest()} {len(packages)} main/binary-all/Packages\n"
    )
    return package


def apt_command(root: Path, url: str) -> list[str]:
    """Give apt-get with folders of its own: nothing of the system is read but its methods, and nothing written."""
    for part in ("etc", "state/lists/partial", "cache/archives/partial", "log"):
        (root / part).mkdir(parents=True)
    (root / "status").touch()
    (root / "etc/sources.list").write_text(f"deb [trusted=yes arch=all] {url} stable main\n")
    options = {
        "Dir::Etc": str(root / "etc"),
        "Dir::State": str(root / "state"),
        "Dir::State::status": str(root / "status"),
        "Dir::Cache": str(root / "cache"),
        "Dir::Log": str(root / "log"),
        "APT::Architecture": "all",
        "APT::Sandbox::User": "",
        "Acquire::http::Proxy": "false",
        "Acquire::Languages": "none",
        "Acquire::Retries": "0",
    }
    return ["apt-get", *(word for name, value in options.items() for word in ("-o", f"{name}={value}"))]
