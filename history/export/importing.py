"""Puts an export into a broker that has no log yet: the same entries, in the same order, by the same authors.

Each generation becomes a generation of the same number; the newest is the log. Offsets are others than they were, so
what refers to an entry is found by its message id. Who follows the log believes what it says as before: a mirror's
words were written by that mirror's user, here with the name that it has in this virtual host. A master that finds what
was imported (``broker.topology.import_mark``) begins the next generation with all that holds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import Protocol, TypeAlias

import structlog

from broker.accounts import author_elsewhere
from broker.discovery import generations
from broker.port import Admin, Broker, Delivery
from broker.provision import provision_site, retire_generation
from broker.retention import Retentions
from broker.topology import RETENTIONS_DEFAULT, import_mark, log_stream
from events.routing import LOGGED_EXCHANGES
from history.entry import Entry
from history.export.faults import FaultFoundError
from history.export.folder import ExportError
from history.export.source import ExportSource
from history.export.verification import verify

Progress: TypeAlias = Callable[[int], None]
"""Told after each batch: how many entries were written so far."""

log = structlog.stdlib.get_logger()


class Restorer(Protocol):
    """Whoever can write in others' names: ``broker.rabbitmq.restorer.RabbitRestorer``."""

    async def restore(self, deliveries: Sequence[Delivery]) -> None:
        """Write them, in this order; return once the log has them all.

        Raises:
            BrokerError: the broker does not take them.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """What was imported: how many entries, and the generations of the log that there are now.

    ``left_out`` are messages that were put into the stream past the exchanges of the log; they were no events.
    """

    entries: int
    left_out: int
    generations: tuple[int, ...]


class NotEmptyError(ExportError):
    """There is a log already. Import into a virtual host without one: delete this one, or make another."""


async def import_log(
    folder: Path,
    *,
    admin: Admin,
    broker: Broker,
    restorer: Restorer,
    retentions: Retentions = RETENTIONS_DEFAULT,
    progress: Progress | None = None,
) -> Imported:
    """Put an export into a broker, whose streams keep as much as ``retentions`` says; it is proved as a whole before.

    Nobody of the site may be at work in the virtual host meanwhile. An import that failed halfway left a part of the
    log: delete the virtual host and begin again.

    Raises:
        FaultFoundError: the export is damaged; nothing was written.
        NotEmptyError: the broker has a log already.
        SourceError: there is no export in the folder.
        BrokerError: the broker does not take it.
    """
    source = ExportSource(folder)
    verdict = await asyncio.to_thread(verify, folder)
    if verdict.fault is not None:
        raise FaultFoundError(verdict.fault)
    extent = await source.extent()
    await _verify_empty(admin, broker, newest=extent.last.generation if extent.last else 0)
    await admin.ensure_queue(import_mark())  # first: what a killed import leaves is no log to go on with either
    importing = _Importing(admin, restorer, source.vhost, retentions)
    async with aclosing(source.batches()) as batches:
        async for batch in batches:
            for generation, entries in groupby(batch, attrgetter("generation")):
                await importing.write(generation, list(entries))
            if progress is not None:
                progress(importing.entries)
    done = importing.done
    log.info("import.done", folder=str(folder), entries=done.entries, generations=done.generations)
    return done


class _Importing:
    """Writes entries, a generation after the other."""

    def __init__(self, admin: Admin, restorer: Restorer, vhost: str, retentions: Retentions) -> None:
        self._admin, self._restorer, self._vhost, self._retentions = admin, restorer, vhost, retentions
        self._generations: list[int] = []
        self._left_out = 0
        self.entries = 0

    @property
    def done(self) -> Imported:
        """What was written so far."""
        return Imported(entries=self.entries, left_out=self._left_out, generations=tuple(self._generations))

    async def write(self, generation: int, entries: Sequence[Entry]) -> None:
        """Write entries of one generation, which is the newest so far."""
        if generation not in self._generations:
            await self._open(generation)
        events = [entry for entry in entries if entry.exchange in LOGGED_EXCHANGES]
        await self._restorer.restore([self._delivery(entry) for entry in events])
        self._left_out += len(entries) - len(events)
        self.entries += len(events)

    async def _open(self, generation: int) -> None:
        """Take the generation before out of the way, and make this one."""
        if self._generations:
            await retire_generation(self._admin, self._generations[-1])
        await provision_site(self._admin, generation, self._retentions)
        self._generations.append(generation)

    def _delivery(self, entry: Entry) -> Delivery:
        author = author_elsewhere(entry.user_id, vhost=self._vhost, elsewhere=self._admin.vhost)
        return replace(entry.delivery, user_id=author)


async def _verify_empty(admin: Admin, broker: Broker, *, newest: int) -> None:
    """Make sure that nothing of the broker's own mixes with what is imported, or is newer than it."""
    for generation in await generations(admin):
        if generation > newest or await _holds_anything(broker, log_stream(generation)):
            raise NotEmptyError(
                f"the virtual host {admin.vhost!r} has a log already: import into one without, or delete this one first"
            )


async def _holds_anything(broker: Broker, stream: str) -> bool:
    span = await broker.span(stream)
    async with aclosing(broker.read(stream, end=span.end)) as batches:
        return await anext(batches, None) is not None
