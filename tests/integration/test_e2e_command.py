"""The command as a person runs it: the demo, all roles in one process, joining by a pasted token."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import secrets
import shlex
import signal
import subprocess
import sys
from collections.abc import Generator, Iterator
from http import HTTPStatus
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from broker.ports import draw_ports
from broker.site import BrokerSite, Vhost
from distributary.answers import inside, objects, text, words
from distributary.client import Api, JsonObject
from distributary.fleet.broker import FleetBroker, open_broker
from distributary.fleet.fleet import Fleet
from distributary.fleet.process import RoleStartError
from distributary.fleet.waiting import wait_until
from distributary.join import CONFIG_NAME, CREDENTIALS_NAME
from distributary.site_folder import SitePlan, write_site

pytestmark = [pytest.mark.rabbitmq, pytest.mark.processes, pytest.mark.timeout(240)]

WITHIN_S = 60.0
COMMAND = [sys.executable, "-I", "-m", "distributary"]


def environment(site: BrokerSite | None = None) -> dict[str, str]:
    """Give an environment with nothing of ours but, where wanted, the tests' broker."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("DISTRIBUTARY_")}
    if site is not None:
        environ |= {"DISTRIBUTARY_AMQP_URL": site.amqp_url, "DISTRIBUTARY_MANAGEMENT_URL": site.management_url}
    return environ


