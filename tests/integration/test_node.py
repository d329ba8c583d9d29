"""The private node: it can be killed and comes back with what it had taken, and it leaves nothing behind."""

from __future__ import annotations

import asyncio
import io
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import aio_pika
import pytest
from aiormq.exceptions import InvalidFrameError

from broker import node as node_module
from broker.accounts import mirror_user
from broker.config import BrokerConfig
from broker.node import NodeMissingError, NodeStartError, PrivateNode
from broker.port import AccessRefusedError
from broker.ports import is_free
from broker.rabbitmq import RabbitAdmin, RabbitBroker
from broker.site import BrokerSite, SiteError, Vhost
from broker.topology import mirror_account
from events.names import MirrorName

OWNER = """
import pathlib, sys
from broker.node import PrivateNode
node = PrivateNode(pathlib.Path(sys.argv[1]))
node.start()
print(node._ports.amqp, node._ports.epmd, flush=True)
sys.stdin.read()
"""

pytestmark = [pytest.mark.rabbitmq]


async def send_durably(vhost: Vhost, bodies: list[bytes]) -> None:
    async with await aio_pika.connect(vhost.amqp_url) as connection:
        amqp_channel = await connection.channel()
        await amqp_channel.declare_queue("kept", durable=True)
        for body in bodies:
            message = aio_pika.Message(body, delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
            await amqp_channel.default_exchange.publish(message, routing_key="kept")


async def receive(vhost: Vhost, count: int) -> list[bytes]:
    async with await aio_pika.connect(vhost.amqp_url) as connection:
        amqp_channel = await connection.channel()
        queue = await amqp_channel.declare_queue("kept", durable=True)
        return [(await queue.get(no_ack=True)).body for _ in range(count)]


@pytest.mark.faults
@pytest.mark.timeout(300)  # three starts, each 7 to 22 s, on a machine that may do other things
async def test_node_keeps_its_place_and_every_confirmed_message_through_a_stop_and_a_kill(
    private_node: PrivateNode,
) -> None:
    site, pid = private_node.site, private_node.pid
    vhost = await asyncio.to_thread(site.create_vhost, "kept")
    await send_durably(vhost, [b"one"])
    # RabbitMQ 3.10 writes what was declared to the disk up to two seconds later, a confirmed message at once: the kill
    # must come after the declaration has been written, which a stop in good order sees to.
    await asyncio.to_thread(private_node.stop)
    assert private_node.pid is None
    with socket.create_server(("127.0.0.1", urlsplit(vhost.amqp_url).port or 0)):
        pass
    await asyncio.to_thread(private_node.start)
    await send_durably(vhost, [b"two"])
    await asyncio.to_thread(private_node.kill)
    with pytest.raises(SiteError) as dead:
        site.node_name()
    assert dead.value.status == 0
    await asyncio.to_thread(private_node.start)
    assert private_node.site == site
    assert private_node.pid not in {pid, None}
    assert await receive(vhost, 2) == [b"one", b"two"]


@pytest.mark.faults
@pytest.mark.usefixtures("node_package")
def test_node_takes_other_ports_when_one_is_snatched_before_it_starts(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as snatcher:
        free = node_module.draw_node_ports()
        taken = replace(node_module.draw_node_ports(), distribution=snatcher.getsockname()[1])
        draws = iter([taken, free])
        monkeypatch.setattr(node_module, "draw_node_ports", lambda: next(draws))
        with PrivateNode(tmp_path) as node:
            assert urlsplit(node.amqp_url).port == free.amqp


@pytest.mark.faults
@pytest.mark.usefixtures("node_package")
def test_node_does_not_outlive_a_killed_owner(tmp_path: Path) -> None:
    owner = subprocess.Popen(  # noqa: S603 - our own Python
        [sys.executable, "-c", OWNER, tmp_path / "node"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with owner:
        ports = [int(word) for word in (owner.stdout or io.StringIO()).readline().split()]
        assert len(ports) == 2
        assert not any(is_free(port) for port in ports)
        owner.kill()
    deadline_s = time.monotonic() + 10
    while not all(is_free(port) for port in ports):
        assert time.monotonic() < deadline_s, "the node or its port mapper still listens"
        time.sleep(0.05)


@pytest.mark.usefixtures("node_package")
def test_node_that_cannot_start_says_what_rabbitmq_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node_module, "WAL_BYTES_MAX", "much")
    node = PrivateNode(tmp_path)
    with pytest.raises(NodeStartError) as failure:
        node.start()
    assert "raft.wal_max_size_bytes" in failure.value.log
    assert node.pid is None


def test_missing_package_is_named_with_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node_module, "SERVER", tmp_path / "absent")
    with pytest.raises(NodeMissingError, match="apt-get install rabbitmq-server"):
        PrivateNode(tmp_path).start()


async def test_vhosts_do_not_see_each_other_and_are_gone_when_deleted(broker_site: BrokerSite, vhost: Vhost) -> None:
    await send_durably(vhost, [b"mine"])
    other = await asyncio.to_thread(broker_site.create_vhost, f"{vhost.name}.other")
    await send_durably(other, [b"theirs"])
    assert await receive(vhost, 1) == [b"mine"]
    await asyncio.to_thread(broker_site.delete_vhost, other.name)
    with pytest.raises(InvalidFrameError, match=r"Connection\.Close"):
        await send_durably(other, [b"nobody's"])


async def test_a_vhosts_mirrors_lose_their_accounts_with_it_even_where_it_is_gone_already(
    broker_site: BrokerSite, vhost: Vhost
) -> None:
    config = BrokerConfig(url=vhost.amqp_url, management_url=vhost.management_url)
    ana, bob = (
        BrokerConfig(url=with_login(vhost.amqp_url, f"{vhost.name}.{name}", "secret")) for name in ("ana", "bob")
    )
    async with RabbitAdmin(config) as admin:
        for mirror in (MirrorName("ana"), MirrorName("bob")):
            await admin.ensure_account(mirror_user(vhost.name, mirror), "secret", mirror_account(mirror))
    async with RabbitBroker(ana), RabbitBroker(bob):
        pass
    await asyncio.to_thread(broker_site.delete_vhost, f"{vhost.name}.ana")  # a name like an account's is no account's
    async with RabbitBroker(bob):
        pass
    await asyncio.to_thread(broker_site.delete_vhost, vhost.name)
    await asyncio.to_thread(broker_site.create_vhost, vhost.name)
    for gone in (ana, bob):
        with pytest.raises(AccessRefusedError, match="Login was refused"):
            async with RabbitBroker(gone):
                pass


def with_login(url: str, user: str, password: str) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=f"{user}:{password}@{parts.hostname}:{parts.port}"))


def test_deleting_a_vhost_twice_is_no_error(broker_site: BrokerSite, vhost: Vhost) -> None:
    broker_site.delete_vhost(vhost.name)
    broker_site.delete_vhost(vhost.name)


def test_wrong_password_is_told_from_an_absent_broker(broker_site: BrokerSite) -> None:
    wrong = BrokerSite(
        amqp_url=broker_site.amqp_url,
        management_url=broker_site.management_url.replace("//guest:guest@", "//guest:wrong@"),
    )
    with pytest.raises(SiteError) as refused:
        wrong.node_name()
    assert refused.value.status == 401
