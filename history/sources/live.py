"""The log as it grows, generation after generation, across restarts of the broker, for as long as somebody looks on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from typing import Final, NoReturn

from broker.discovery import newest_generation
from broker.port import AccessRefusedError, Broker, BrokerError, Delivery, DisconnectedError, Fold, From, Start
from broker.topology import log_stream
from history.entry import BEGINNING, Entry, Position, entry_of
from history.sources.broker_log import BrokerLog
from history.sources.port import SourceError, SourceRefusedError

AGAIN_AFTER_S: Final = 1.0  # a site is provisioned in about a second
# A generation ends once in years; a question whether there is a newer one costs the broker some 60 ms.
LOOK_FOR_NEWER_EVERY_S: Final = 15.0


class LiveLog:
    """Hands each entry to ``take``, in order and once; what ``take`` raises ends it.

    ``complain`` is told each trouble once; it goes on by itself when that is over.
    """

    def __init__(
        self, broker: Broker, log: BrokerLog, *, take: Callable[[Entry], None], complain: Callable[[str], None]
    ) -> None:
        self._broker = broker
        self._log = log
        self._give = take
        self._complain = complain
        self._position: Position | None = None
        self._trouble = ""

    async def run(self, *, after: Position | None = None) -> NoReturn:
        """Follow from behind a place, or from now on, until cancelled.

        Raises:
            SourceRefusedError: we may not read it.
        """
        self._position = after
        while True:
            try:
                await self._catch_up()
                await self._follow()
            except SourceRefusedError:
                raise
            except AccessRefusedError as error:
                raise SourceRefusedError(f"{self._log.name} does not let us read the log: {error}") from error
            except (SourceError, BrokerError) as error:
                if str(error) != self._trouble:
                    self._complain(str(error))
                self._trouble = str(error)
                await asyncio.sleep(AGAIN_AFTER_S)

    async def _catch_up(self) -> None:
        """Read what there is behind our place, in older generations, too."""
        if self._position is None:
            return
        async with aclosing(self._log.batches(after=self._position)) as batches:
            async for batch in batches:
                for entry in batch:
                    self._take(entry)

    async def _follow(self) -> None:
        """Follow the newest generation until there is a newer one."""
        generation = await newest_generation(self._broker, known=self._position.generation if self._position else 1)
        if generation is None:
            raise SourceError("there is no log yet: the master opens one when it starts")
        following = asyncio.create_task(
            self._broker.follow(log_stream(generation), self._fold(generation), start=self._start(generation))
        )
        looking = asyncio.create_task(self._look_for_newer(generation))
        try:
            await asyncio.wait({following, looking}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (following, looking):
                task.cancel()
            ends = await asyncio.gather(following, looking, return_exceptions=True)
        for end in ends:
            if isinstance(end, Exception):
                raise end
        if self._position is None:
            self._position = Position(generation + 1, BEGINNING)

    def _start(self, generation: int) -> Start:
        if self._position is None:
            return From.NEXT
        return self._position.offset + 1 if self._position.generation == generation else From.FIRST

    def _fold(self, generation: int) -> Fold:
        def fold(delivery: Delivery) -> None:
            self._take(entry_of(delivery, generation=generation))

        return fold

    def _take(self, entry: Entry) -> None:
        self._position, self._trouble = entry.position, ""
        self._give(entry)

    async def _look_for_newer(self, generation: int) -> None:
        while True:
            await asyncio.sleep(LOOK_FOR_NEWER_EVERY_S)
            try:
                newest = await newest_generation(self._broker, known=generation)
            except DisconnectedError:
                continue  # the follower waits for the connection, too
            if newest is not None and newest > generation:
                return
