"""Many callers, one transaction: what comes while a flush is under way is flushed together next time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

_T = TypeVar("_T")


class Batch(Generic[_T]):
    """Collects items and hands them, in order, to ``flush``. ``run`` does the work until it is cancelled."""

    def __init__(self, flush: Callable[[list[_T]], Awaitable[None]]) -> None:
        self._flush = flush
        self._waiting: list[tuple[_T, asyncio.Future[None]]] = []
        self._awake = asyncio.Event()

    async def submit(self, item: _T) -> None:
        """Hand one item over; return when it was flushed, and raise what the flush raised."""
        done = asyncio.get_running_loop().create_future()
        self._waiting.append((item, done))
        self._awake.set()
        await done

    async def run(self) -> None:
        """Flush until cancelled."""
        while True:
            await self._awake.wait()
            self._awake.clear()
            batch, self._waiting = self._waiting, []
            error: Exception | None = None
            try:
                await self._flush([item for item, _ in batch])
            except Exception as failure:  # noqa: BLE001 - it is the submitters' to handle
                error = failure
            for _, done in batch:
                _resolve(done, error)


def _resolve(done: asyncio.Future[None], error: Exception | None) -> None:
    if done.done():
        return  # its submitter was cancelled
    if error is None:
        done.set_result(None)
    else:
        done.set_exception(error)
