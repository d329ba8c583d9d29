"""Several mirrors in one process: ``python crowd_process.py CONFIG...``, each as ``distributary serve mirror`` runs it.

Prints a mirror's URL when it is ready, in no order. Ends when its input does.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Final

import structlog

from distributary.config.load import load
from distributary.config.services.mirror import mirror_config
from mirror.app import run
from mirror.config import MirrorConfig

OVERRIDES: Final = ("mirror.private_addresses=127.0.0.0/8,::1/128",)


async def main(configs: list[MirrorConfig]) -> None:
    """Be all of these mirrors until the input ends."""
    mirrors = [asyncio.create_task(run(config, on_ready=tell)) for config in configs]
    ended = asyncio.create_task(asyncio.to_thread(sys.stdin.read))
    done, _ = await asyncio.wait([*mirrors, ended], return_when=asyncio.FIRST_COMPLETED)
    for task in mirrors:
        task.cancel()
    await asyncio.wait(mirrors)
    for task in done - {ended}:
        task.result()  # a mirror that ended by itself says why


def tell(url: str) -> None:
    """Print where one is."""
    sys.stdout.write(f"{url}\n")
    sys.stdout.flush()


def read(file: Path) -> MirrorConfig:
    """Read a mirror's configuration."""
    return mirror_config(load(config=file, overrides=OVERRIDES, environ={}, cwd=file.parent))


if __name__ == "__main__":
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    asyncio.run(main([read(Path(name)) for name in sys.argv[1:]]))
