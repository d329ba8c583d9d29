"""What a mirror says, and asks the master for, because of an event belongs to that event's trace."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

import aiohttp
from aiohttp import web

from events.schemas import (
    DownloadOutcome,
    Event,
    LoadReported,
    ReplicaDeclined,
    ReplicaLost,
    ReplicaReady,
)
from events.trace import HEADER, TraceContext, parse

if TYPE_CHECKING:
    from conftest import Stage

PUBLISHING = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
WITHDRAWING = "00-1bf7651916cd43dd8448eb211c80319c-b7ad6b7169203332-00"
VISITING = "00-2cf7651916cd43dd8448eb211c80319c-b7ad6b7169203333-01"


async def span_of(stage: Stage, kind: type[Event], *, parent: str) -> TraceContext:
    """The span that the first event of a kind carries: a child of the parent's."""
    await stage.log.until(kind)
    carried = next(envelope for envelope in stage.log.envelopes if isinstance(envelope.event, kind)).traceparent
    return child_of(parent, carried)


def child_of(parent: str, carried: str) -> TraceContext:
    """Read a span, and see that it is a child of the parent's."""
    span, above = parse(carried), parse(parent)
    assert span is not None
    assert above is not None
    assert (span.trace_id, span.sampled) == (above.trace_id, above.sampled)
    assert span.span_id != above.span_id
    return span


async def test_a_failed_fetch_its_repetition_and_the_replica_are_one_span_of_the_publication(stage: Stage) -> None:
    asked: list[str] = []

    async def refuses(request: web.Request, _content: bytes) -> web.StreamResponse:
        asked.append(request.headers[HEADER])
        return web.Response(status=HTTPStatus.SERVICE_UNAVAILABLE)

    async def sends(request: web.Request, content: bytes) -> web.StreamResponse:
        asked.append(request.headers[HEADER])
        return web.Response(body=content)

    async with stage.running():
        await stage.publish_ready("before", b"so the channel is followed")
        stage.master.answers += [refuses, sends]
        stage.log.envelopes.clear()
        stage.log.said.clear()
        await stage.say(stage.master.publish("a", b"content"), traceparent=PUBLISHING)
        span = await span_of(stage, ReplicaReady, parent=PUBLISHING)
        assert await span_of(stage, ReplicaDeclined, parent=PUBLISHING) == span
    assert asked == [span.traceparent] * 2


async def test_a_lost_replica_belongs_to_the_withdrawal_and_not_to_the_publication(stage: Stage) -> None:
    async with stage.running():
        await stage.publish_ready("a", b"content")
        await stage.say(stage.master.withdraw("a"), traceparent=WITHDRAWING)
        await span_of(stage, ReplicaLost, parent=WITHDRAWING)


async def test_an_event_without_a_good_trace_begins_none(stage: Stage) -> None:
    async with stage.running():
        await stage.publish_ready("before", b"so the channel is followed")
        await stage.say(stage.master.publish("a", b"content"), traceparent="00-nonsense-01")
        await stage.log.until(ReplicaReady, 2)
    said = [envelope for envelope in stage.log.envelopes if envelope.source == "mirror/ana"]
    assert {envelope.traceparent for envelope in said} == {""}


async def test_a_download_is_one_span_of_the_grant_that_was_announced(
    stage: Stage, http: aiohttp.ClientSession
) -> None:
    async with stage.running():
        event = await stage.publish_ready("a", b"content")
        grant = stage.grant(event)
        await stage.announce(event, grant.grant_id, traceparent=VISITING)
        await stage.load.until_true(
            lambda: any(stage.selector in report.grants_seen for report in stage.load.of(LoadReported))
        )
        for asked in ("bytes=0-2", "bytes=3-"):
            async with http.get(stage.link(grant), headers={"Range": asked}) as response:
                await response.read()
        first, second = await stage.log.until_told(DownloadOutcome.FINISHED, 2)
        assert child_of(VISITING, first.traceparent) == child_of(VISITING, second.traceparent)


async def test_a_download_that_nobody_announced_carries_no_trace(stage: Stage, http: aiohttp.ClientSession) -> None:
    async with stage.running():
        grant = stage.grant(await stage.publish_ready("a", b"content"))
        async with http.get(stage.link(grant)) as response:
            assert await response.read() == b"content"
        (finished,) = await stage.log.until_told(DownloadOutcome.FINISHED)
        assert finished.traceparent == ""
