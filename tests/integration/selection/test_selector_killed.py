"""Killed at any moment, a selector begins with a whole snapshot and sees what one sees that reads all of the log."""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from events.names import FilePath, SelectorName

if TYPE_CHECKING:
    from conftest import Selector, Site

    from broker.node import PrivateNode

KILLS = 6
DEADLINE_S = 60.0
POLL_EVERY_S = 0.01


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
        await until_written_twice(tmp_path)
        await asyncio.sleep(rng.uniform(0.0, 0.1))
        process.kill()
        await process.wait()
        await site.said.withdrawn(f"{kill}-0.iso")
    async with site.selector(state_dir=tmp_path) as restarted, site.selector(name=SelectorName("reads-all")) as other:
        snapshot = (await restarted.ask("/-/api/v1/status"))["snapshot"]
        assert (snapshot["began_at_offset"] is not None, snapshot["problem"]) == (True, "")
        assert await files_of(restarted) == await files_of(other)
        assert await restarted.ask("/-/api/v1/statistics", by="file") == await other.ask(
            "/-/api/v1/statistics", by="file"
        )


async def until_written_twice(folder: Path) -> None:
    """Wait, in the first life, for a snapshot that another one was written after; later there is one."""
    async with asyncio.timeout(DEADLINE_S):
        while not has_written_twice(folder):  # noqa: ASYNC110 - a process writes a file, nothing signals
            await asyncio.sleep(POLL_EVERY_S)


def has_written_twice(folder: Path) -> bool:
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


@pytest.mark.rabbitmq
@pytest.mark.faults
async def test_selectors_go_on_without_a_broker_that_was_killed_begin_without_it_and_agree_when_it_is_back(
    private_site: Site, private_node: PrivateNode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("selection.following.follower.GO_ON_AFTER_S", 1.0)
    site = private_site
    await asyncio.to_thread(private_node.stop)  # RabbitMQ 3.10 ruins what is killed right after its declaration
    await asyncio.to_thread(private_node.start)
    await site.said.published("a.iso")
    await site.said.serving("ana", "a.iso", slots=1000)
    async with site.selector(name=SelectorName("two"), state_dir=tmp_path) as two:
        await two.until_chosen("a.iso", "ana")
    async with site.selector(name=SelectorName("one"), state_dir=tmp_path, silent_after_s=600.0) as one:
        await one.until_chosen("a.iso", "ana")
        await asyncio.to_thread(private_node.kill)
        async with site.selector(name=SelectorName("two"), state_dir=tmp_path, silent_after_s=600.0) as two:
            for number in range(10):
                for selector, network in ((one, "203.0.113"), (two, "198.51.100")):
                    assert await selector.sent_to("/a.iso", f"{network}.{number}") == "ana"
            told = [await selector.ask("/-/readyz") for selector in (one, two)]
            assert [(each["ready"], each["degraded"]) for each in told] == [(True, True)] * 2
            assert all("going on from the last view" in str(each["checks"]) for each in told)
            await asyncio.to_thread(private_node.start)
            await site.said.published("b.iso")
            for selector in (one, two):
                await selector.until(partial(has_all, selector))
            assert await files_of(one) == await files_of(two)
            assert await figures_of(one) == await figures_of(two)


async def has_all(selector: Selector) -> bool:
    """Tell whether a selector knows both files, and each other's grants."""
    total = (await selector.ask("/-/api/v1/statistics", by="site"))["total"]
    return total == 20 and len(await files_of(selector)) == 2


async def figures_of(selector: Selector) -> list[dict[str, Any]]:
    mirrors = (await selector.ask("/-/api/v1/mirrors"))["mirrors"]
    figures = [await selector.ask("/-/api/v1/statistics", by=by) for by in ("file", "mirror", "country")]
    return [*figures, *({name: each[name] for name in ("mirror", "free_slots", "copies")} for each in mirrors)]


async def files_of(selector: Selector) -> list[FilePath]:
    return [each["path"] for each in (await selector.ask("/-/api/v1/files"))["files"]]
