"""Several selectors on one address, each a process with a view of its own; this one starts them and keeps them.

The kernel deals connections out among all that listen on the port (``SO_REUSEPORT``). Each child is told its
configuration on stdin, which stays open: when this process is gone, however it went, the child reads its end and stops.
A child says on stdout that it is ready. One that dies is started again; its connections are lost, the others' are not.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable, Generator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Final

import structlog

from distributary.errors import CommandError
from distributary.selector_process import READY, told
from events.names import parse_selector
from selection.config import SelectorConfig

CHILD: Final = "distributary.selector_process"
RESTART_AFTER_S: Final = 0.5  # a crash by one request must not become a loop of starts
RESTART_AFTER_S_MAX: Final = 30.0
STEADY_S: Final = 60.0  # who ran for so long begins with the shortest wait again
END_S: Final = 15.0  # a drain, the last notices and a snapshot

log = structlog.stdlib.get_logger()


async def run_processes(config: SelectorConfig, *, on_ready: Callable[[str], None]) -> None:
    """Keep ``config.processes`` selectors until cancelled; say once that all of them are ready.

    Raises:
        CommandError: one of them ended before it was ever ready. Its own log says why.
        OSError: the address cannot be listened on.
    """
    with _held_port(config) as port:
        names = [parse_selector(f"{config.name}-{number}") for number in range(1, config.processes + 1)]
        children = [
            _Child(replace(config, name=name, listen_port=port, processes=1, shares_port=True)) for name in names
        ]
        async with asyncio.TaskGroup() as tasks:
            for child in children:
                tasks.create_task(child.keep(), name=child.config.name)
            for child in children:
                await child.ready.wait()
            log.info("selector.processes_ready", processes=len(children), url=children[0].url)
            on_ready(children[0].url)


@contextmanager
def _held_port(config: SelectorConfig) -> Generator[int]:
    """Hold the address without listening, so that nobody of another kind takes it while a child is away."""
    family = socket.AF_INET6 if ":" in config.listen_host else socket.AF_INET
    with closing(socket.socket(family, socket.SOCK_STREAM)) as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        held.bind((config.listen_host, config.listen_port))
        yield int(held.getsockname()[1])


@dataclass(slots=True)
class _Child:
    """One selector's process, over all its lives."""

    config: SelectorConfig
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    url: str = ""

    async def keep(self) -> None:
        """Run it, and run it again when it dies."""
        wait_s, loop = RESTART_AFTER_S, asyncio.get_running_loop()
        while True:
            began_s = loop.time()
            status = await self._live()
            if not self.ready.is_set():
                raise CommandError("process_failed", f"{self.config.name} ended before it was ready (status {status})")
            log.error("selector.process_died", selector=self.config.name, status=status, again_after_s=wait_s)
            wait_s = RESTART_AFTER_S if loop.time() - began_s > STEADY_S else wait_s
            await asyncio.sleep(wait_s)
            wait_s = min(2 * wait_s, RESTART_AFTER_S_MAX)

    async def _live(self) -> int:
        """Run it once; give how it ended."""
        isolated = ("-I",) if sys.flags.isolated else ()
        process = await asyncio.create_subprocess_exec(sys.executable, *isolated, "-m", CHILD, stdin=PIPE, stdout=PIPE)
        try:
            assert process.stdin is not None  # noqa: S101 - we asked for it
            assert process.stdout is not None  # noqa: S101 - we asked for it
            process.stdin.write(told(self.config))
            line = await process.stdout.readline()
            if line.startswith(READY):
                self.url = line.removeprefix(READY).decode().strip()
                self.ready.set()
            return await process.wait()
        finally:
            await asyncio.shield(_end(process))


async def _end(process: Process) -> None:
    """Let a process end in order, or end it."""
    if process.returncode is None:
        with suppress(ProcessLookupError):
            process.terminate()
    try:
        async with asyncio.timeout(END_S):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
