"""One of several selectors on an address (``distributary.processes``): told its configuration on stdin, by its parent.

stdin stays open as long as the parent lives. When it ends, this process stops in order.
"""

from __future__ import annotations

import asyncio
import os
import pickle
import signal
import sys
from collections.abc import Callable
from typing import Final

import structlog
import uvloop

from distributary.errors import CommandError
from distributary.logs import configure
from distributary.running import Role, Service, raise_descriptor_limit, run_until_signal
from selection.app import run
from selection.config import SelectorConfig

READY: Final = b"ready "  # and the base URL
LENGTH_BYTES: Final = 8

log = structlog.stdlib.get_logger()


def told(config: SelectorConfig) -> bytes:
    """Write what a parent says on stdin."""
    body = pickle.dumps(config)
    return len(body).to_bytes(LENGTH_BYTES) + body


def main() -> int:
    """Run until a signal or the parent's end."""
    config = _read_config()
    configure(role=Role.SELECTOR.value, console=sys.stderr.isatty())
    raise_descriptor_limit()

    async def run_watched(on_ready: Callable[[str], None]) -> None:
        asyncio.get_running_loop().add_reader(sys.stdin.fileno(), _stop_with_parent)
        await run(config, on_ready=on_ready)

    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(run_until_signal([Service(Role.SELECTOR, run_watched)], _say_ready))
    except CommandError as error:
        log.critical("selector.failed", selector=config.name, error=str(error))
        return int(error.exit_code)
    return 0


def _read_config() -> SelectorConfig:
    config: SelectorConfig = pickle.loads(_read(int.from_bytes(_read(LENGTH_BYTES))))  # noqa: S301 - our parent wrote it
    return config


def _read(count: int) -> bytes:
    found = b""
    while len(found) < count and (more := os.read(sys.stdin.fileno(), count - len(found))):
        found += more
    return found


def _say_ready(_role: str, url: str) -> None:
    sys.stdout.buffer.write(READY + url.encode() + b"\n")
    sys.stdout.flush()


def _stop_with_parent() -> None:
    """Stop at the end of stdin."""
    if not os.read(sys.stdin.fileno(), 1):
        asyncio.get_running_loop().remove_reader(sys.stdin.fileno())
        os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main())
