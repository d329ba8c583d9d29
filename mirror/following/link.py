"""The mirror's link to the broker: what goes on while there is one, and the way back to it when there is none."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Final, TypeAlias

import structlog

from broker.port import Broker, BrokerError, Health
from broker.relay import OutboxError, Relay
from broker.topology import mirror_queue
from events.names import MirrorName
from mirror.following.handler import Handler
from mirror.serving.load import LoadReporter
from mirror.state.database import Database, StoreError

RETRY_AFTER_S: Final = 5.0  # refused access does not mend itself within seconds
LAST_WORDS_S: Final = 2.0  # how long an orderly stop waits for the broker to take the last events over

Connect: TypeAlias = Callable[[], AbstractAsyncContextManager[Broker]]

log = structlog.stdlib.get_logger()


class Link:
    """One mirror's connection to the broker. The broker may be away at the start and at any time.

    ``reconnected`` is called after each connection but the first; ``refused`` whenever the broker does not let us in or
    do something, which may be because we are no member any more.
    """

    def __init__(
        self,
        mirror: MirrorName,
        connect: Connect,
        database: Database,
        *,
        handler: Handler,
        reporter: LoadReporter,
        reconnected: Callable[[], None],
        refused: Callable[[], None],
    ) -> None:
        self._mirror = mirror
        self._connect = connect
        self._database = database
        self._handler = handler
        self._reporter = reporter
        self._reconnected = reconnected
        self._refused = refused
        self._was_connected = False
        self._broker: Broker | None = None
        self._relaying: asyncio.Task[None] | None = None
        self.last_error = ""

    @property
    def health(self) -> Health | None:
        """How the connection fares; None before there was one."""
        return self._broker.health if self._broker is not None else None

    async def run(self) -> None:
        """Be connected until cancelled."""
        while True:
            try:
                await self._be_connected()
            except* (BrokerError, StoreError) as errors:
                self.last_error = "; ".join(str(error) for error in errors.exceptions)
                log.error("broker.refused", error=self.last_error, retry_after_s=RETRY_AFTER_S)  # noqa: TRY400 - expected
                self._refused()
            await asyncio.sleep(RETRY_AFTER_S)

    async def say_last_words(self) -> None:
        """Publish what is left, if the broker takes it in time; else it is published at the next start."""
        if self._broker is None or self._relaying is None:
            return
        self._relaying.cancel()
        await asyncio.wait([self._relaying])
        try:
            async with asyncio.timeout(LAST_WORDS_S):
                await Relay(self._database, self._broker).drain()
        except (BrokerError, OutboxError, TimeoutError) as error:
            log.warning("broker.last_words_unsaid", error=str(error))

    async def _be_connected(self) -> None:
        try:
            async with self._connect() as broker, broker.on_connected(self._reconnected):
                self._broker, self.last_error = broker, ""
                if self._was_connected:
                    self._reconnected()
                self._was_connected = True
                relay = Relay(self._database, broker)
                self._database.on_said(relay.wake)
                async with asyncio.TaskGroup() as tasks:
                    self._relaying = tasks.create_task(relay.run(), name="relay")
                    tasks.create_task(broker.consume(mirror_queue(self._mirror), self._handler), name="consume")
                    tasks.create_task(self._reporter.run(broker), name="load")
        finally:
            self._broker = self._relaying = None
