"""Several selectors on one address: all are ready at once, one that is killed comes back, none outlives its parent."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import aiohttp
import pytest

from distributary import processes
from distributary.errors import CommandError
from distributary.processes import CHILD, run_processes
from distributary.selector_process import READY, told

if TYPE_CHECKING:
    from conftest import Site

pytestmark = [
    pytest.mark.rabbitmq,
    pytest.mark.processes,
    pytest.mark.parametrize("site", ["rabbitmq"], indirect=True),
]

DEADLINE_S = 90.0
POLL_EVERY_S = 0.05
PROCESSES = 2


@dataclass
class Family:
    """Selectors on one address. ``children`` are their processes now."""

    url: str
    http: aiohttp.ClientSession

    def children(self) -> set[int]:
        """Give the processes that this one started and that live."""
        listed = Path(f"/proc/self/task/{os.getpid()}/children").read_text()
        return {int(pid) for pid in listed.split() if b"selector_process" in _command_of(int(pid))}

    async def answers(self) -> bool:
        """Tell whether whoever is asked on a new connection is ready."""
        try:
            async with self.http.get(f"{self.url}/-/readyz") as answer:
                return answer.status == 200
        except aiohttp.ClientError:
            return False

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(DEADLINE_S):
            while not holds():  # noqa: ASYNC110 - a process ends and begins, nothing signals
                await asyncio.sleep(POLL_EVERY_S)


def _command_of(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


@asynccontextmanager
async def family(site: Site) -> AsyncGenerator[Family]:
    ready: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    config = replace(site.config, name=site.config.name, listen_port=0, processes=PROCESSES)
    running = asyncio.create_task(run_processes(config, on_ready=ready.set_result))
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as http:
        try:
            async with asyncio.timeout(DEADLINE_S):
                await asyncio.wait([ready, running], return_when=asyncio.FIRST_COMPLETED)
            if running.done():
                running.result()
            yield Family(ready.result(), http)
        finally:
            running.cancel()
            await asyncio.wait([running])


async def test_killed_process_comes_back_and_the_others_answer_meanwhile(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "RESTART_AFTER_S", 3.0)  # so that the next answer is not of the new one, unready yet
    await site.said.published("a.iso")
    await site.said.serving("ana", "a.iso")
    async with family(site) as selectors:
        before = selectors.children()
        assert len(before) == PROCESSES
        assert all([await selectors.answers() for _ in range(20)])
        killed = min(before)
        os.kill(killed, signal.SIGKILL)
        await selectors.until(lambda: killed not in selectors.children())
        assert await selectors.answers()
        await selectors.until(lambda: len(selectors.children() - {killed}) == PROCESSES)
    assert not selectors.children()


async def test_process_ends_with_its_parent(site: Site) -> None:
    child = await asyncio.create_subprocess_exec(sys.executable, "-m", CHILD, stdin=PIPE, stdout=PIPE)
    assert child.stdin is not None
    assert child.stdout is not None
    async with asyncio.timeout(DEADLINE_S):
        child.stdin.write(told(site.config))
        assert (await child.stdout.readline()).startswith(READY)
        child.stdin.close()  # as the system does for a parent that was killed
        assert await child.wait() == 0


async def test_process_that_cannot_begin_is_an_error_and_not_tried_for_ever(site: Site) -> None:
    config = replace(site.config, geoip_files=(Path("nowhere.mmdb"),), processes=PROCESSES)
    with pytest.raises(ExceptionGroup) as caught:
        await asyncio.wait_for(run_processes(config, on_ready=print), DEADLINE_S)
    assert all(isinstance(error, CommandError) for error in caught.value.exceptions)
