"""What the mirror's operator tells it while it runs: pause, drain, leave and limits."""

from __future__ import annotations

import asyncio
import json
import os
import stat
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from aiohttp import web

from events.schemas import (
    Availability,
    AvailabilityChanged,
    LoadReported,
    MirrorCameOnline,
    MirrorWentOffline,
    ReplicaDeclined,
    ReplicaReady,
)
from mirror.app import NotAMemberError, run

if TYPE_CHECKING:
    from conftest import Stage

CONTENT = bytes(range(256)) * 40_000
BASE = "/-/control/v1"


class Desk:
    """The operator at his mirror."""

    def __init__(self, stage: Stage, http: aiohttp.ClientSession) -> None:
        self._stage, self._http = stage, http
        self.file = stage.config.data_folder / "control.json"

    async def ask(
        self, method: str, name: str, body: object = None, *, headers: dict[str, str] | None = None
    ) -> tuple[int, Any]:
        found = json.loads(self.file.read_text())
        bearer = {"Authorization": f"Bearer {found['token']}"}
        url = f"{found['url']}{BASE}/{name}"
        async with self._http.request(method, url, json=body, headers=bearer | (headers or {})) as response:
            return response.status, await response.json()

    async def tell(self, name: str, body: object = None) -> dict[str, Any]:
        status, answer = await self.ask("POST", name, body or {})
        assert status == 200, answer
        return answer

    async def state(self, query: str = "") -> dict[str, Any]:
        status, answer = await self.ask("GET", f"state{query}")
        assert status == 200, answer
        return answer


@pytest.fixture
async def desk(stage: Stage, http: aiohttp.ClientSession) -> Desk:
    return Desk(stage, http)


@asynccontextmanager
async def slow_visitor(stage: Stage, http: aiohttp.ClientSession, link: str) -> AsyncGenerator[aiohttp.ClientResponse]:
    """A visitor who takes some of a file and then no more, until the block ends."""
    async with http.get(link) as response:
        await response.content.readexactly(1000)
        await stage.until_served(http, active=1)
        yield response


async def test_a_paused_mirror_says_so_and_serves_who_has_a_link(
    stage: Stage, http: aiohttp.ClientSession, desk: Desk
) -> None:
    async with stage.running():
        event = await stage.publish_ready("a", CONTENT)
        before_s = time.time()
        answer = await desk.tell("pause", {"for_s": 7200})
        assert answer["availability"]["state"] == "paused"
        await stage.log.until_true(lambda: stage.log.of(AvailabilityChanged)[-1].availability is Availability.PAUSED)
        assert before_s + 7200 <= stage.log.of(AvailabilityChanged)[-1].until_s <= time.time() + 7202
        async with http.get(stage.link(stage.grant(event))) as response:
            assert await response.read() == CONTENT
        reports = len(stage.load.of(LoadReported))
        await stage.load.until(LoadReported, reports + 1)
    async with stage.running():
        assert (await desk.state())["availability"]["state"] == "paused", "also after a restart"
        said = await stage.log.until(MirrorCameOnline, 2)
        assert len(said) == 2
        await stage.log.until_true(lambda: stage.log.of(AvailabilityChanged)[-1].availability is Availability.PAUSED)
        assert (await desk.tell("resume"))["availability"]["state"] == "open"
        await stage.log.until_true(lambda: stage.log.of(AvailabilityChanged)[-1].availability is Availability.OPEN)


async def test_a_pause_ends_by_itself(stage: Stage, desk: Desk) -> None:
    async with stage.running():
        await stage.log.until(AvailabilityChanged)
        await desk.tell("pause", {"for_s": 0.1})
        await stage.log.until_true(
            lambda: [one.availability.value for one in stage.log.of(AvailabilityChanged)] == ["open", "paused", "open"]
        )


