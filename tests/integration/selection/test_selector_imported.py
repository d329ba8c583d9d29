"""A log that was exported and imported elsewhere tells what it told, and is believed as far as before."""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from yarl import URL

from broker.accounts import importer_user, mirror_user
from broker.config import BrokerConfig
from broker.port import AccessRefusedError, Message
from broker.provision import provision_site
from broker.rabbitmq import RabbitAdmin, RabbitBroker
from broker.rabbitmq.restorer import RabbitRestorer
from broker.site import BrokerSite, Vhost
from broker.topology import Account, mirror_account
from events.codec import encode
from events.envelope import MASTER_SOURCE, Envelope, mirror_source
from events.names import ChannelName, MirrorName, SelectorName
from events.schemas import Location, MirrorCameOnline, MirrorJoined, Profile, ReplicaReady, SubscriptionGranted
from history.audit.audit import audit
from history.audit.findings import FindingKind
from history.entry import Entry
from history.export.exporting import export_log
from history.export.importing import Imported, NotEmptyError, import_log
from history.export.source import ExportSource
from history.privacy import Addresses
from history.replay.replayer import replay
from history.sources.broker_log import BrokerLog
from selection.view.differences import differences

if TYPE_CHECKING:
    from conftest import Said, Selector, Site

pytestmark = [pytest.mark.rabbitmq, pytest.mark.parametrize("site", ["rabbitmq"], indirect=True)]

FILES = ("a.iso", "b.iso", "c.iso")
PLACES = {"ana": Location(latitude=41, longitude=-9), "bob": Location(latitude=60, longitude=11)}
VISITS = 20
FORGERY = "mirror/bob:9:1"


@pytest.fixture
def elsewhere(broker_site: BrokerSite) -> Iterator[Vhost]:
    """Another virtual host, without a log."""
    name = f"test-{secrets.token_hex(6)}"
    yield broker_site.create_vhost(name)
    broker_site.delete_vhost(name)


def config_of(vhost: Vhost) -> BrokerConfig:
    return BrokerConfig(url=vhost.amqp_url, management_url=vhost.management_url)


@asynccontextmanager
async def speaking_as(mirror: str, vhost: Vhost, account: Account) -> AsyncGenerator[RabbitBroker]:
    """Connect with a mirror's own account."""
    user, password = mirror_user(vhost.name, MirrorName(mirror)), secrets.token_urlsafe()
    async with RabbitAdmin(config_of(vhost)) as admin:
        await admin.ensure_account(user, password, account)
    url = URL(vhost.amqp_url).with_user(user).with_password(password)
    async with RabbitBroker(BrokerConfig(url=str(url))) as broker:
        yield broker


async def mirror_says(said: Said, mirror: str, broker: RabbitBroker) -> None:
    """The master lets a mirror in; the mirror says the rest in its own name."""
    profile = Profile(url=f"http://{mirror}.example", slots=50, location=PLACES[mirror])
    name = MirrorName(mirror)
    await said.say(MASTER_SOURCE, MirrorJoined(mirror=name, profile=profile))
    await said.say(MASTER_SOURCE, SubscriptionGranted(mirror=name, channel=ChannelName("iso")))
    own = replace(said, broker=broker)
    await own.say(mirror_source(name), MirrorCameOnline(mirror=name, profile=profile))
    await own.holding(mirror, *FILES[:2])
    await own.load(mirror, slots=50)


async def forge(said: Said, broker: RabbitBroker) -> None:
    """One mirror claims that another holds a file."""
    bob = MirrorName("bob")
    file = await said.published("forged.iso")
    event = ReplicaReady(
        mirror=bob, sha256=file.sha256, size_bytes=file.size_bytes, path=file.path, generation=file.generation
    )
    forged = Envelope(source=mirror_source(bob), epoch=9, sequence=1, time_ns=0, traceparent="", event=event)
    await broker.publish(
        Message(
            exchange="fleet",
            routing_key="mirror.bob.ready",
            message_id=FORGERY,
            type="replica.ready/1",
            body=encode(forged),
        )
    )


async def busy_day(site: Site, vhost: Vhost) -> dict[str, Any]:
    """Mirrors speak in their own names, one of them also in another's, and a selector sends visitors on."""
    for path in FILES:
        await site.said.published(path)
    lax = replace(mirror_account(MirrorName("ana")), topics_write={"fleet": ".*", "load": ".*"})
    async with AsyncExitStack() as connections:
        ana = await connections.enter_async_context(speaking_as("ana", vhost, lax))
        bob = await connections.enter_async_context(speaking_as("bob", vhost, mirror_account(MirrorName("bob"))))
        await mirror_says(site.said, "ana", ana)
        await mirror_says(site.said, "bob", bob)
        async with site.selector(name=SelectorName("one"), decisions_percent=100) as selector:
            await selector.until_chosen(FILES[0], "ana")
            for number in range(VISITS):
                await selector.visit(f"/{FILES[number % 2]}", headers={"X-Forwarded-For": f"{number + 1}.0.113.9"})
            await forge(site.said, ana)
            return await seen_by(selector, "forged.iso")


