"""An import goes on when the broker dies in the middle of it."""

from __future__ import annotations

import time
from itertools import count
from pathlib import Path

import pytest

from broker.accounts import mirror_user
from broker.config import BrokerConfig
from broker.node import PrivateNode
from broker.provision import provision_site
from broker.rabbitmq import RabbitAdmin, RabbitBroker
from broker.rabbitmq.restorer import RabbitRestorer
from distributary.fleet.waiting import wait_until
from events.names import MirrorName
from history.entry import Entry
from history.export.importing import import_log
from history.export.writer import ExportWriter
from history.sources.broker_log import BrokerLog

ENTRIES = 5_000
KILLED_AFTER = 2_000
LASTING_S = 5.0  # RabbitMQ 3.10 never brings back a stream that is killed within a second of its declaration


def entry(number: int) -> Entry:
    user = mirror_user("lost", MirrorName("oslo"))
    return Entry(1, number, "fleet", "mirror.oslo.ready", f"mirror/oslo:1:{number}", "x/1", user, b"%d" % number)


@pytest.mark.rabbitmq
@pytest.mark.faults
@pytest.mark.timeout(300)
async def test_an_import_goes_on_behind_a_crash_of_the_broker(private_node: PrivateNode, tmp_path: Path) -> None:
    with ExportWriter(tmp_path, vhost="lost", export_id=bytes(16)) as writer:
        writer.write(map(entry, range(ENTRIES)))
    config = BrokerConfig(url=private_node.amqp_url, management_url=private_node.management_url)
    crashes, began_s = count(1), 0.0

    def crash(entries: int) -> None:
        if entries >= KILLED_AFTER and next(crashes) == 1:
            wait_until(lambda: time.monotonic() - began_s > LASTING_S, within_s=2 * LASTING_S, what="the stream lasts")
            private_node.kill()
            private_node.start()

    async with RabbitAdmin(config) as admin, RabbitBroker(config) as broker, RabbitRestorer(config) as restorer:
        await provision_site(admin, 1)
        began_s = time.monotonic()
        await import_log(tmp_path, admin=admin, broker=broker, restorer=restorer, progress=crash)
        source = BrokerLog(broker, vhost=config.vhost, name="the node", clock_s=time.time)
        found = [each async for batch in source.batches() for each in batch]
    assert list(dict.fromkeys(each.body for each in found)) == [entry(number).body for number in range(ENTRIES)]
    assert {each.user_id for each in found} == {mirror_user(config.vhost, MirrorName("oslo"))}
