"""The archiver as a service: when it is ready, what it tells of itself, and when it raises the alarm."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from structlog.testing import capture_logs

from broker.config import BrokerConfig
from broker.memory import MemoryBroker
from broker.retention import DAY_S, Retention
from edge.clients import new_session
from history.archive import upkeep as upkeep_module
from history.archive.app import run_on
from history.archive.config import ArchiveConfig
from history.archive.lag import LagLevel
from history.archive.upkeep import Upkeep

if TYPE_CHECKING:
    from conftest import Desk

DEADLINE_S = 60.0
STATUS = "/-/api/v1/status"


def config_in(folder: Path) -> ArchiveConfig:
    return ArchiveConfig(listen_port=0, data_folder=folder / "archive", broker=BrokerConfig(url="amqp://memory/memory"))


@asynccontextmanager
async def serving(desk: Desk, folder: Path) -> AsyncGenerator[str]:
    """Run an archiver of its own while the block is entered; give its URL."""
    ready: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    async with asyncio.timeout(DEADLINE_S), MemoryBroker(desk.scribe.site) as broker:
        task = asyncio.create_task(run_on(broker, config_in(folder), on_ready=ready.set_result))
        try:
            yield await ready
        finally:
            task.cancel()
            await asyncio.wait([task])


async def asked(url: str, path: str, **headers: str) -> tuple[int, dict[str, Any]]:
    async with new_session() as session, session.get(url + path, headers=headers) as response:
        return response.status, await response.json()


async def test_a_running_archiver_is_ready_and_tells_how_far_it_is(desk: Desk, tmp_path: Path) -> None:
    await desk.scribe.open_log()
    await desk.scribe.fill(4)
    async with serving(desk, tmp_path) as url:

        async def is_made() -> bool:
            return (await asked(url, STATUS))[1]["projections"] == {"downloads": 5, "readiness": 5}

        await desk.until_told(is_made)
        _, told = await asked(url, STATUS)
        status, readiness = await asked(url, "/-/readyz")
        stranger = await asked(url, STATUS, Via="1.1 proxy")
    assert (stranger[0], stranger[1]["error"]["code"]) == (403, "not_local")
    assert (told["events"], told["lag"]["level"], told["gaps"]) == (5, "fine", [])
    assert (status, readiness["ready"], readiness["degraded"]) == (200, True, False)


async def test_an_archiver_without_its_broker_is_not_ready(desk: Desk, tmp_path: Path) -> None:
    await desk.scribe.open_log()
    async with serving(desk, tmp_path) as url:
        with desk.scribe.site.outage():
            status, readiness = await asked(url, "/-/readyz")
    assert (status, readiness["ready"]) == (503, False)
    assert [check["name"] for check in readiness["checks"] if not check["ok"]] == ["broker"]


async def test_a_lag_that_nears_the_retention_is_told_in_the_log_once_and_when_it_is_over(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upkeep_module, "WATCH_EVERY_S", 0.001)
    await desk.scribe.open_log()
    config = replace(config_in(tmp_path), log=Retention(age_s=30 * DAY_S, size_bytes=10**12))
    with capture_logs() as logs:
        await _lag(desk, config)
    said = Counter(log["event"] for log in logs)
    assert said["archive.lag_near_retention"] == 2
    assert said["archive.lag_over"] == 1


async def _lag(desk: Desk, config: ArchiveConfig) -> None:
    """Let an archiver fall behind further and further, and catch up."""
    async with desk.archiving() as archiver:
        await desk.until(lambda: archiver.abreast_s > 0)
        clock = {"s": archiver.abreast_s}
        upkeep = Upkeep(desk.database, archiver, config, clock_s=lambda: clock["s"])
        task = asyncio.create_task(upkeep.run())
        try:
            for days, level in ((1, LagLevel.FINE), (16, LagLevel.NEAR), (25, LagLevel.CRITICAL), (0, LagLevel.FINE)):
                clock["s"] = archiver.abreast_s + days * DAY_S
                await desk.until(lambda level=level: upkeep.lag is not None and upkeep.lag.level is level)
        finally:
            task.cancel()
            await asyncio.wait([task])


async def test_a_gap_degrades_an_archiver_for_a_week(desk: Desk, tmp_path: Path) -> None:
    await desk.scribe.open_log()
    async with serving(desk, tmp_path):
        pass
    await desk.scribe.fill(50)
    desk.scribe.stream().cut(30)
    async with serving(desk, tmp_path) as url:

        async def is_degraded() -> bool:
            return bool((await asked(url, "/-/readyz"))[1]["degraded"])

        await desk.until_told(is_degraded)
        _, readiness = await asked(url, "/-/readyz")
    assert readiness["ready"]
    (whole,) = [check for check in readiness["checks"] if check["name"] == "whole"]
    assert "retention cut off" in whole["detail"]
