"""Master and archiver bring their tables up to date in one process, at the same moment."""

from __future__ import annotations

import asyncio
from pathlib import Path

from history.archive.store.engine import MIGRATIONS as ARCHIVE
from master.store.engine import MIGRATIONS as MASTER
from master.store.engine import migrate, open_engine


async def test_two_databases_are_brought_up_to_date_at_once(tmp_path: Path) -> None:
    engines = [open_engine(f"sqlite:///{tmp_path / name}.db") for name in ("master", "archive")]
    try:
        async with asyncio.timeout(60):
            await asyncio.gather(migrate(engines[0], MASTER), migrate(engines[1], ARCHIVE))
    finally:
        for engine in engines:
            await engine.dispose()
