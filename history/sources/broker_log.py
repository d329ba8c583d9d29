"""The log as the broker keeps it: every generation whose stream is there, the oldest first.

What retention has cut off is not there: ``extent`` tells where the log begins now. A generation that the broker has
ruined is passed over with a warning; nobody can read it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, TypeVar

from broker.discovery import generations
from broker.port import AccessRefusedError, Broker, BrokerError, Delivery, From, PublishError, Span, Start
from broker.topology import log_stream
from history.entry import Entry, Position, entry_of
from history.sources.port import BATCH_MAX, Extent, SourceError, SourceRefusedError

# A broker that restarts is back within half a minute, and what is there it gives at once. Who reads a log wants to be
# told that nothing comes, and not to wait for ever.
PATIENCE_S: Final = 60.0
# The broker dates whole chunks by its own clock; a reader's may be a minute off.
DATING_SLACK: Final = timedelta(minutes=1)

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class _Part:
    """One generation, and where its entries lie."""

    generation: int
    span: Span


class BrokerLog:
    """Implements ``history.sources.port.Source`` and ``Dated`` over a connected broker.

    ``vhost`` is the virtual host of the connection, ``name`` the broker's URL without its password, ``clock_s`` the
    time since 1970.
    """

    def __init__(self, broker: Broker, *, vhost: str, name: str, clock_s: Callable[[], float]) -> None:
        self._broker = broker
        self.vhost = vhost
        self.name = name
        self._clock_s = clock_s

    async def extent(self) -> Extent:
        """Tell what there is; ``last`` may be a place shortly behind the last entry, with none in between.

        Raises:
            SourceError: the broker does not tell.
        """
        parts = [part for part in await self._parts() if part.span.first is not None]
        if not parts:
            return Extent(first=None, last=None, entries=None)
        first = Position(parts[0].generation, parts[0].span.first or 0)
        return Extent(first=first, last=Position(parts[-1].generation, parts[-1].span.end - 1), entries=None)

    async def batches(self, *, after: Position | None = None) -> AsyncGenerator[Sequence[Entry]]:
        """Give the entries behind a place, up to the last that there is now. See ``Source.batches``."""
        for part in await self._parts(from_generation=after.generation if after else 1):
            start = after.offset + 1 if after is not None and after.generation == part.generation else From.FIRST
            async with aclosing(self._read(part, start)) as batches:
                async for batch in batches:
                    yield [entry_of(delivery, generation=part.generation) for delivery in batch]

    async def place_before(self, time_s: float) -> Position | None:
        """Find a place that all before it came in before a time; None: read from the beginning.

        Raises:
            SourceError: the broker does not tell.
        """
        age = timedelta(seconds=self._clock_s() - time_s) + DATING_SLACK
        for part in reversed(await self._parts()):
            first = await self._first_offset(part, max(age, DATING_SLACK))
            if first is None:
                return Position(part.generation, part.span.end - 1)
            if part.span.first is not None and first > part.span.first:
                return Position(part.generation, first - 1)
        return None

    async def _first_offset(self, part: _Part, start: Start) -> int | None:
        async with aclosing(self._read(part, start)) as batches:
            async for batch in batches:
                return batch[0].offset
        return None

    async def _parts(self, *, from_generation: int = 1) -> list[_Part]:
        """Find the generations that are there and where they end now, the newest last."""
        numbers = await self._asked(generations(self._broker))
        if not numbers:
            raise SourceError(f"there is no log in {self.name}: the master opens one when it starts")
        return [
            _Part(number, await self._asked(self._broker.span(log_stream(number))))
            for number in numbers
            if number >= from_generation
        ]

    async def _read(self, part: _Part, start: Start) -> AsyncGenerator[Sequence[Delivery]]:
        stream = log_stream(part.generation)
        async with aclosing(self._broker.read(stream, start=start, end=part.span.end)) as batches:
            while True:
                batch = await self._asked(anext(batches, None))
                if batch is None:
                    return
                for at in range(0, len(batch), BATCH_MAX):
                    yield batch[at : at + BATCH_MAX]

    async def _asked(self, asking: Awaitable[Answer]) -> Answer:
        try:
            async with asyncio.timeout(PATIENCE_S):
                return await asking
        except TimeoutError:
            trouble = self._broker.health.last_error or "it is connected, but gives nothing"
            raise SourceError(f"{self.name} gave nothing for {PATIENCE_S:.0f} s ({trouble}); try again later") from None
        except AccessRefusedError as error:
            refusal = f"{self.name} does not let us read the log: {error}; use the site's own user"
            raise SourceRefusedError(refusal) from error
        except PublishError as error:
            raise SourceError(f"{self.name} does not answer: {error}; try again later") from error
        except BrokerError as error:
            raise SourceError(f"the log in {self.name} cannot be read: {error}") from error
