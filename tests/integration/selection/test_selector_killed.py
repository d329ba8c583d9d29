"""Killed at any moment, a selector begins with a whole snapshot and sees what one sees that reads all of the log."""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from events.names import FilePath, SelectorName

if TYPE_CHECKING:
    from conftest import Selector, Site

KILLS = 6
DEADLINE_S = 60.0


@pytest.mark.rabbitmq
@pytest.mark.faults
@pytest.mark.parametrize("site", ["rabbitmq"], indirect=True)
async def test_selector_that_is_killed_while_it_writes_its_snapshot_knows_what_the_log_tells(
    site: Site, tmp_path: Path
) -> None:
    rng = random.Random(1)  # noqa: S311 - any moment will do
    await site.said.serving("ana")
    for kill in range(KILLS):
        process = await started(site, tmp_path)
        for number in range(rng.randint(5, 40)):
            await site.said.published(f"{kill}-{number}.iso")
        await asyncio.sleep(rng.uniform(0.0, 0.1))
        process.kill()
        await process.wait()
        await site.said.withdrawn(f"{kill}-0.iso")
    assert has_written_often(tmp_path)
    async with site.selector(state_dir=tmp_path) as restarted, site.selector(name=SelectorName("reads-all")) as other:
        snapshot = (await restarted.ask("/-/api/v1/status"))["snapshot"]
        assert (snapshot["began_at_offset"] is not None, snapshot["problem"]) == (True, "")
        assert await files_of(restarted) == await files_of(other)
        assert await restarted.ask("/-/api/v1/statistics", by="file") == await other.ask(
            "/-/api/v1/statistics", by="file"
        )


def has_written_often(folder: Path) -> bool:
    return any(folder.glob("*.snapshot-before"))


async def started(site: Site, folder: Path) -> asyncio.subprocess.Process:
    """Start a selector of the site's name; return once it is ready."""
    script = Path(__file__).with_name("selector_process.py")
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(script), site.config.broker.url, site.config.name, str(folder), stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    async with asyncio.timeout(DEADLINE_S):
        while line := await process.stdout.readline():
            if line.startswith(b"http://"):
                return process
    raise AssertionError("it ended by itself")


async def files_of(selector: Selector) -> list[FilePath]:
    return [each["path"] for each in (await selector.ask("/-/api/v1/files"))["files"]]