async def test_outside_of_its_hours_a_mirror_is_closed(stage: Stage, desk: Desk) -> None:
    opens_s = time.time() + 2 * 3600
    opens, closes = (time.strftime("%H:%M", time.gmtime(moment_s)) for moment_s in (opens_s, opens_s + 60))
    stage.reconfigure(hours=f"{opens}-{closes}")
    async with stage.running():
        (said, *_) = await stage.log.until(AvailabilityChanged)
        assert said.availability is Availability.CLOSED
        assert time.time() < said.until_s < time.time() + 2 * 3600 + 60
        await desk.tell("settings", {"hours": ""})
        await stage.log.until_true(lambda: stage.log.of(AvailabilityChanged)[-1].availability is Availability.OPEN)


async def test_a_drained_mirror_waits_for_who_is_here_and_stops(
    stage: Stage, http: aiohttp.ClientSession, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mirror.operating.operator.DRAIN_SETTLE_S", 0.0)
    monkeypatch.setattr("mirror.operating.operator.DRAIN_LOOK_EVERY_S", 0.01)
    async with stage.running_until_it_ends() as ended:
        event = await stage.publish_ready("a", CONTENT * 3)
        async with slow_visitor(stage, http, stage.link(stage.grant(event))) as response:
            before_s = int(time.time())
            availability = (await desk.tell("drain", {"within_s": 600}))["availability"]
            assert availability["state"] == "draining"
            assert before_s + 600 <= datetime.fromisoformat(availability["until"]).timestamp() <= time.time() + 601
            await stage.log.until_true(
                lambda: stage.log.of(AvailabilityChanged)[-1].availability is Availability.DRAINING
            )
            assert before_s + 600 <= stage.log.of(AvailabilityChanged)[-1].until_s
            assert not ended.done()
            assert len(await response.read()) == 3 * len(CONTENT) - 1000
        await asyncio.wait_for(ended, 20)
        await stage.log.until(MirrorWentOffline)
    assert not desk.file.exists()


async def test_a_drain_that_takes_too_long_cuts_who_is_still_here(
    stage: Stage, http: aiohttp.ClientSession, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mirror.operating.operator.DRAIN_LOOK_EVERY_S", 0.01)
    monkeypatch.setattr("edge.server.DRAIN_S", 0.1)
    async with stage.running_until_it_ends() as ended:
        event = await stage.publish_ready("a", CONTENT * 3)
        async with slow_visitor(stage, http, stage.link(stage.grant(event))):
            await desk.tell("drain", {"within_s": 0.1})
            await asyncio.wait_for(ended, 20)


async def test_a_mirror_leaves_the_fleet_and_sends_its_visitors_back(
    stage: Stage, http: aiohttp.ClientSession, desk: Desk
) -> None:
    async with stage.running():
        event = await stage.publish_ready("a", CONTENT)
        await desk.tell("leave")
        assert not stage.master.knows_us
        assert {"name": "member", "ok": False, "detail": "left by its operator"} in (await desk.state())["checks"]
        async with http.get(stage.link(stage.grant(event)), allow_redirects=False) as response:
            assert response.status == 302
        status, answer = await desk.ask("POST", "leave", {})
        assert (status, answer["error"]["code"]) == (410, "not_a_member")
        assert answer["error"]["message"] == "this mirror left the fleet already: left by its operator"
        assert "new invitation" in answer["error"]["hint"]
        assert (await desk.state())["left"] == "left by its operator"
        async with http.get(f"{stage.url}/-/status") as response:
            assert "left the fleet: left by its operator" in await response.text()


@pytest.mark.parametrize(("command", "body"), [("pause", {}), ("resume", {}), ("settings", {"slots": 3})])
async def test_a_mirror_that_left_takes_no_orders_but_to_stop(
    stage: Stage, desk: Desk, command: str, body: dict[str, object]
) -> None:
    async with stage.running():
        await desk.tell("leave")
        before = await desk.state()
        status, answer = await desk.ask("POST", command, body)
        assert (status, answer["error"]["code"]) == (410, "not_a_member")
        after = await desk.state()
        assert (after["availability"], after["limits"]) == (before["availability"], before["limits"])
        await desk.tell("drain", {"within_s": 600})


async def test_a_mirror_that_the_master_knows_no_more_does_not_start(stage: Stage) -> None:
    stage.master.knows_us = False
    with pytest.raises(NotAMemberError, match="the master knows the mirror ana no more"):
        await run(stage.config, on_ready=lambda _: pytest.fail("it is not ready"))


async def test_limits_hold_at_once_and_after_a_restart_until_they_are_taken_back(
    stage: Stage, http: aiohttp.ClientSession, desk: Desk
) -> None:
    stage.reconfigure(monthly_bytes=10**12, slots=7)
    async with stage.running():
        event = await stage.publish_ready("a", CONTENT)
        limits = await desk.tell("settings", {"monthly_bytes": 1000, "slots": 3, "rate_bytes_per_second": None})
        shown = {each["name"]: (each["value"], each["from"]) for each in limits["limits"]}
        assert (shown["monthly_bytes"], shown["slots"]) == ((1000, "set"), (3, "set"))
        assert shown["rate_bytes_per_second"] == (None, "set")
        assert shown["daily_bytes"] == (None, "config")
        async with http.get(stage.link(stage.grant(event)), allow_redirects=False) as response:
            assert response.status == 302
        await stage.log.until_true(lambda: stage.log.of(MirrorCameOnline)[-1].profile.slots == 3)
        assert stage.log.of(MirrorCameOnline)[-1].profile.monthly_bytes == 1000
    async with stage.running():
        assert (await desk.state())["month"]["limit_bytes"] == 1000
        await desk.tell("settings", {"as_configured": ["monthly_bytes"]})
        state = await desk.state()
        assert (state["month"]["limit_bytes"], state["serves"]["slots"]) == (10**12, 3)
        async with http.get(stage.link(stage.grant(event))) as response:
            assert await response.read() == CONTENT


@pytest.mark.parametrize(
    "body",
    [
        {"slots": 0},
        {"monthly_bytes": -1},
        {"rate_bytes_per_second": 0},
        {"hours": "22-7"},
        {"peer_share": 2},
        {"as_configured": ["nothing"]},
        {"unknown": 1},
        {"slots": "many"},
    ],
    ids=str,
)
async def test_a_limit_that_cannot_be_changes_nothing(stage: Stage, desk: Desk, body: object) -> None:
    async with stage.running():
        before = (await desk.state())["limits"]
        status, _ = await desk.ask("POST", "settings", body)
        assert status == 400
        assert (await desk.state())["limits"] == before


async def test_a_rate_is_shared_by_all_downloads_and_changes_while_they_run(
    stage: Stage, http: aiohttp.ClientSession, desk: Desk
) -> None:
    async with stage.running():
        event = await stage.publish_ready("a", CONTENT * 3)
        await desk.tell("settings", {"rate_bytes_per_second": 100_000})
        async with slow_visitor(stage, http, stage.link(stage.grant(event))) as response:
            reading = asyncio.create_task(response.read())
            await asyncio.wait([reading], timeout=0.5)
            assert not reading.done(), "30 MB at 100 kB a second take minutes"
            await desk.tell("settings", {"rate_bytes_per_second": None})
            assert len(await asyncio.wait_for(reading, 20)) == 3 * len(CONTENT) - 1000


async def test_only_the_operator_gets_in(stage: Stage, http: aiohttp.ClientSession, desk: Desk) -> None:
    async with stage.running():
        assert stat.S_IMODE(desk.file.stat().st_mode) == 0o600
        for headers, status in (
            ({"Authorization": "Bearer wrong"}, 403),
            ({"Authorization": ""}, 401),
            ({"X-Forwarded-For": "127.0.0.1"}, 403),
            ({"Forwarded": "for=127.0.0.1"}, 403),
            ({"Host": "evil.example"}, 403),
        ):
            assert (await desk.ask("POST", "pause", {}, headers=headers))[0] == status, headers
        assert (await desk.state())["availability"]["state"] == "open"
        async with http.post(f"{stage.url}{BASE}/pause", json={}) as response:
            assert response.status == 404, "the visitors' address does not lead there"
    assert not desk.file.exists()


async def test_downloads_are_shown_without_tokens_and_whole_addresses(
    stage: Stage, http: aiohttp.ClientSession, desk: Desk
) -> None:
    async with stage.running():
        event = await stage.publish_ready("dir/a.iso", CONTENT * 3)
        link = stage.link(stage.grant(event))
        async with slow_visitor(stage, http, link):
            (shown,) = (await desk.state())["downloads"]
            assert (shown["path"], shown["address"]) == ("dir/a.iso", "127.0.0.0/24")
            assert shown["asked_bytes"] == 3 * len(CONTENT)
            (verbose,) = (await desk.state("?verbose=1"))["downloads"]
            assert verbose["address"] == "127.0.0.1"
            assert link.split("/d/")[1].split("/")[0] not in json.dumps(await desk.state("?verbose=1"))


async def test_the_page_shows_the_state_to_this_machine_alone_and_runs_no_script(
    stage: Stage, http: aiohttp.ClientSession
) -> None:
    async with stage.running():
        await stage.publish_ready("dir/<a>.iso", CONTENT)
        async with http.get(f"{stage.url}/-/status") as response:
            text = await response.text()
            assert response.headers["Content-Type"].startswith("text/html")
            assert "default-src 'none'" in response.headers["Content-Security-Policy"]
        assert "<h1>mirror ana</h1>" in text
        assert "<td>monthly</td><td>no limit</td>" in text
        assert f"<td>size</td><td>{len(CONTENT) / 1e6:.3g} MB</td>" in text
        assert f"<td>epoch</td><td>{(await stage.status(http))['events']['epoch']}</td>" in text
        assert "<script" not in text.lower()
        assert "<a>" not in text
        for headers in ({"X-Forwarded-For": "127.0.0.1"}, {"Host": "evil.example"}):
            async with http.get(f"{stage.url}/-/status", headers=headers) as response:
                assert response.status == 403


async def test_what_is_fetched_is_shown_with_its_pieces_and_what_is_not_with_the_reason(
    stage: Stage, desk: Desk
) -> None:
    stage.reconfigure(disk_bytes_max=len(CONTENT))
    async with stage.running():
        asked, go_on = asyncio.Event(), asyncio.Event()

        async def wait(request: web.Request, content: bytes) -> web.StreamResponse:
            asked.set()
            await go_on.wait()
            return web.Response(body=content, headers={"ETag": f'"{request.match_info["sha256"]}"'})

        stage.master.answers.append(wait)
        event = await stage.publish("dir/small.bin", b"small")
        await asyncio.wait_for(asked.wait(), 20)
        (fetch,) = (await desk.state())["fetching"]
        assert (fetch["path"], fetch["size_bytes"], fetch["pieces"], fetch["pieces_done"]) == ("dir/small.bin", 5, 1, 0)
        go_on.set()
        await stage.log.until_true(lambda: event.sha256 in {ready.sha256 for ready in stage.log.of(ReplicaReady)})
        await stage.publish("dir/large.bin", CONTENT * 2)
        await stage.log.until(ReplicaDeclined)
        state = await desk.state()
        (trouble,) = state["troubles"]
        assert (trouble["path"], trouble["reason"]) == ("dir/large.bin", "DISK_FULL")
        assert (state["holds"]["bytes"], state["holds"]["limit_bytes"], state["holds"]["quarantined"]) == (
            5,
            len(CONTENT),
            0,
        )


async def test_a_crowd_behind_one_address_is_sent_back_to_the_site_and_nobody_is_hung_up_on(
    stage: Stage, http: aiohttp.ClientSession
) -> None:
    stage.reconfigure(connections_per_address=1)
    async with stage.running(), aiohttp.ClientSession() as browsers:  # which keep their connections for later
        event = await stage.publish_ready("a", CONTENT * 3)
        async with slow_visitor(stage, http, stage.link(stage.grant(event))):
            visits = (browsers.get(stage.link(stage.grant(event)), allow_redirects=False) for _ in range(20))
            assert {response.status for response in await asyncio.gather(*visits)} == {302}


async def test_what_opens_links_is_the_operators_alone_to_read(stage: Stage) -> None:
    umask = os.umask(0o022)
    try:
        async with stage.running():
            found = {
                path.name: stat.S_IMODE(path.stat().st_mode) for path in stage.config.data_folder.glob("state.db*")
            }
    finally:
        os.umask(umask)
    assert found == dict.fromkeys(("state.db", "state.db-wal", "state.db-shm"), 0o600)
