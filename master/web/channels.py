"""Administration: channels."""

from __future__ import annotations

from aiohttp import web

from edge.tracing import trace_of
from events.names import parse_channel
from master.channels import Channels, Verdict
from master.web.bodies import ChannelBody, TestBody, answer, channel_json, definition_json, read_body


class ChannelRoutes:
    """``/-/api/v1/channels``."""

    def __init__(self, channels: Channels) -> None:
        self._channels = channels

    async def list(self, _request: web.Request) -> web.Response:
        """List all channels."""
        return answer(
            {"channels": [channel_json(channel, files=files) for channel, files in await self._channels.all()]}
        )

    async def get(self, request: web.Request) -> web.Response:
        """Show one channel."""
        channel, files = await self._channels.get(parse_channel(request.match_info["channel"]))
        return answer(channel_json(channel, files=files))

    async def put(self, request: web.Request) -> web.Response:
        """Define a channel, or define it anew."""
        name = parse_channel(request.match_info["channel"])
        body = await read_body(request, ChannelBody)
        return answer(definition_json(await self._channels.put(body.channel(name), trace=trace_of(request))))

    async def remove(self, request: web.Request) -> web.Response:
        """Remove a channel."""
        name = parse_channel(request.match_info["channel"])
        await self._channels.remove(name, trace=trace_of(request))
        return answer({"removed": name})

    async def test(self, request: web.Request) -> web.Response:
        """Tell for each file whether the channel takes it, and which rule decided."""
        name = parse_channel(request.match_info["channel"])
        body = await read_body(request, TestBody)
        verdicts = await self._channels.test(name, None if body.filter is None else body.filter.filter())
        taken = sum(verdict.decision.taken for verdict in verdicts)
        return answer({"channel": name, "taken": taken, "files": [_verdict_json(verdict) for verdict in verdicts]})


def _verdict_json(verdict: Verdict) -> dict[str, object]:
    return {
        "path": verdict.file.path,
        "size_bytes": verdict.file.size_bytes,
        "taken": verdict.decision.taken,
        "rule": verdict.decision.rule.value,
        "detail": verdict.decision.detail,
    }
