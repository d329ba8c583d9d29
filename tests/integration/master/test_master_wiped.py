"""The master over a RabbitMQ that loses what it was given: the virtual host, users, exchanges, streams and queues.

The master is not started again; whatever its database tells is in the broker again a little later.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterator
from dataclasses import replace
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit, urlunsplit

import aiohttp
import pytest

from broker.config import BrokerConfig
from broker.port import AccessRefusedError, BrokerError, Delivery
from broker.rabbitmq import RabbitBroker
from broker.site import BrokerSite, Vhost
from broker.topology import log_stream, mirror_queue
from events.codec import decode
from events.names import MirrorName
from events.schemas import CatalogueRestated, FilePublished, LogOpened
from master import app

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Desk, Theatre

pytestmark = [pytest.mark.rabbitmq, pytest.mark.timeout(300)]

API = "/-/api/v1"
WITHIN_S = 120.0  # some six seconds are usual: a lost log is believed to be lost after three looks
ANA = MirrorName("ana")


@pytest.fixture
def own_ground(broker_site: BrokerSite) -> Iterator[Vhost]:
    """A virtual host that is not there yet, with a user who is not there yet; the management API is an admin's."""
    name = f"test-{secrets.token_hex(6)}"
    parts = urlsplit(broker_site.vhost(name).amqp_url)
    netloc = f"site-{name}:secret@{parts.hostname}:{parts.port}"
    try:
        yield replace(broker_site.vhost(name), amqp_url=urlunsplit(parts._replace(netloc=netloc)))
    finally:
        lose_ground(broker_site, name)


def lose_ground(site: BrokerSite, name: str) -> None:
    """Delete the virtual host with all that is in it, and the users of the site and of its mirrors."""
    site.delete_vhost(name)
    site.delete_user(f"site-{name}")


def over(theatre: Theatre, vhost: Vhost, *, management_url: str | None) -> Theatre:
    broker = BrokerConfig(url=vhost.amqp_url, management_url=management_url)
    return replace(theatre, config=replace(theatre.config, broker=broker), open_broker=app.open_rabbitmq)


async def read_log(desk: Desk, generation: int, until: type[object]) -> list[object]:
    """Read a generation of the log from its first entry up to the first event of a kind."""
    found: list[object] = []
    done = asyncio.Event()

    def fold(delivery: Delivery) -> None:
        found.append(decode(delivery.body).event)
        if isinstance(found[-1], until):
            done.set()

    following = asyncio.create_task(desk.broker.follow(log_stream(generation), fold))
    try:
        await asyncio.wait_for(done.wait(), WITHIN_S)
    finally:
        following.cancel()
        await asyncio.wait([following])
    return found


async def until_open(desk: Desk, generation: int) -> None:
    """Wait until the master has opened this generation and says that the broker is as it must be."""
    async with asyncio.timeout(WITHIN_S):
        while True:
            status = await desk.done("GET", f"{API}/status")
            if status["log_generation"] == generation and status["broker"]["provisioned"]:
                return
            await asyncio.sleep(0.05)


async def test_ground_that_is_gone_is_made_again_with_all_that_stood_on_it(
    memory_theatre: Theatre, own_ground: Vhost, broker_site: BrokerSite, tmp_path: Path
) -> None:
    theatre = over(memory_theatre, own_ground, management_url=broker_site.management_url)
    (tmp_path / "before.iso").write_bytes(b"before")
    (tmp_path / "meanwhile.iso").write_bytes(b"meanwhile")
    async with theatre.desk(generation=None) as desk:
        await desk.done("PUT", f"{API}/channels/iso", {"filter": {}, "description": ""})
        ana = await desk.join("ana", "iso")
        await desk.publish(tmp_path / "before.iso")
        await asyncio.to_thread(lose_ground, broker_site, own_ground.name)
        await desk.publish(tmp_path / "meanwhile.iso")
        await until_open(desk, 2)
        said = await read_log(desk, 2, CatalogueRestated)
        assert any(isinstance(event, LogOpened) for event in said)
        told = {event.path for event in said if isinstance(event, FilePublished)}
        assert told == {"before.iso", "meanwhile.iso"}
        async with RabbitBroker(BrokerConfig(url=ana["broker_url"])) as mirror:
            assert await mirror.exists(mirror_queue(ANA)), "the mirror's user has the password that the mirror has"


async def test_streams_and_exchanges_that_are_gone_under_a_live_connection_are_made_again(
    memory_theatre: Theatre, own_ground: Vhost, broker_site: BrokerSite, tmp_path: Path
) -> None:
    theatre = over(memory_theatre, own_ground, management_url=broker_site.management_url)
    (tmp_path / "a.iso").write_bytes(b"A")
    async with theatre.desk(generation=None) as desk:
        reconnects = desk.broker.health.reconnects
        await delete(broker_site, own_ground, f"queues/{own_ground.name}/{log_stream(1)}")
        await until_open(desk, 2)
        await delete(broker_site, own_ground, f"exchanges/{own_ground.name}/files")
        await desk.publish(tmp_path / "a.iso")
        assert any(isinstance(event, FilePublished) for event in await read_log(desk, 2, FilePublished))
        assert desk.broker.health.reconnects == reconnects


async def delete(site: BrokerSite, vhost: Vhost, path: str) -> None:
    """Delete one thing by the management API, as an administrator who slipped does."""
    login = urlsplit(site.management_url)
    base = urlunsplit(login._replace(netloc=f"{login.hostname}:{login.port}"))
    auth = aiohttp.encode_basic_auth(login.username or "guest", login.password or "guest")
    url = f"{base}/api/{quote(path, safe='/')}"
    async with aiohttp.ClientSession() as http, http.delete(url, headers={"Authorization": auth}) as answer:
        assert answer.status == HTTPStatus.NO_CONTENT, vhost


async def test_a_user_whose_password_differs_is_not_changed_and_ends_the_start(
    memory_theatre: Theatre, own_ground: Vhost, broker_site: BrokerSite
) -> None:
    right = over(memory_theatre, own_ground, management_url=broker_site.management_url)
    async with right.desk():
        pass
    wrong = replace(own_ground, amqp_url=own_ground.amqp_url.replace(":secret@", ":guessed@"))
    with pytest.raises(AccessRefusedError):
        async with over(memory_theatre, wrong, management_url=broker_site.management_url).desk():
            pass
    async with right.desk():
        pass


async def test_without_an_administrator_nothing_is_made_and_the_start_ends(
    memory_theatre: Theatre, own_ground: Vhost
) -> None:
    with pytest.raises(BrokerError):
        async with over(memory_theatre, own_ground, management_url=None).desk():
            pass
