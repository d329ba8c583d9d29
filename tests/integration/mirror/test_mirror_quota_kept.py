"""The operator's bytes: given to the last one, never exceeded, whatever visitors and crashes do."""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Final

import aiohttp
import pytest

from events.schemas import LoadReported, QuotaLevel, QuotaReached, QuotaWindow

if TYPE_CHECKING:
    from conftest import Stage

SIZE: Final = 300_000
CONTENT: Final = random.Random(1).randbytes(SIZE)  # noqa: S311 - any bytes will do, but the same ones
FILES: Final = 100
VISITORS: Final = 40
BACK: Final = "http://site.example/dir/a.iso?not=ana"


@pytest.mark.parametrize("limit", ["monthly_bytes", "daily_bytes"])
async def test_a_quota_of_a_hundred_files_is_given_to_the_last_byte_and_the_next_visitor_sent_back(
    stage: Stage, http: aiohttp.ClientSession, limit: str
) -> None:
    stage.reconfigure(**{limit: FILES * SIZE}, slots=VISITORS)
    async with stage.running():
        event = await stage.publish_ready("dir/a.iso", CONTENT)
        taken: Counter[int] = Counter()

        async def visit_until_exhausted() -> None:
            while True:
                async with http.get(stage.link(stage.grant(event)), allow_redirects=False) as response:
                    if response.status == 302:
                        assert response.headers["Location"] == BACK
                        return
                    assert response.status == 200
                    taken[len(await response.read())] += 1

        await asyncio.gather(*(visit_until_exhausted() for _ in range(VISITORS)))
        assert taken == {SIZE: FILES}, "all of them whole, and no byte over"
        window = (await stage.status(http))["month" if limit == "monthly_bytes" else "day"]
        assert (window["used_bytes"], window["left_bytes"]) == (FILES * SIZE, 0)
        await stage.load.until_true(lambda: stage.load.of(LoadReported)[-1].quota_left_bytes == 0)
        assert stage.load.of(LoadReported)[-1].sparing
        said = await stage.log.until(QuotaReached, 2)
        which = QuotaWindow.MONTH if limit == "monthly_bytes" else QuotaWindow.DAY
        assert [(one.window, one.level) for one in said] == [(which, QuotaLevel.SOFT), (which, QuotaLevel.HARD)]
    async with stage.running(), http.get(stage.link(stage.grant(event)), allow_redirects=False) as response:
        assert response.headers["Location"] == BACK, "a restart gives nothing back"
    assert len(stage.log.of(QuotaReached)) == 2, "nor says it again"


async def test_visitors_who_leave_give_back_what_they_did_not_take(
    stage: Stage, http: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mirror.serving.slots.SLOT_KEPT_S", 0.0)
    content = random.Random(2).randbytes(16_000_000)  # noqa: S311 - as above
    limit_bytes = 5 * len(content)
    stage.reconfigure(monthly_bytes=limit_bytes, slots=VISITORS)
    dice = random.Random(5)  # noqa: S311 - not for secrets
    async with stage.running():
        event = await stage.publish_ready("dir/a.iso", content)

        async def visit(take_bytes: int) -> int:
            async with http.get(stage.link(stage.grant(event)), allow_redirects=False) as response:
                if response.status == 302:
                    return 0
                await response.content.readexactly(take_bytes)
                response.close()
                return take_bytes

        takes = [dice.choice((1000, 100_000, len(content))) for _ in range(60)]
        taken_bytes = sum(await asyncio.gather(*map(visit, takes)))
        await stage.until_served(http, active=0)
        month = (await stage.status(http))["month"]
        assert taken_bytes <= month["used_bytes"] <= limit_bytes
        assert month["used_bytes"] + month["left_bytes"] == limit_bytes


@pytest.mark.processes
async def test_no_crash_lets_more_leave_than_the_operator_gave(tmp_path: Path) -> None:
    script = Path(__file__).with_name("ledger_crash_points.py")
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(script), str(tmp_path), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    attempts = [json.loads(line) for line in out.decode().splitlines() if line.startswith("{")]  # the rest is its log
    died_at = {one["died_at"] for one in attempts}
    assert died_at >= {"before commit", "after commit", "before bytes leave", "after bytes left"}
    for one in attempts:
        for day, left_bytes in one["left"].items():
            assert left_bytes <= one["counted"][day] <= 6_000, one
        assert sum(one["left"].values()) <= one["counted"]["month"] <= 10_000, one
    last = attempts[-1]
    assert last["died_at"] == ""
    assert sum(last["left"].values()) == last["counted"]["month"], "a clean stop counts what left and no more"
