"""Whoever asks for long answers without end keeps nobody from his file, nor an administrator from his answer."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import TYPE_CHECKING, Final

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from edge.errors import ApiError
from selection.answering.surface import turns as turns_module
from selection.answering.surface.turns import REST_FACTOR, Turns
from selection.answering.web import LONG_FOLDER

if TYPE_CHECKING:
    from conftest import Site

STRANGER: Final = {"X-Forwarded-For": "203.0.113.9"}
LONG: Final = ["/?mirrorstats", "/a.iso?mirrorlist", "/-/api/v1/where?path=a.iso", "/-/api/v1/files"]
LONG_TOO: Final = ["/-/api/v1/mirrors", "/-/api/v1/statistics?by=file"]


def strangers() -> web.Request:
    return make_mocked_request("GET", "/", headers=STRANGER)


async def test_turns_are_taken_one_after_another_with_a_rest_between() -> None:
    turns, clock = Turns(), asyncio.get_running_loop().time
    spans: list[tuple[float, float]] = []

    async def work() -> None:
        async with turns.turn_of(strangers()):
            began_s = clock()
            await asyncio.sleep(0.01)
            spans.append((began_s, clock()))

    await asyncio.gather(*(work() for _ in range(3)))
    for (began_s, ended_s), (next_s, _) in pairwise(spans):
        assert next_s - ended_s >= REST_FACTOR * (ended_s - began_s) * 0.9


async def test_one_too_many_is_refused_and_room_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns_module, "WAITING_MAX", 1)
    turns = Turns()
    async with turns.turn_of(strangers()):
        with pytest.raises(ApiError, match="busy"):
            await turns.turn_of(strangers()).__aenter__()
    with pytest.raises(LookupError):
        async with turns.turn_of(strangers()):
            raise LookupError
    async with turns.turn_of(strangers()):
        pass


async def test_pages_of_long_folders_take_turns_and_those_of_short_ones_do_not(
    memory_site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(LONG_FOLDER + 1):
        await memory_site.said.published(f"long/{number:03}.iso")
    await memory_site.said.published("short/a.iso")
    await memory_site.said.serving("ana", "short/a.iso")
    monkeypatch.setattr(turns_module, "WAITING_MAX", 0)
    async with memory_site.selector() as selector:
        await selector.until_chosen("short/a.iso", "ana")
        pages = {folder: await selector.visit(folder, headers=STRANGER) for folder in ("/", "/short/", "/long/")}
        assert {folder: page.status for folder, page in pages.items()} == {"/": 200, "/short/": 200, "/long/": 503}


@pytest.mark.parametrize("target", [*LONG, *LONG_TOO])
async def test_long_answers_take_turns_and_files_and_administrators_do_not(
    memory_site: Site, monkeypatch: pytest.MonkeyPatch, target: str
) -> None:
    await memory_site.said.published("a.iso")
    await memory_site.said.serving("ana", "a.iso")
    async with memory_site.selector() as selector:
        await selector.until_chosen("a.iso", "ana")
        assert (await selector.visit(target, headers=STRANGER)).status == 200
        monkeypatch.setattr(turns_module, "WAITING_MAX", 0)
        refused = await selector.visit(target, headers=STRANGER)
        assert (refused.status, refused.headers["Retry-After"]) == (503, "5")
        assert (await selector.visit("/a.iso", headers=STRANGER)).status == 302
        if target.startswith("/-/"):
            assert (await selector.visit(target)).status == 200
