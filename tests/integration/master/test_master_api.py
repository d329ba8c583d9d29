"""The master through its HTTP interface, over the in-memory broker and over RabbitMQ."""

from __future__ import annotations

import asyncio
import hashlib
import os
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from broker.config import BrokerConfig
from broker.memory import MemoryAdmin, MemoryBroker
from broker.port import Admin, Broker, Delivery, Outcome
from broker.retention import Retentions
from broker.topology import mirror_queue
from events.codec import decode
from events.grants import derive_key
from events.invitation import read_invitation
from events.names import MirrorName
from events.schemas import (
    CatalogueRestated,
    ChannelDefined,
    ChannelRemoved,
    FilePublished,
    FileWithdrawn,
    LogOpened,
    MirrorInvited,
    MirrorJoined,
    MirrorLeft,
    SubscriptionGranted,
    SubscriptionRevoked,
)
from master import following
from master.restating import QUARTERS
from master.store.store import open_store

if TYPE_CHECKING:
    from conftest import Desk, Theatre

API = "/-/api/v1"
IMAGES = {"filter": {"paths_any": ["**/*.iso"]}}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Two files that channels take, one that they do not, and all that must not be published."""
    root = tmp_path / "tree"
    (root / "images").mkdir(parents=True)
    (root / "images" / "a.iso").write_bytes(b"A" * 1000)
    (root / "b.iso").write_bytes(b"B" * 2000)
    (root / "readme.txt").write_bytes(b"read me")
    (root / ".git").mkdir()
    (root / ".git" / "config").write_bytes(b"hidden")
    (root / "link.iso").symlink_to(root / "b.iso")
    (root / "folder").symlink_to(root / "images")
    os.mkfifo(root / "pipe")
    (root / "two\nlines.iso").write_bytes(b"a header of its own")
    Path(os.fsdecode(bytes(root) + b"/not-utf8-\xff.iso")).write_bytes(b"no name")
    return root


def verdicts(reports: list[dict[str, Any]]) -> dict[str, str]:
    return {report["path"]: report.get("code", report["type"]) for report in reports if "path" in report}


def published(desk: Desk) -> list[tuple[str, str, int, int]]:
    return [
        (event.channel, event.path, event.generation, event.channel_sequence) for event in desk.events(FilePublished)
    ]


async def test_a_tree_is_published_and_what_cannot_be_is_told_with_its_reason(theatre: Theatre, tree: Path) -> None:
    async with theatre.desk() as desk:
        await desk.done("PUT", f"{API}/channels/iso", IMAGES)
        reports = await desk.publish(tree, **{"as": "pub"})
        assert verdicts(reports) == {
            "pub/images/a.iso": "published",
            "pub/b.iso": "published",
            "pub/readme.txt": "published",
            "pub/link.iso": "symlink",
            "pub/folder": "symlink",
            "pub/pipe": "not_a_file",
            "pub/two\nlines.iso": "path_invalid",
            "pub/not-utf8-?.iso": "path_invalid",
        }
        assert reports[-1] == {
            "type": "done",
            "published": 3,
            "held": 0,
            "unchanged": 0,
            "refused": 5,
            "hidden": 1,
            "hold": None,
        }
        await desk.until(lambda: len(published(desk)) == 5)
        assert {(channel, path) for channel, path, *_ in published(desk)} == {
            ("origin", "pub/images/a.iso"),
            ("origin", "pub/b.iso"),
            ("origin", "pub/readme.txt"),
            ("iso", "pub/images/a.iso"),
            ("iso", "pub/b.iso"),
        }
        files = (await desk.done("GET", f"{API}/files?channel=iso"))["files"]
        assert [(file["path"], file["channels"]) for file in files] == [
            ("pub/b.iso", ["iso"]),
            ("pub/images/a.iso", ["iso"]),
        ]
        assert files[0]["sha256"] == hashlib.sha256(b"B" * 2000).hexdigest()


async def test_publishing_again_changes_nothing_and_changed_content_is_a_new_generation(
    theatre: Theatre, tmp_path: Path
) -> None:
    source = tmp_path / "a.iso"
    source.write_bytes(b"one")
    async with theatre.desk() as desk:
        first = await desk.publish(source)
        again = await desk.publish(source)
        source.write_bytes(b"other")
        changed = await desk.publish(source)
        tagged = await desk.publish(source, tags=["stable"])
        assert [reports[0]["type"] for reports in (first, again, changed, tagged)] == [
            "published", "unchanged", "published", "published",
        ]  # fmt: skip
        await desk.until(lambda: len(published(desk)) == 3)
        assert published(desk) == [
            ("origin", "a.iso", 1, 1),
            ("origin", "a.iso", 2, 2),
            ("origin", "a.iso", 2, 3),
        ]


async def test_a_dry_run_tells_what_would_be_and_changes_nothing(memory_theatre: Theatre, tree: Path) -> None:
    async with memory_theatre.desk() as desk:
        reports = await desk.publish(tree / "b.iso", dry_run=True)
        assert verdicts(reports) == {"b.iso": "published"}
        assert (await desk.done("GET", f"{API}/files"))["files"] == []


async def test_a_mirrors_queue_gets_what_its_channels_hold_and_nothing_else(theatre: Theatre, tree: Path) -> None:
    heard: asyncio.Queue[object] = asyncio.Queue()

    async def hear(delivery: Delivery) -> Outcome:
        heard.put_nowait(decode(delivery.body).event)
        return Outcome.ACK

    async with theatre.desk() as desk:
        await desk.done("PUT", f"{API}/channels/iso", IMAGES)
        await desk.done("PUT", f"{API}/channels/docs", {"filter": {"paths_any": ["**/*.txt"]}})
        await desk.join("ana", "iso")
        consuming = asyncio.create_task(desk.broker.consume(mirror_queue(MirrorName("ana")), hear))
        try:
            await desk.publish(tree)
            events: list[object] = []
            async with asyncio.timeout(30):
                # Of the tree it is published last, so whatever else was meant for this queue has come before.
                while not (
                    events and isinstance(last := events[-1], FilePublished) and last.path == "tree/images/a.iso"
                ):
                    events.append(await heard.get())
        finally:
            consuming.cancel()
            await asyncio.wait([consuming])
    files = [event for event in events if isinstance(event, FilePublished)]
    assert [(file.channel, file.path) for file in files] == [("iso", "tree/b.iso"), ("iso", "tree/images/a.iso")]
    assert {type(event) for event in events} >= {MirrorJoined, SubscriptionGranted}


async def test_a_changed_filter_moves_files_in_and_out(theatre: Theatre, tree: Path) -> None:
    async with theatre.desk() as desk:
        await desk.publish(tree, **{"as": ""})
        entered = await desk.done("PUT", f"{API}/channels/big", {"filter": {"size_bytes_min": 1500}})
        assert (entered["files"], entered["entered"], entered["left"]) == (1, 1, 0)
        changed = await desk.done("PUT", f"{API}/channels/big", {"filter": {"size_bytes_max": 1500}})
        assert (changed["files"], changed["entered"], changed["left"]) == (2, 2, 1)
        await desk.done("DELETE", f"{API}/channels/big")
        await desk.until(lambda: bool(desk.events(ChannelRemoved)))
        left = [(event.path, event.channel_sequence) for event in desk.events(FileWithdrawn)]
        assert left == [("b.iso", 2), ("images/a.iso", 5), ("readme.txt", 6)]
        assert len(desk.events(ChannelDefined)) == 2
        assert (await desk.ask("GET", f"{API}/channels/big"))[0] == 404


async def test_channel_test_tells_which_rule_decided(memory_theatre: Theatre, tree: Path) -> None:
    async with memory_theatre.desk() as desk:
        await desk.publish(tree, **{"as": ""})
        rules = {"filter": {"paths_any": ["**/*.iso"], "size_bytes_min": 1500}}
        tested = await desk.done("POST", f"{API}/channels/new/test", rules)
        assert {file["path"]: (file["taken"], file["rule"]) for file in tested["files"]} == {
            "b.iso": (True, "all"),
            "images/a.iso": (False, "size_bytes_min"),
            "readme.txt": (False, "size_bytes_min"),
        }
        status, answer = await desk.ask("POST", f"{API}/channels/new/test", {})
        assert (status, answer["error"]["code"]) == (404, "channel_unknown")


async def test_a_withdrawn_file_is_gone_from_catalogue_channels_and_origin(theatre: Theatre, tree: Path) -> None:
    async with theatre.desk() as desk:
        await desk.done("PUT", f"{API}/channels/iso", IMAGES)
        credentials = await desk.join("ana", "iso")
        await desk.publish(tree / "b.iso")
        digest = hashlib.sha256(b"B" * 2000).hexdigest()
        assert await origin(desk, digest, credentials["token"]) == (200, b"B" * 2000)
        await desk.done("DELETE", f"{API}/files?path=b.iso&reason=a+mistake")
        assert (await origin(desk, digest, credentials["token"]))[0] == 404
        await desk.until(lambda: len(desk.events(FileWithdrawn)) == 2)
        assert [(event.channel, event.reason) for event in desk.events(FileWithdrawn)] == [
            ("iso", "a mistake"),
            ("origin", "a mistake"),
        ]
        assert (await desk.ask("DELETE", f"{API}/files?path=b.iso"))[0] == 404


async def origin(desk: Desk, digest: str, token: str, **headers: str) -> tuple[int, bytes]:
    headers["Authorization"] = f"Bearer {token}"
    async with desk.session.get(f"{desk.url}/-/origin/{digest}", headers=headers) as response:
        return response.status, await response.read()


async def test_origin_sends_ranges_to_mirrors_whose_channels_hold_the_file(theatre: Theatre, tree: Path) -> None:
    async with theatre.desk() as desk:
        await desk.done("PUT", f"{API}/channels/iso", IMAGES)
        await desk.done("PUT", f"{API}/channels/docs", {"filter": {"paths_any": ["**/*.txt"]}})
        ana = (await desk.join("ana", "iso"))["token"]
        bob = (await desk.join("bob", "docs"))["token"]
        await desk.publish(tree / "b.iso")
        digest = hashlib.sha256(b"B" * 2000).hexdigest()
        ranged = {"Range": "bytes=1990-", "If-Range": f'"{digest}"'}
        assert await origin(desk, digest, ana, **ranged) == (206, b"B" * 10)
        assert (await origin(desk, digest, bob))[0] == 403
        assert (await origin(desk, digest, "nobody's"))[0] == 403
        assert (await origin(desk, "0" * 64, ana))[0] == 404
        assert (await origin(desk, "not-a-digest", ana))[0] == 400


async def test_a_file_that_changed_since_it_was_published_is_not_served(memory_theatre: Theatre, tree: Path) -> None:
    async with memory_theatre.desk() as desk:
        await desk.done("PUT", f"{API}/channels/iso", IMAGES)
        token = (await desk.join("ana", "iso"))["token"]
        await desk.publish(tree / "b.iso")
        (tree / "b.iso").write_bytes(b"C" * 2000)
        status, body = await origin(desk, hashlib.sha256(b"B" * 2000).hexdigest(), token)
        assert status == 409
        assert b'"file_changed"' in body
        assert b"publish it again" in body


async def test_joining_gives_credentials_once(theatre: Theatre) -> None:
    async with theatre.desk() as desk:
        await desk.done("PUT", f"{API}/channels/iso", IMAGES)
        invited = await desk.done("POST", f"{API}/mirrors/ana/invitation", {"channels": ["iso"]})
        invitation = read_invitation(invited["token"])
        assert (invitation.name, invitation.url) == ("ana", desk.url)
        body = {"secret": invitation.secret, "name": "ana", "profile": {"url": "http://ana/", "slots": 2}}
        answers = await asyncio.gather(*(desk.ask("POST", f"{API}/join", body, token="") for _ in range(50)))
        granted = [answer["credentials"] for status, answer in answers if status == 200]
        refused = [(status, answer["error"]["code"]) for status, answer in answers if status != 200]
        assert refused == [(410, "invitation_used")] * 49
        (credentials,) = granted
        assert credentials["channels"] == ["iso"]
        assert credentials["grant_keys"] == {"1": derive_key(b"s" * 32, MirrorName("ana"), 1).hex()}
        assert (credentials["master_url"], credentials["site_url"]) == (desk.url, "http://site.example")
        assert ".ana:" in credentials["broker_url"]
        await desk.until(lambda: bool(desk.events(SubscriptionGranted)))
        assert [type(event) for event in desk.events(MirrorInvited, MirrorJoined, SubscriptionGranted)] == [
            MirrorInvited, MirrorJoined, SubscriptionGranted,
        ]  # fmt: skip
        own = await desk.done("GET", f"{API}/mirrors/self/subscriptions", token=credentials["token"])
        assert own == {"channels": ["iso"]}


async def test_a_wrong_or_late_invitation_gives_nothing(memory_theatre: Theatre) -> None:
    async with memory_theatre.desk() as desk:
        first = read_invitation((await desk.done("POST", f"{API}/mirrors/ana/invitation", {}))["token"])
        await desk.done("POST", f"{API}/mirrors/ana/invitation", {})
        profile = {"url": "http://ana", "slots": 2}
        for secret in (first.secret, "guess"):
            body = {"secret": secret, "name": "ana", "profile": profile}
            status, answer = await desk.ask("POST", f"{API}/join", body)
            assert (status, answer["error"]["code"]) == (403, "invitation_unknown")
        assert (await desk.done("GET", f"{API}/mirrors"))["mirrors"] == []


async def test_nobody_is_given_the_sites_own_broker_user_unless_somebody_allowed_it(memory_theatre: Theatre) -> None:
    site = memory_theatre.site
    assert site is not None

    @asynccontextmanager
    async def open_broker(_config: BrokerConfig) -> AsyncGenerator[tuple[Broker, Admin]]:
        async with MemoryBroker(site) as broker:
            yield broker, MemoryAdmin(site, keeps_accounts=False)

    kept = replace(memory_theatre, open_broker=open_broker)
    async with kept.desk() as desk:
        status, refusal = await desk.ask("POST", f"{API}/mirrors/ana/invitation", {})
        assert (status, refusal["error"]["code"]) == (409, "broker_accounts_unmanaged")
        assert "shared_user" in refusal["error"]["hint"]
    async with replace(kept, config=replace(kept.config, shared_broker_user=True)).desk() as desk:
        credentials = await desk.join("ana")
        assert credentials["broker_url"] == kept.config.broker.url
        secret = read_invitation((await desk.done("POST", f"{API}/mirrors/bob/invitation", {}))["token"]).secret
    async with kept.desk() as desk:
        body = {"secret": secret, "name": "bob", "profile": {"url": "http://bob", "slots": 2}}
        status, refusal = await desk.ask("POST", f"{API}/join", body)
        assert (status, refusal["error"]["code"]) == (409, "broker_accounts_unmanaged")


async def test_a_mirrors_own_account_reads_its_queue_alone(theatre: Theatre) -> None:
    if theatre.site is not None:
        assert not theatre.site.accounts
    async with theatre.desk() as desk:
        await desk.done("PUT", f"{API}/channels/iso", IMAGES)
        credentials = await desk.join("ana", "iso")
        healed = await desk.done("POST", f"{API}/mirrors/self/queue", token=credentials["token"])
        assert healed == {"queue": "mirror.ana", "healed": False}
        await desk.done("DELETE", f"{API}/mirrors/ana?reason=bye")
        await desk.until(lambda: bool(desk.events(MirrorLeft)))
        status, answer = await desk.ask("GET", f"{API}/mirrors/self/subscriptions", token=credentials["token"])
        assert (status, answer["error"]["code"]) == (403, "token_wrong")
        assert not await desk.broker.exists("mirror.ana")
        again = await desk.join("ana")
        assert again["broker_url"] != credentials["broker_url"], "a mirror that joins again gets another password"


async def test_a_mirror_leaves_by_itself_and_only_itself(memory_theatre: Theatre) -> None:
    async with memory_theatre.desk() as desk:
        token = (await desk.join("ana"))["token"]
        await desk.join("bob")
        assert (await desk.ask("DELETE", f"{API}/mirrors/bob", token=token))[0] == 403
        assert (await desk.ask("DELETE", f"{API}/mirrors/self", token="nobody's"))[0] == 403
        assert await desk.done("DELETE", f"{API}/mirrors/self", token=token) == {"removed": "ana"}
        await desk.until(lambda: bool(desk.events(MirrorLeft)))
        (left,) = desk.events(MirrorLeft)
        assert (left.mirror, left.reason) == ("ana", "left by its operator")
        assert (await desk.ask("GET", f"{API}/mirrors/self/subscriptions", token=token))[0] == 403


async def test_leave_is_granted_and_revoked(theatre: Theatre, tree: Path) -> None:
    async with theatre.desk() as desk:
        await desk.done("PUT", f"{API}/channels/iso", IMAGES)
        token = (await desk.join("ana"))["token"]
        await desk.publish(tree / "b.iso")
        assert (await desk.ask("GET", f"{API}/channels/iso/snapshot", token=token))[0] == 403
        assert (await desk.done("PUT", f"{API}/mirrors/ana/subscriptions/iso"))["channels"] == ["iso"]
        snapshot = await desk.done("GET", f"{API}/channels/iso/snapshot", token=token)
        assert (snapshot["channel_sequence"], [file["path"] for file in snapshot["files"]]) == (1, ["b.iso"])
        assert snapshot["epoch"] > 0
        assert (await desk.done("DELETE", f"{API}/mirrors/ana/subscriptions/iso"))["channels"] == []
        assert (await desk.ask("GET", f"{API}/channels/iso/snapshot", token=token))[0] == 403
        await desk.until(lambda: bool(desk.events(SubscriptionRevoked)))


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        pytest.param("PUT", "/channels/origin", {}, 400, "channel_invalid", id="the reserved channel"),
        pytest.param("PUT", "/channels/x", {"filter": {"sizes": 1}}, 400, "body_invalid", id="an unknown rule"),
        pytest.param("PUT", "/channels/x", {"filter": {"tags_any": ["a b"]}}, 400, "body_invalid", id="no tag"),
        pytest.param("PUT", "/channels/x", {"filter": {"media_types": ["x"]}}, 400, "media_type_invalid", id="no type"),
        pytest.param("GET", "/files?channel=x", None, 404, "channel_unknown", id="an unknown channel"),
        pytest.param("POST", "/files", {"source": "relative"}, 400, "source_invalid", id="a relative source"),
        pytest.param("POST", "/files", {"source": "/nul\0"}, 400, "source_invalid", id="NUL in a source"),
        pytest.param("POST", "/files", {"source": "/not/there"}, 404, "source_missing", id="a missing source"),
        pytest.param(
            "POST", "/files", {"source": "/", "channels": ["x"]}, 404, "channel_unknown", id="no such channel"
        ),
        pytest.param("POST", "/files", {"source": "/", "networks": ["x"]}, 400, "network_invalid", id="no network"),
        pytest.param("POST", "/files", {"source": "/", "tags": ["a b"]}, 400, "tag_invalid", id="not a tag"),
        pytest.param("DELETE", "/files?path=../x", None, 400, "path_invalid", id="a path that climbs"),
        pytest.param("DELETE", "/files?path=a%0d%0ab", None, 400, "path_invalid", id="CR LF in a path"),
        pytest.param("POST", "/mirrors/.*/invitation", {}, 400, "mirror_invalid", id="a pattern as a name"),
        pytest.param("POST", "/mirrors/a/invitation", {"channels": ["x"]}, 404, "channel_unknown", id="to nowhere"),
        pytest.param("POST", "/mirrors/a/invitation", {"expires_in_s": 0}, 400, "expiry_invalid", id="expired at once"),
        pytest.param("PUT", "/mirrors/a/subscriptions/x", None, 404, "mirror_unknown", id="an unknown mirror"),
        pytest.param("POST", "/join", {"secret": "x", "name": "a"}, 400, "body_invalid", id="no profile"),
        pytest.param("POST", "/nowhere", {}, 404, "not_found", id="no such page"),
    ],
)
async def test_bad_requests_are_told_what_is_wrong(
    memory_theatre: Theatre, method: str, path: str, body: object, status: int, code: str
) -> None:
    async with memory_theatre.desk() as desk:
        found, answer = await desk.ask(method, API + path, body)
        assert (found, answer["error"]["code"]) == (status, code)
        assert answer["error"]["message"]


async def test_administration_needs_the_administrators_token(memory_theatre: Theatre) -> None:
    async with memory_theatre.desk() as desk:
        assert (await desk.ask("GET", f"{API}/files", token="guess"))[0] == 403
        async with desk.session.get(f"{desk.url}{API}/files") as response:
            assert response.status == 401


async def test_without_a_broker_the_master_publishes_and_serves_and_says_it_all_later(
    memory_theatre: Theatre, tree: Path
) -> None:
    site = memory_theatre.site
    assert site is not None
    async with memory_theatre.desk() as desk:
        await desk.done("PUT", f"{API}/channels/iso", IMAGES)
        token = (await desk.join("ana", "iso"))["token"]
        with site.outage():
            assert verdicts(await desk.publish(tree / "b.iso")) == {"b.iso": "published"}
            assert (await origin(desk, hashlib.sha256(b"B" * 2000).hexdigest(), token))[0] == 200
            status = await desk.done("GET", f"{API}/status")
            assert status["outbox"]["pending"] > 0
            assert not status["broker"]["connected"]
            async with desk.session.get(f"{desk.url}/-/readyz") as response:
                assert (response.status, (await response.json())["degraded"]) == (200, True)
        await desk.until(lambda: len(published(desk)) == 2)


async def test_an_emptied_broker_gets_a_new_log_with_all_that_holds_under_its_old_numbers(
    theatre: Theatre, tree: Path
) -> None:
    async with theatre.desk() as desk:
        await desk.done("PUT", f"{API}/channels/iso", IMAGES)
        await desk.publish(tree / "b.iso")
        await desk.publish(tree / "readme.txt")
        await desk.done("DELETE", f"{API}/files?path=b.iso")
        await desk.join("ana", "iso")
        await desk.until(lambda: bool(desk.events(SubscriptionGranted)))
    async with theatre.open_broker(theatre.config.broker) as (_, admin):
        await admin.delete_queue("log.g1")
        await admin.delete_queue("mirror.ana")
    async with theatre.desk(generation=2) as desk:
        await desk.until(lambda: bool(desk.events(CatalogueRestated)))
        # What the first master had not yet seen confirmed is said once more, before the new log is opened.
        kinds = [type(event) for event in desk.events()]
        assert kinds[kinds.index(LogOpened) :] == [
            LogOpened, ChannelDefined, MirrorJoined, SubscriptionGranted, FilePublished, CatalogueRestated,
        ]  # fmt: skip
        opened = next(envelope for envelope in desk.said if isinstance(envelope.event, LogOpened))
        assert desk.events()[-1] == CatalogueRestated(generation=2, since=opened.sequence)
        assert published(desk) == [("origin", "readme.txt", 1, 2)]
        assert await desk.broker.exists("mirror.ana")
        assert (await desk.done("GET", f"{API}/status"))["log_generation"] == 2
    async with theatre.desk(generation=2) as desk:
        await desk.until(lambda: bool(desk.events(FilePublished)))
        assert len(desk.events(LogOpened)) == 1, "a log that is there is not opened again"


async def test_the_catalogue_is_restated_in_the_same_log_before_its_retention_cuts_it_off(
    memory_theatre: Theatre, tree: Path
) -> None:
    async with memory_theatre.desk() as desk:
        await desk.publish(tree / "b.iso")
        await desk.until(lambda: bool(desk.events(FilePublished)))
        assert [type(event) for event in desk.events()] == [LogOpened, CatalogueRestated, FilePublished]
    last_week_ns = time.time_ns() - Retentions().log.age_s * 1_000_000_000 // QUARTERS
    async with open_store(memory_theatre.config.store_url) as store, store.changing() as transaction:
        await transaction.set_restated_at_ns(last_week_ns)
    async with memory_theatre.desk() as desk:
        await desk.until(lambda: len(desk.events(CatalogueRestated)) == 2)
        assert desk.events()[2:] == [*desk.events(FilePublished)[:1] * 2, CatalogueRestated(generation=1, since=4)]
    async with memory_theatre.desk() as desk:
        await desk.publish(tree / "readme.txt")
        await desk.until(lambda: len(desk.events(FilePublished)) == 3)
        assert len(desk.events(CatalogueRestated)) == 2, "once is enough for a week"


async def test_the_catalogue_is_restated_when_a_quarter_of_the_log_came_since_however_soon(
    memory_theatre: Theatre, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "UNCOUNTED_BYTES_MAX", 1)
    async with memory_theatre.desk() as desk:
        await desk.publish(tree / "b.iso")
        async with asyncio.timeout(30):
            while not await bytes_since_restated(desk):  # noqa: ASYNC110 - the master tells nobody
                await asyncio.sleep(0.01)
        assert await bytes_since_restated(desk) < 10_000
    async with open_store(memory_theatre.config.store_url) as store, store.changing() as transaction:
        await transaction.set_bytes_since_restated(Retentions().log.size_bytes // QUARTERS)
    async with memory_theatre.desk() as desk:
        await desk.until(lambda: len(desk.events(CatalogueRestated)) == 2)
    async with memory_theatre.desk() as desk:
        await desk.publish(tree / "readme.txt")
        await desk.until(lambda: len(desk.events(FilePublished)) == 3)
        assert len(desk.events(CatalogueRestated)) == 2, "what came before a restatement does not count"


async def test_one_path_is_listed_alone_and_what_is_not_published_is_not(memory_theatre: Theatre, tree: Path) -> None:
    async with memory_theatre.desk() as desk:
        await desk.publish(tree / "b.iso")
        await desk.publish(tree / "readme.txt")
        (only,) = (await desk.done("GET", f"{API}/files?path=b.iso"))["files"]
        assert only in (await desk.done("GET", f"{API}/files"))["files"]
        assert only["path"] == "b.iso"
        assert (await desk.done("GET", f"{API}/files?path=c.iso")) == {"files": []}


async def test_why_the_master_is_degraded_is_told_to_the_administrator_alone(memory_theatre: Theatre) -> None:
    async with memory_theatre.desk() as desk:
        status, told = await desk.ask("GET", "/-/readyz", token="a stranger's")
        assert (status, all("detail" in check for check in told["checks"])) == (200, True), "on this machine"
        url, proxied = f"{desk.url}/-/readyz", {"X-Forwarded-For": "198.51.100.7"}
        known = {**proxied, "Authorization": "Bearer admin-token-of-the-tests"}
        async with desk.session.get(url, headers=proxied) as answer:
            assert not any("detail" in check for check in (await answer.json())["checks"])
        async with desk.session.get(url, headers=known) as answer:
            assert all("detail" in check for check in (await answer.json())["checks"])


async def bytes_since_restated(desk: Desk) -> int:
    return (await desk.done("GET", f"{API}/status"))["retention"]["bytes_since_restated"]
