"""The real command as real processes on a real RabbitMQ: publish, fetch, redirect, download, and why not another."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import secrets
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlsplit

import pytest
from mmdb_writer import MMDBWriter
from netaddr import IPSet

from broker.site import BrokerSite
from distributary.answers import inside, objects, text, words
from distributary.client import JsonObject
from distributary.demo.download import download
from distributary.exits import ExitCode
from distributary.fleet.broker import FleetBroker
from distributary.fleet.fleet import Fleet, MirrorPlan
from distributary.fleet.waiting import wait_until
from selection.policy.choice import RejectReason

pytestmark = [pytest.mark.rabbitmq, pytest.mark.processes, pytest.mark.timeout(300)]

WITHIN_S = 30.0  # one or two seconds are usual; two cores may have other tests to run
VISITOR = "127.0.0.1"
PORTO_VISITOR = "203.0.113.9"
NOBODYS_NETWORK = "198.51.100.0/24"
# More than the buffers of a loopback connection hold, so that a reader who stops keeps the server sending.
LARGE_BYTES = 32_000_000
SMALL_BYTES = 100_000


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer, not followed."""

    status: int
    headers: http.client.HTTPMessage

    @property
    def location(self) -> str:
        """Where it redirects to."""
        return self.headers["Location"] or ""


