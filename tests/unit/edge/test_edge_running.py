"""Running transfers are cut by cancelling their task, once, and say why."""

from __future__ import annotations

import asyncio

import pytest

from edge.running import Running


async def test_only_what_matches_is_cut_and_knows_why() -> None:
    running, reasons = Running[str](), dict[str, str]()
    entered = asyncio.Semaphore(0)

    async def send(name: str) -> None:
        with running.entered(name) as cut:
            entered.release()
            try:
                await asyncio.Event().wait()
            finally:
                reasons[name] = cut.reason

    one, other = (asyncio.create_task(send(name)) for name in ("one", "other"))
    await entered.acquire()
    await entered.acquire()
    assert running.cut(lambda name: name == "one", "withdrawn") == 1
    assert running.cut(lambda name: name == "one", "again") == 0, "it is on its way out already"
    with pytest.raises(asyncio.CancelledError):
        await one
    assert (reasons, len(running)) == ({"one": "withdrawn"}, 1)
    other.cancel()
    await asyncio.wait([other])
    assert (reasons["other"], len(running)) == ("", 0)
