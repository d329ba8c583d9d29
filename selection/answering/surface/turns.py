"""Answers that take long are made one after another, and for a share of the time: visitors are sent on before all.

Anybody may ask for the whole fleet, for a thousand files, or for a choice with a reason for each mirror. In a fleet of
a thousand each of these takes tens of milliseconds, in which nobody is redirected. So after each comes a rest of some
times as long as it took, and those who ask meanwhile wait, a bounded number of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Final, TypeVar

from aiohttp import hdrs, web

from edge.errors import ApiError
from edge.localness import is_local

REST_FACTOR: Final = 3  # who asks without end costs a quarter of a core
WAITING_MAX: Final = 64  # at some 30 ms each, rests included, two seconds in a fleet of a few hundred
RETRY_AFTER_S: Final = 5

_T = TypeVar("_T")


class Turns:
    """Gives turns, in the order in which they are asked for."""

    def __init__(self) -> None:
        self._turn = asyncio.Lock()
        self._waiting = 0
        self._rested_s = float("-inf")

    @asynccontextmanager
    async def turn_of(self, request: web.Request) -> AsyncGenerator[None]:
        """Work while the block is entered; an administrator on this machine need not wait for strangers.

        Raises:
            ApiError: too many wait already.
        """
        if is_local(request):
            yield
            return
        if self._waiting >= WAITING_MAX:
            raise _busy()
        self._waiting += 1
        try:
            async with self._turn, self._rested():
                yield
        finally:
            self._waiting -= 1

    @asynccontextmanager
    async def _rested(self) -> AsyncGenerator[None]:
        clock = asyncio.get_running_loop().time
        await asyncio.sleep(self._rested_s - clock())
        began_s = clock()
        try:
            yield
        finally:
            ended_s = clock()
            self._rested_s = ended_s + REST_FACTOR * (ended_s - began_s)


async def in_steps(work: Generator[None, None, _T]) -> _T:
    """Do work that yields every few milliseconds, with visitors let in between."""
    while True:
        try:
            next(work)
        except StopIteration as end:
            result: _T = end.value
            return result
        await asyncio.sleep(0)


def _busy() -> ApiError:
    return ApiError(
        "busy",
        "too many ask for long answers just now: come again in a few seconds",
        "files themselves are to be had all the same",
        status=HTTPStatus.SERVICE_UNAVAILABLE,
        headers={hdrs.RETRY_AFTER: str(RETRY_AFTER_S)},
    )