@pytest.fixture(scope="module")
def fleet(broker_site: BrokerSite, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """A running fleet for all tests here. Each publishes under a name of its own and leaves the mirrors as they were.

    ``ana`` in Porto and ``bob`` in Oslo follow ``shared``; ``cat`` with one slot follows ``narrow``; ``dia``, who gives
    150 kB a month, follows ``thrifty``. Files get there by a tag of the same name.
    """
    folder = tmp_path_factory.mktemp("fleet")
    name = f"test-{secrets.token_hex(6)}"
    vhost = broker_site.create_vhost(name)
    broker = FleetBroker(amqp_url=vhost.amqp_url, management_url=vhost.management_url, origin="the tests' broker")
    geoip = write_geoip(folder / "places.mmdb")
    settings = (f"selector.geoip_files={geoip}", "selector.trusted_proxies=127.0.0.1/32", "selector.silent_after=4s")
    try:
        with Fleet(folder=folder, broker=broker, selector_overrides=settings) as running:
            for channel in ("shared", "narrow", "thrifty"):
                running.define_channel(channel, {"tags_any": [channel]})
            running.join(
                MirrorPlan(name="ana", channels=("shared",), location="41.15,-8.61", country="PT"),
                MirrorPlan(name="bob", channels=("shared",), location="59.91,10.75", country="NO"),
                MirrorPlan(name="cat", channels=("narrow",), slots=1),
                MirrorPlan(name="dia", channels=("thrifty",), monthly_bytes=150_000),
            )
            yield running
    finally:
        broker_site.delete_vhost(name)


def write_geoip(path: Path) -> Path:
    """Write a database in MaxMind's format that knows one visitor's place."""
    writer = MMDBWriter(database_type="Test-City", ipv4_compatible=True, ip_version=6)
    place = {"country": {"iso_code": "PT"}, "location": {"latitude": 41.1, "longitude": -8.6}}
    writer.insert_network(IPSet(["203.0.113.0/24"]), place)
    writer.to_db_file(str(path))
    return path


def run_command(fleet: Fleet, *arguments: str) -> tuple[int, list[JsonObject], JsonObject]:
    """Run the real command with --json; give its exit code, the objects on stdout, and the error on stderr."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("DISTRIBUTARY_")}
    done = subprocess.run(  # noqa: S603 - our own interpreter
        [sys.executable, "-I", "-m", "distributary", *arguments, "--json", "--config", str(fleet.config)],
        capture_output=True, text=True, check=False, env=environ, timeout=60,
    )  # fmt: skip
    told = [json.loads(line) for line in done.stdout.splitlines()]
    return done.returncode, told, json.loads(done.stderr) if done.stderr else {}


def ask(url: str, method: str = "GET", **headers: str) -> Answer:
    """Ask once, follow nothing."""
    parts = urlsplit(url)
    target = parts.path + (f"?{parts.query}" if parts.query else "")
    with closing(http.client.HTTPConnection(parts.netloc, timeout=WITHIN_S)) as connection:
        connection.request(method, target, headers={name.replace("_", "-"): value for name, value in headers.items()})
        answer = connection.getresponse()
        return Answer(answer.status, answer.headers)


def publish(
    fleet: Fleet, folder: Path, name: str, *, tag: str = "shared", size_bytes: int = SMALL_BYTES, **options: object
) -> bytes:
    """Publish random bytes under a name; give them."""
    content = secrets.token_bytes(size_bytes)
    source = folder / "published"
    source.write_bytes(content)
    lines = fleet.publish(source, as_=name, tags=[tag], **options)
    assert [each["type"] for each in lines if each["type"] != "progress"] == ["published", "done"]
    return content


def rejection(fleet: Fleet, path: str, mirror: str, ip: str = VISITOR) -> tuple[str, object]:
    """Give the reason and the criterion why a mirror is not chosen; empty when nothing speaks against it."""
    for each in objects(fleet.where(path, ip), "rejected"):
        if each["mirror"] == mirror:
            return text(each, "reason"), each["criterion"]
    return "", None


def expect_told(fleet: Fleet, path: str, mirror: str, reason: RejectReason, ip: str = VISITOR) -> JsonObject:
    """Run the real `distributary where`: it tells this reason why a mirror is not chosen. Gives the whole answer."""
    exit_code, told, error = run_command(fleet, "where", path, "--ip", ip)
    assert (exit_code, error) == (ExitCode.OK, {})
    (answer,) = told
    assert answer["schema"] == "distributary/where/1"
    found = {text(each, "mirror"): each for each in objects(answer, "rejected")}[mirror]
    assert (found["reason"], found["criterion"], found["text"]) == (reason.code, reason.criterion, reason.text)
    return answer


def wait_rejected(fleet: Fleet, path: str, mirror: str, reason: str) -> object:
    """Wait until a mirror is rejected for this reason; give the criterion."""

    def look() -> object:
        found, criterion = rejection(fleet, path, mirror)
        return criterion if found == reason else None

    return wait_until(
        look, within_s=WITHIN_S, what=lambda: f"{mirror} is {reason}; it is {rejection(fleet, path, mirror)}"
    )


def wait_chosen(fleet: Fleet, path: str, mirrors: set[str]) -> None:
    """Wait until each of these mirrors qualifies for a file."""
    wait_until(
        lambda: mirrors <= {text(each, "mirror") for each in objects(fleet.where(path, VISITOR), "ranked")},
        within_s=WITHIN_S,
        what=lambda: f"{mirrors} qualify for {path}: {fleet.where(path, VISITOR)}",
    )


def test_published_tree_is_on_every_mirror_and_downloads_by_redirect_with_equal_hash(
    fleet: Fleet, tmp_path: Path
) -> None:
    tree = tmp_path / "release"
    (tree / "docs").mkdir(parents=True)
    contents = {"a.iso": secrets.token_bytes(3_000_000), "docs/read me & fïrst.txt": b"hello"}
    for name, content in contents.items():
        (tree / name).write_bytes(content)
    exit_code, told, _ = run_command(fleet, "publish", str(tree), "--as", "tree", "--tag", "shared")
    assert exit_code == 0
    assert told[-1]["published"] == 2
    paths = [f"tree/{name}" for name in contents]
    fleet.wait_copies(paths, ["ana", "bob"], within_s=WITHIN_S)
    wait_chosen(fleet, "tree/a.iso", {"ana", "bob"})
    for name, content in contents.items():
        url = f"{fleet.site_url}/tree/{quote(name)}"
        result = download(url, tmp_path / "download")
        assert [hop.status for hop in result.hops] == [302, 200]
        assert result.server in {fleet.mirrors["ana"].url, fleet.mirrors["bob"].url}
        assert result.sha256 == hashlib.sha256(content).hexdigest()


def test_head_is_answered_along_the_way_without_a_body(fleet: Fleet, tmp_path: Path) -> None:
    content = publish(fleet, tmp_path, "head.bin")
    fleet.wait_copies(["head.bin"], ["ana", "bob"], within_s=WITHIN_S)
    redirect = ask(f"{fleet.site_url}/head.bin", "HEAD")
    assert redirect.status == 302
    assert redirect.headers["Cache-Control"] == "no-store"
    final = ask(redirect.location, "HEAD")
    assert final.status == 200
    assert final.headers["Content-Length"] == str(len(content))
    assert final.headers["ETag"] == f'"{hashlib.sha256(content).hexdigest()}"'


def test_unknown_path_is_404_and_exit_code_3(fleet: Fleet) -> None:
    assert ask(f"{fleet.site_url}/no/such.file").status == 404
    exit_code, _, error = run_command(fleet, "where", "no/such.file", "--ip", VISITOR)
    assert exit_code == ExitCode.NOT_FOUND
    assert inside(error, "error")["code"]


def test_visitor_outside_of_the_files_networks_is_refused(fleet: Fleet, tmp_path: Path) -> None:
    publish(fleet, tmp_path, "members.bin", networks=[NOBODYS_NETWORK])
    fleet.wait_copies(["members.bin"], ["ana", "bob"], within_s=WITHIN_S)
    assert ask(f"{fleet.site_url}/members.bin").status == 403
    assert ask(f"{fleet.site_url}/members.bin", X_Forwarded_For="198.51.100.7").status == 302
    refused = expect_told(fleet, "members.bin", "ana", RejectReason.NO_ACCESS)
    assert (refused["access"], refused["chosen"], refused["fallback"]) == (False, None, False)
    assert rejection(fleet, "members.bin", "ana", ip="198.51.100.7")[1] in {None, 6}


def test_file_that_needs_a_ticket_comes_from_a_mirror_to_whoever_has_one(fleet: Fleet, tmp_path: Path) -> None:
    source = tmp_path / "guarded.bin"
    source.write_bytes(b"for members")
    exit_code, _, _ = run_command(fleet, "publish", str(source), "--tag", "shared", "--access", "ticket")
    assert exit_code == ExitCode.OK
    fleet.wait_copies(["guarded.bin"], ["ana", "bob"], within_s=WITHIN_S)
    wait_chosen(fleet, "guarded.bin", {"ana", "bob"})
    assert ask(f"{fleet.site_url}/guarded.bin").status == 403
    assert ask(f"{fleet.site_url}/guarded.bin.sha256").status == 403
    exit_code, (ticket,), _ = run_command(fleet, "ticket", "guarded.bin", "--for", "1h", "--ip", "127.0.0.1")
    assert exit_code == ExitCode.OK
    result = download(text(ticket, "url"), tmp_path / "download")
    assert result.server in {fleet.mirrors["ana"].url, fleet.mirrors["bob"].url}
    assert result.sha256 == hashlib.sha256(b"for members").hexdigest()
    assert ask(text(ticket, "url"), X_Forwarded_For="198.51.100.7").status == 403


def test_withdrawn_file_is_redirected_to_nobody_and_leaves_the_mirrors(fleet: Fleet, tmp_path: Path) -> None:
    publish(fleet, tmp_path, "mistake.bin")
    fleet.wait_copies(["mistake.bin"], ["ana", "bob"], within_s=WITHIN_S)
    link = ask(f"{fleet.site_url}/mistake.bin").location
    exit_code, _, _ = run_command(fleet, "withdraw", "mistake.bin", "--reason", "a mistake", "--yes")
    assert exit_code == 0
    wait_until(lambda: ask(f"{fleet.site_url}/mistake.bin").status == 404, within_s=WITHIN_S, what="the redirects end")
    wait_until(lambda: ask(link).status != 200, within_s=WITHIN_S, what="the mirror no longer serves it")
    assert run_command(fleet, "withdraw", "mistake.bin", "--reason", "again", "--yes")[0] == ExitCode.NOT_FOUND
    publish(fleet, tmp_path, "mistake.bin")
    fleet.wait_copies(["mistake.bin"], ["ana", "bob"], within_s=WITHIN_S)
    wait_chosen(fleet, "mistake.bin", {"ana", "bob"})  # they have said that they acted on the withdrawal


def test_unchanged_file_is_no_new_publication_and_changed_content_is_a_new_generation(
    fleet: Fleet, tmp_path: Path
) -> None:
    source = tmp_path / "edition.bin"
    source.write_bytes(b"first")
    first = fleet.publish(source, tags=["shared"])
    again = fleet.publish(source, tags=["shared"])
    source.write_bytes(b"second")
    second = fleet.publish(source, tags=["shared"])
    assert [(each[0]["type"], each[0]["generation"]) for each in (first, again, second)] == [
        ("published", 1), ("unchanged", 1), ("published", 2),
    ]  # fmt: skip
    expected = hashlib.sha256(b"second").hexdigest()

    def holders_of_the_second() -> set[str]:
        return {name for each in fleet.files() if each["sha256"] == expected for name in words(each, "mirrors")}

    wait_until(lambda: {"ana", "bob"} <= holders_of_the_second(), within_s=WITHIN_S, what="both hold the second")
    wait_chosen(fleet, "edition.bin", {"ana", "bob"})
    assert download(f"{fleet.site_url}/edition.bin", tmp_path / "download").sha256 == expected


def test_some_refused_of_several_is_exit_code_8(fleet: Fleet, tmp_path: Path) -> None:
    tree = tmp_path / "mixed"
    tree.mkdir()
    (tree / "good.bin").write_bytes(b"good")
    (tree / "bad\nname.bin").write_bytes(b"bad")
    exit_code, told, _ = run_command(fleet, "publish", str(tree), "--as", "mixed")
    assert exit_code == ExitCode.PARTIAL
    assert [each["type"] for each in told] == ["published", "refused", "done"] or [each["type"] for each in told] == [
        "refused", "published", "done",
    ]  # fmt: skip


def test_file_in_no_channel_is_served_by_the_master(fleet: Fleet, tmp_path: Path) -> None:
    content = publish(fleet, tmp_path, "unshared.bin", tag="nobodys")
    wait_until(lambda: ask(f"{fleet.site_url}/unshared.bin").status == 302, within_s=WITHIN_S, what="the view has it")
    answer = expect_told(fleet, "unshared.bin", "ana", RejectReason.NOT_SUBSCRIBED)
    assert (answer["chosen"], answer["fallback"]) == (None, True)
    result = download(f"{fleet.site_url}/unshared.bin", tmp_path / "download")
    assert result.server == fleet.master.url
    assert result.sha256 == hashlib.sha256(content).hexdigest()


def test_mirror_without_the_copy_is_passed_over_and_comes_back_with_it(fleet: Fleet, tmp_path: Path) -> None:
    fleet.mirrors["bob"].kill()
    try:
        publish(fleet, tmp_path, "late.bin")
        fleet.wait_copies(["late.bin"], ["ana"], within_s=WITHIN_S)
        expect_told(fleet, "late.bin", "bob", RejectReason.NO_COPY)
    finally:
        fleet.mirrors["bob"].restart()
    wait_chosen(fleet, "late.bin", {"ana", "bob"})


def test_killed_mirror_is_silent_until_it_is_back(fleet: Fleet, tmp_path: Path) -> None:
    publish(fleet, tmp_path, "kept.bin")
    fleet.wait_copies(["kept.bin"], ["ana", "bob"], within_s=WITHIN_S)
    wait_chosen(fleet, "kept.bin", {"ana", "bob"})
    fleet.mirrors["bob"].kill()
    try:
        wait_rejected(fleet, "kept.bin", "bob", "silent")
        assert expect_told(fleet, "kept.bin", "bob", RejectReason.SILENT)["chosen"] == "ana"
        assert ask(f"{fleet.site_url}/kept.bin").location.startswith(fleet.mirrors["ana"].url)
        assert run_command(fleet, "status", "--check")[0] == ExitCode.DEGRADED
    finally:
        fleet.mirrors["bob"].restart()
    wait_chosen(fleet, "kept.bin", {"ana", "bob"})


def test_stopped_mirror_is_offline_at_once(fleet: Fleet, tmp_path: Path) -> None:
    publish(fleet, tmp_path, "held.bin")
    fleet.wait_copies(["held.bin"], ["ana", "bob"], within_s=WITHIN_S)
    wait_chosen(fleet, "held.bin", {"ana", "bob"})
    fleet.mirrors["bob"].stop()
    try:
        wait_rejected(fleet, "held.bin", "bob", "offline")
        assert expect_told(fleet, "held.bin", "bob", RejectReason.OFFLINE)["chosen"] == "ana"
    finally:
        fleet.mirrors["bob"].restart()
    wait_chosen(fleet, "held.bin", {"ana", "bob"})


def test_mirror_whose_slots_are_taken_is_full_until_one_is_free(fleet: Fleet, tmp_path: Path) -> None:
    publish(fleet, tmp_path, "large.bin", tag="narrow", size_bytes=LARGE_BYTES)
    fleet.wait_copies(["large.bin"], ["cat"], within_s=WITHIN_S)
    wait_chosen(fleet, "large.bin", {"cat"})
    link = urlsplit(ask(f"{fleet.site_url}/large.bin").location)
    with socket.create_connection((str(link.hostname), link.port or 80), WITHIN_S) as reader:
        reader.sendall(f"GET {link.path} HTTP/1.1\r\nHost: {link.netloc}\r\n\r\n".encode())
        assert reader.recv(12) == b"HTTP/1.1 200"
        wait_rejected(fleet, "large.bin", "cat", "full")
        assert expect_told(fleet, "large.bin", "cat", RejectReason.FULL)["fallback"] is True
        wait_until(  # the reader's own place is kept for him until the mirror has said that he is there
            lambda: ask(f"{fleet.site_url}/large.bin").location.startswith(fleet.master.url),
            within_s=WITHIN_S,
            what="the master serves",
        )
    wait_chosen(fleet, "large.bin", {"cat"})


def test_mirror_whose_quota_is_spent_is_passed_over(fleet: Fleet, tmp_path: Path) -> None:
    content = publish(fleet, tmp_path, "costly.bin", tag="thrifty")
    fleet.wait_copies(["costly.bin"], ["dia"], within_s=WITHIN_S)
    wait_chosen(fleet, "costly.bin", {"dia"})
    assert download(f"{fleet.site_url}/costly.bin", tmp_path / "first").server == fleet.mirrors["dia"].url
    wait_rejected(fleet, "costly.bin", "dia", "quota_spent")
    assert expect_told(fleet, "costly.bin", "dia", RejectReason.QUOTA_SPENT)["fallback"] is True
    second = download(f"{fleet.site_url}/costly.bin", tmp_path / "second")
    assert second.server == fleet.master.url
    assert second.sha256 == hashlib.sha256(content).hexdigest()


def test_visitor_is_sent_to_the_nearer_mirror(fleet: Fleet, tmp_path: Path) -> None:
    publish(fleet, tmp_path, "near.bin")
    fleet.wait_copies(["near.bin"], ["ana", "bob"], within_s=WITHIN_S)
    wait_chosen(fleet, "near.bin", {"ana", "bob"})
    answer = expect_told(fleet, "near.bin", "bob", RejectReason.FARTHER, ip=PORTO_VISITOR)
    assert (answer["chosen"], answer["fallback"]) == ("ana", False)
    assert inside(answer, "visitor")["country"] == "PT"
    nearer, farther = (float(text(each, "distance_km")) for each in objects(answer, "ranked"))
    assert nearer < 100 < farther
    redirect = ask(f"{fleet.site_url}/near.bin", X_Forwarded_For=PORTO_VISITOR)
    assert redirect.location.startswith(fleet.mirrors["ana"].url)


@pytest.mark.parametrize(
    ("arguments", "schema", "keys"),
    [
        (("ls",), "files", {"files"}),
        (("status",), "status", {"roles", "mirrors", "degraded"}),
        (("mirror", "ls"), "mirrors", {"mirrors"}),
        (("mirror", "show", "ana"), "mirror", {"mirror"}),
        (("channel", "ls"), "channels", {"channels"}),
        (("channel", "show", "shared"), "channel", {"channel"}),
        (("channel", "test", "shared", "--min-size", "1MB"), "channel.test", {"channel", "files"}),
    ],
    ids=["ls", "status", "mirror ls", "mirror show", "channel ls", "channel show", "channel test"],
)
def test_snapshot_has_its_schema_and_content(
    fleet: Fleet, arguments: tuple[str, ...], schema: str, keys: set[str]
) -> None:
    exit_code, (told,), _ = run_command(fleet, *arguments)
    assert exit_code == 0
    assert told["schema"] == f"distributary/{schema}/1"
    assert set(told) - {"schema"} == keys


def test_unknown_channel_and_mirror_are_exit_code_3(fleet: Fleet) -> None:
    assert run_command(fleet, "channel", "show", "nowhere")[0] == ExitCode.NOT_FOUND
    assert run_command(fleet, "mirror", "show", "nobody")[0] == ExitCode.NOT_FOUND


def test_wrong_admin_token_is_exit_code_4(fleet: Fleet, tmp_path: Path) -> None:
    (tmp_path / "other.token").write_text("not-the-administrators-token\n")
    exit_code, _, error = run_command(
        fleet, "channel", "ls", "--set", f"site.admin_token_file={tmp_path / 'other.token'}"
    )
    assert exit_code == ExitCode.REFUSED
    assert inside(error, "error")["message"]
