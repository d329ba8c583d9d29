"""What is imported, and what is not."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from broker.accounts import author_elsewhere, importer_user, mirror_of_user
from broker.memory import MemoryAdmin, MemoryBroker, MemorySite
from broker.port import Delivery, Message
from broker.provision import provision_site
from broker.topology import log_stream
from history.entry import Entry
from history.export.faults import FaultFoundError
from history.export.folder import segment_path
from history.export.importing import Imported, NotEmptyError, import_log
from history.export.writer import ExportWriter

SEGMENT_ENTRIES = 10


class MemoryRestorer:
    """Writes into a broker in memory in anybody's name."""

    def __init__(self, site: MemorySite) -> None:
        self._site = site

    async def restore(self, deliveries: Sequence[Delivery]) -> None:
        for delivery in deliveries:
            for taker in self._site.routed(delivery.exchange, delivery.routing_key):
                taker.put(delivery)


def entry(number: int, *, generation: int = 1, exchange: str = "fleet") -> Entry:
    user = "old.oslo" if exchange == "fleet" else "site"
    return Entry(generation, number, exchange, "a.b", f"m:{generation}:{number}", "x/1", user, b"%d" % number)


def export(folder: Path, entries: Sequence[Entry]) -> None:
    with ExportWriter(folder, vhost="old", export_id=b"one", entries_max=SEGMENT_ENTRIES) as writer:
        writer.write(entries)


async def imported(folder: Path, site: MemorySite) -> Imported:
    return await import_log(folder, admin=MemoryAdmin(site), broker=MemoryBroker(site), restorer=MemoryRestorer(site))


def logged(site: MemorySite, generation: int = 1) -> list[Delivery]:
    return list(site.stream(log_stream(generation)).after(0, limit=1000))


async def test_entries_come_in_their_order_and_by_their_authors(tmp_path: Path) -> None:
    entries = [entry(number, exchange=("files", "fleet", "grants")[number % 3]) for number in range(25)]
    export(tmp_path, entries)
    site = MemorySite(vhost="new")
    assert await imported(tmp_path, site) == Imported(entries=25, left_out=0, generations=(1,))
    assert [each.body for each in logged(site)] == [each.body for each in entries]
    assert [each.user_id for each in logged(site)] == ["site", "new.oslo", "site"] * 8 + ["site"]


async def test_each_generation_keeps_its_number_and_the_newest_takes_what_comes(tmp_path: Path) -> None:
    export(tmp_path, [entry(number, generation=generation) for generation in (2, 3, 5) for number in range(4)])
    site = MemorySite(vhost="new")
    assert (await imported(tmp_path, site)).generations == (2, 3, 5)
    assert [len(logged(site, generation)) for generation in (2, 3, 5)] == [4, 4, 4]
    await MemoryBroker(site).publish(Message(exchange="files", routing_key="a", message_id="n", type="x/1", body=b""))
    assert [len(logged(site, generation)) for generation in (2, 3, 5)] == [4, 4, 5]


async def test_what_stood_in_the_stream_past_the_logs_exchanges_is_left_out(tmp_path: Path) -> None:
    export(tmp_path, [entry(0), entry(1, exchange=""), entry(2, exchange="amq.topic"), entry(3)])
    site = MemorySite(vhost="new")
    assert await imported(tmp_path, site) == Imported(entries=2, left_out=2, generations=(1,))
    assert [each.message_id for each in logged(site)] == ["m:1:0", "m:1:3"]


async def test_of_a_damaged_export_nothing_is_imported(tmp_path: Path) -> None:
    export(tmp_path, [entry(number) for number in range(25)])
    segment_path(tmp_path, 3).write_bytes(segment_path(tmp_path, 3).read_bytes()[:-1])
    site = MemorySite(vhost="new")
    with pytest.raises(FaultFoundError, match=r"segment 3, record 5 .*: cut"):
        await imported(tmp_path, site)
    assert not site.queues


async def test_a_log_that_was_made_and_never_written_to_may_be_filled(tmp_path: Path) -> None:
    export(tmp_path, [entry(0)])
    site = MemorySite(vhost="new")
    await provision_site(MemoryAdmin(site), 1)
    await imported(tmp_path, site)
    assert len(logged(site)) == 1


@pytest.mark.parametrize("newest", [1, 2], ids=["the same generation", "a newer one, which all would follow"])
async def test_beside_a_log_nothing_is_imported(tmp_path: Path, newest: int) -> None:
    export(tmp_path, [entry(0)])
    site = MemorySite(vhost="new")
    await provision_site(MemoryAdmin(site), newest)
    await MemoryBroker(site).publish(Message(exchange="files", routing_key="a", message_id="n", type="x/1", body=b""))
    with pytest.raises(NotEmptyError, match="'new' has a log already"):
        await imported(tmp_path, site)
    assert len(logged(site, newest)) == 1


@pytest.mark.parametrize(
    ("user", "vhost", "elsewhere", "author"),
    [
        pytest.param("old.oslo", "old", "new", "new.oslo", id="a mirror stays the mirror"),
        pytest.param("old.oslo", "old", "old", "old.oslo", id="in a virtual host of the same name all stay"),
        pytest.param("site", "old", "new", "site", id="the site's own stays"),
        pytest.param("", "old", "new", "", id="who did not say who he was stays unsaid"),
        pytest.param("new.boss", "old", "new", "new/importer", id="nobody becomes a mirror by his name"),
        pytest.param("a.b.oslo", "a.b", "c.d", "c.d.oslo", id="virtual hosts with dots"),
    ],
)
def test_an_author_is_elsewhere_who_he_was(user: str, vhost: str, elsewhere: str, author: str) -> None:
    assert author_elsewhere(user, vhost=vhost, elsewhere=elsewhere) == author


@pytest.mark.parametrize("vhost", ["new", "a.b", "a/b"])
def test_nobody_takes_the_importer_for_a_mirror(vhost: str) -> None:
    assert mirror_of_user(importer_user(vhost), vhost=vhost) is None