async def seen_by(selector: Selector, last: str) -> dict[str, Any]:
    """What a selector shows once it has read of the last file."""

    async def is_read() -> bool:
        return last in str(await selector.ask("/-/api/v1/files"))

    await selector.until(is_read)
    return await selector.ask("/-/api/v1/files")


def log_of(broker: RabbitBroker, vhost: Vhost) -> BrokerLog:
    return BrokerLog(broker, vhost=vhost.name, name=vhost.name, clock_s=time.time)


async def imported(folder: Path, vhost: Vhost) -> Imported:
    config = config_of(vhost)
    async with RabbitAdmin(config) as admin, RabbitBroker(config) as broker, RabbitRestorer(config) as restorer:
        return await import_log(folder, admin=admin, broker=broker, restorer=restorer)


async def exported(site: Site, folder: Path, addresses: Addresses = Addresses.KEEP) -> list[Entry]:
    vhost = site.config.broker.vhost
    source = BrokerLog(site.broker, vhost=vhost, name=vhost, clock_s=time.time)
    await export_log(source, folder, addresses=addresses)
    return [entry async for batch in ExportSource(folder).batches() for entry in batch]


async def test_an_imported_log_makes_the_same_view_and_the_same_decisions(
    site: Site, vhost: Vhost, elsewhere: Vhost, tmp_path: Path
) -> None:
    seen = await busy_day(site, vhost)
    entries = await exported(site, tmp_path)
    assert await imported(tmp_path, elsewhere) == Imported(entries=len(entries), left_out=0, generations=(1,))

    async with RabbitBroker(config_of(elsewhere)) as broker:
        there = await replay(log_of(broker, elsewhere))
        found = await audit(log_of(broker, elsewhere))
    here = await replay(ExportSource(tmp_path))
    assert list(differences(here.view, there.view)) == []
    assert (there.refused, there.entries) == (1, len(entries))
    assert (found.reproduced, found.doubted) == (VISITS, {})
    assert {each.kind: each.message_id for each in found.findings.kept()} in (
        {FindingKind.FORGED: FORGERY},
        {FindingKind.REFUSED: FORGERY},
    )

    newcomer = replace(
        site,
        connect=lambda: _both(RabbitBroker(config_of(elsewhere))),
        config=replace(site.config, broker=config_of(elsewhere)),
    )
    async with newcomer.unready_selector(name=SelectorName("two")) as selector:
        assert await seen_by(selector, "forged.iso") == seen


def _both(broker: RabbitBroker) -> tuple[RabbitBroker, RabbitBroker]:
    return broker, broker


async def test_addresses_that_were_dropped_are_nowhere_in_the_imported_log(
    site: Site, vhost: Vhost, elsewhere: Vhost, tmp_path: Path
) -> None:
    await busy_day(site, vhost)
    await exported(site, tmp_path, Addresses.DROP)
    await imported(tmp_path, elsewhere)
    async with RabbitBroker(config_of(elsewhere)) as broker:
        bodies = [entry.body async for batch in log_of(broker, elsewhere).batches() for entry in batch]
        found = await audit(log_of(broker, elsewhere))
    assert not any(b".0.113.9" in body for body in bodies)
    assert FindingKind.DECISION_WRONG not in found.findings.counts


async def test_nothing_is_imported_beside_a_log(site: Site, vhost: Vhost, tmp_path: Path) -> None:
    entries = await exported(site, tmp_path)
    with pytest.raises(NotEmptyError, match="has a log already"):
        await imported(tmp_path, vhost)
    again = await exported(site, tmp_path)
    assert again == entries


async def test_a_log_of_several_generations_is_imported_as_such(
    site: Site, vhost: Vhost, elsewhere: Vhost, tmp_path: Path
) -> None:
    del vhost
    await site.said.published("a.iso")
    await provision_site(site.admin, 3)
    await site.said.log_opened(3)
    entries = await exported(site, tmp_path)
    assert {entry.generation for entry in entries} == {1, 3}
    assert (await imported(tmp_path, elsewhere)).generations == (1, 3)
    async with RabbitBroker(config_of(elsewhere)) as broker:
        there = [entry async for batch in log_of(broker, elsewhere).batches() for entry in batch]
    assert [(each.generation, each.message_id) for each in there] == [
        (each.generation, each.message_id) for each in entries
    ]


async def test_without_leave_to_write_in_others_names_nothing_is_begun(site: Site, elsewhere: Vhost) -> None:
    del site
    config = replace(config_of(elsewhere), management_url=None)
    with pytest.raises(AccessRefusedError, match="tag `impersonator`"):
        async with RabbitRestorer(config):
            pass


async def test_the_importer_is_gone_afterwards(site: Site, elsewhere: Vhost) -> None:
    del site
    async with RabbitRestorer(config_of(elsewhere)):
        assert importer_user(elsewhere.name) in await users(elsewhere)
    assert importer_user(elsewhere.name) not in await users(elsewhere)


async def users(vhost: Vhost) -> set[str]:
    url = URL(vhost.management_url)
    async with aiohttp.ClientSession() as http, http.get(url / "api" / "users") as answer:
        return {user["name"] for user in await answer.json()}