@contextlib.contextmanager
def started(*arguments: str, environ: dict[str, str]) -> Generator[subprocess.Popen[str]]:
    """Start the command; end it by its pid whatever happens."""
    process = subprocess.Popen(  # noqa: S603 - our own interpreter
        [*COMMAND, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environ,
        start_new_session=True,
    )  # fmt: skip
    with process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
                process.communicate(timeout=WITHIN_S)


def told_lines(process: subprocess.Popen[str]) -> Iterator[JsonObject]:
    """Give what the command says, line by line, as it says it."""
    assert process.stdout is not None
    for line in process.stdout:
        yield json.loads(line)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A folder with two files."""
    folder = tmp_path / "release"
    folder.mkdir()
    (folder / "a.bin").write_bytes(secrets.token_bytes(200_000))
    (folder / "b.bin").write_bytes(secrets.token_bytes(1000))
    return folder


@pytest.fixture
def site_folder(vhost: Vhost, tmp_path: Path) -> Path:
    """A site's folder over this test's virtual host, on free ports."""
    master, selector = draw_ports(2)
    plan = SitePlan(
        site_url=f"http://127.0.0.1:{selector}",
        master_url=f"http://127.0.0.1:{master}",
        broker_url=vhost.amqp_url,
        management_url=vhost.management_url,
        master_listen=f"127.0.0.1:{master}",
        selector_listen=f"127.0.0.1:{selector}",
    )
    write_site(tmp_path / "site", plan)
    return tmp_path / "site"


def test_demo_shows_the_whole_way_and_leaves_nothing_behind(broker_site: BrokerSite, tree: Path) -> None:
    environ = {**environment(broker_site), "TMPDIR": str(tree.parent)}
    with started("demo", str(tree), "--exit", "--mirrors", "2", "--json", environ=environ) as demo:
        told = list(told_lines(demo))
        assert demo.wait(WITHIN_S) == 0
    assert [each["type"] for each in told] == [
        "starting", "broker", "ready", "joined", "published", "copies", "download", "where",
    ]  # fmt: skip
    copies, download = told[5], told[6]
    assert [set(words(each, "mirrors")) for each in objects(copies, "files")] == [{"ana", "bob"}] * 2
    assert [each["status"] for each in objects(download, "hops")] == [302, 200]
    assert download["equal"] is True
    assert sorted(path.name for path in tree.parent.iterdir()) == ["release"]


def test_demo_stays_up_with_commands_that_work_until_it_is_interrupted(broker_site: BrokerSite, tree: Path) -> None:
    environ = {**environment(broker_site), "TMPDIR": str(tree.parent)}
    (tree / "c #1 50% 'ü'.bin").write_bytes(secrets.token_bytes(300_000))  # the largest, so the one that is downloaded
    with started("demo", str(tree), "--mirrors", "1", "--json", environ=environ) as demo:
        up = next(each for each in told_lines(demo) if each["type"] == "up")
        where = shlex.split(next(each for each in words(up, "try") if " where --ip" in each))
        done = subprocess.run(  # noqa: S603 - our own interpreter
            [*where[:-2], "--json", *where[-2:]], capture_output=True, text=True, env=environment(), check=False
        )
        assert json.loads(done.stdout)["chosen"] == "ana", done.stderr
        demo.send_signal(signal.SIGINT)
        assert demo.wait(WITHIN_S) == 0
    assert sorted(path.name for path in tree.parent.iterdir()) == ["release"]


def test_demo_that_is_interrupted_midway_clears_up_and_says_130(broker_site: BrokerSite, tree: Path) -> None:
    environ = {**environment(broker_site), "TMPDIR": str(tree.parent)}
    with started("demo", str(tree), "--json", environ=environ) as demo:
        next(each for each in told_lines(demo) if each["type"] == "broker")
        demo.send_signal(signal.SIGINT)
        assert demo.wait(WITHIN_S) == 130
    assert sorted(path.name for path in tree.parent.iterdir()) == ["release"]


def test_all_roles_run_in_one_process_and_stop_on_sigterm(site_folder: Path) -> None:
    anywhere = ("--set", "archive.listen=127.0.0.1:0")
    with started("serve", "all", "--json", "--config", str(site_folder), *anywhere, environ=environment()) as served:
        lines = told_lines(served)
        assert {text(next(lines), "ready") for _ in range(3)} == {"master", "selector", "archiver"}
        served.send_signal(signal.SIGTERM)
        assert served.wait(WITHIN_S) == 0


def test_wrong_broker_password_is_exit_code_4(site_folder: Path) -> None:
    environ = environment()
    config = (site_folder / "distributary.toml").read_text().replace("guest:guest@", "guest:wrong@")
    (site_folder / "distributary.toml").write_text(config)
    with started("serve", "selector", "--json", "--config", str(site_folder), environ=environ) as served:
        assert served.wait(WITHIN_S) == 4


def test_taken_address_is_told_at_the_start(vhost: Vhost, tmp_path: Path) -> None:
    broker = FleetBroker(amqp_url=vhost.amqp_url, management_url=vhost.management_url, origin="the tests' broker")
    with Fleet(folder=tmp_path / "one", broker=broker) as fleet:
        taken = f"master.listen={fleet.master.url.removeprefix('http://')}"
        second = Fleet(folder=tmp_path / "two", broker=broker, master_overrides=(taken,))
        second.master.start()
        with pytest.raises(RoleStartError, match="system_refused"):
            second.master.wait_ready()


def test_mirror_joins_with_a_token_from_stdin_and_serves(vhost: Vhost, tmp_path: Path, tree: Path) -> None:
    broker = FleetBroker(amqp_url=vhost.amqp_url, management_url=vhost.management_url, origin="the tests' broker")
    with Fleet(folder=tmp_path / "site", broker=broker) as fleet:
        fleet.define_channel("iso")
        (port,) = draw_ports(1)
        url = f"http://127.0.0.1:{port}"
        token = run_ok("mirror", "invite", "ana", "-c", "iso", "--config", str(fleet.config))["token"]
        joining = ("mirror", "join", "-", "--url", url, "--listen", url[7:], "--dir", str(tmp_path / "ana"))
        joined = run_ok(*joining, stdin=str(token))
        assert joined["channels"] == ["iso"]
        folder = tmp_path / "ana"
        assert [(folder / name).stat().st_mode & 0o777 for name in (CONFIG_NAME, CREDENTIALS_NAME)] == [0o600, 0o600]
        assert_used_up(str(token), tmp_path)
        serving = ("serve", "mirror", "--json", "--config", str(folder / CONFIG_NAME))
        with started(*serving, environ=environment()) as mirror:
            assert next(told_lines(mirror)) == {"ready": "mirror", "url": url}
            fleet.publish(tree, as_="r")
            fleet.wait_copies(["r/a.bin", "r/b.bin"], ["ana"])
            assert Api(url, role="mirror").readiness()["ready"] is True
            assert_taken_back(fleet)
            run_ok("mirror", "remove", "ana", "--reason", "a test", "--yes", "--config", str(fleet.config))
            wait_until(lambda: fleet.where("r/a.bin", "127.0.0.1")["fallback"], within_s=WITHIN_S, what="ana is gone")


def assert_taken_back(fleet: Fleet) -> None:
    """Assert that links and files can be taken back at the command line."""
    config = ("--config", str(fleet.config))
    assert run_ok("mirror", "rotate-keys", "ana", *config)["key_epoch"] == 2
    revoked = run_ok("revoke", "--mirror", "ana", "--file", "r/a.bin", "--reason", "a test", "--yes", *config)
    assert inside(revoked, "revocation")["mirror"] == "ana"
    waiting = ("--cut", "--wait", "--within", "1m")
    withdrawn = run_ok("withdraw", "r/b.bin", *waiting, "--reason", "a test", "--yes", *config)
    assert withdrawn["mirrors"] == [{"mirror": "ana", "acknowledged": True, "missing": [], "external": False}]


def run_ok(*arguments: str, stdin: str = "") -> JsonObject:
    """Run a command that must work; give its one JSON object."""
    done = subprocess.run(  # noqa: S603 - our own interpreter
        [*COMMAND, *arguments, "--json"], input=stdin, capture_output=True, text=True, env=environment(), check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def assert_used_up(token: str, tmp_path: Path) -> None:
    """Assert that an invitation cannot be taken up again, and that nothing is left of the attempt."""
    arguments = ("mirror", "join", "-", "--url", "http://127.0.0.1:9", "--dir", str(tmp_path / "second"), "--json")
    done = subprocess.run(  # noqa: S603 - our own interpreter
        [*COMMAND, *arguments], input=token, capture_output=True, text=True, env=environment(), check=False
    )
    assert done.returncode == 4
    assert not (tmp_path / "second").exists()


def test_broker_by_url_is_given_a_virtual_host_that_is_gone_afterwards(broker_site: BrokerSite, tmp_path: Path) -> None:
    with open_broker(environment(broker_site), tmp_path) as broker:
        assert broker.amqp_url.startswith(broker_site.amqp_url)
        name = broker.amqp_url.rpartition("/")[2]
        assert has_vhost(broker_site, name)
    assert not has_vhost(broker_site, name)


def has_vhost(site: BrokerSite, name: str) -> bool:
    """Tell whether a virtual host is there, in the management API's own words."""
    parts = urlsplit(site.management_url)
    login = base64.b64encode(f"{parts.username}:{parts.password}".encode()).decode()
    with contextlib.closing(HTTPConnection(str(parts.hostname), parts.port, timeout=WITHIN_S)) as connection:
        connection.request("GET", f"/api/vhosts/{name}", headers={"Authorization": f"Basic {login}"})
        return connection.getresponse().status == HTTPStatus.OK
