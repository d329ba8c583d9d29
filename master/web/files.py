"""Administration: publish, list and withdraw files."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from aiohttp import hdrs, web

from edge.tracing import trace_of
from events.names import (
    ORIGIN_CHANNEL,
    ChannelName,
    FilePath,
    held_path,
    is_held,
    parse_channel,
    parse_media_type,
    parse_path,
    parse_tag,
    unheld_path,
)
from events.schemas import Access, AccessMode, WithdrawMode
from events.trace import TraceContext
from master.catalogue import PublishedFile
from master.channels import Channels
from master.errors import InvalidRequestError
from master.holds import parse_condition
from master.publishing import Order, Plan, Publisher
from master.web.bodies import PublishBody, answer, file_json, networks_of, read_body, rfc3339
from master.withdrawing import Acknowledgement, Withdrawing

_DIGITS_MAX = 19  # of a 64 bit number


class FileRoutes:
    """``/-/api/v1/files``."""

    def __init__(self, publisher: Publisher, withdrawing: Withdrawing, channels: Channels) -> None:
        self._publisher = publisher
        self._withdrawing = withdrawing
        self._channels = channels

    async def publish(self, request: web.Request) -> web.StreamResponse:
        """Publish, and tell line by line how far it is. A client that leaves stops it after the current file."""
        plan = await self._publisher.plan(_order(await read_body(request, PublishBody)))
        response = web.StreamResponse(
            headers={hdrs.CONTENT_TYPE: "application/x-ndjson", hdrs.CACHE_CONTROL: "no-store"}
        )
        await response.prepare(request)
        await self._report(plan, response, trace_of(request))
        await response.write_eof()
        return response

    async def list(self, request: web.Request) -> web.Response:
        """List the catalogue, or one channel of it, or what stands under one path."""
        if (path := request.query.get("path")) is not None:
            return await self._one(parse_path(path))
        wanted = request.query.get("channel", ORIGIN_CHANNEL)
        channel = ORIGIN_CHANNEL if wanted == ORIGIN_CHANNEL else parse_channel(wanted)
        entries = await self._channels.files(channel)
        memberships = await self._channels.memberships()
        files = [entry.file for entry in sorted(entries, key=lambda entry: entry.file.path)]
        return answer({"files": [_listed(file, memberships.get(file.path, [])) for file in files]})

    async def _one(self, path: FilePath) -> web.Response:
        standing = await self._channels.standing(path)
        if standing.file is None or is_held(path):
            return answer({"files": []})
        return answer({"files": [_listed(standing.file, sorted(standing.channels - {ORIGIN_CHANNEL}))]})

    async def withdraw(self, request: web.Request) -> web.Response:
        """Withdraw a file."""
        path = parse_path(request.query.get("path", ""))
        if of_held := _flag(request, "held"):
            path = held_path(path)
        reason, mode = request.query.get("reason", ""), _mode(request.query.get("mode", WithdrawMode.DRAIN.value))
        withdrawal = await self._withdrawing.withdraw(path, reason=reason, mode=mode, trace=trace_of(request))
        return answer(
            {
                "withdrawn": file_json(withdrawal.file) | {"path": unheld_path(path)},
                "held": of_held,
                "mode": mode.value,
                "cut": withdrawal.cut,
                "facts": [
                    {"channel": channel, "channel_sequence": sequence} for channel, sequence in withdrawal.facts.items()
                ],
                "mirrors": _acknowledgements_json(withdrawal.acknowledgements),
            }
        )

    async def acknowledgements(self, request: web.Request) -> web.Response:
        """Tell which mirrors have acted on facts of channels."""
        facts = dict(map(_fact, request.query.getall("fact", [])))
        return answer({"mirrors": _acknowledgements_json(await self._withdrawing.acknowledgements(facts))})

    async def _report(self, plan: Plan, response: web.StreamResponse, trace: TraceContext) -> None:
        reports = self._publisher.carry_out(plan, trace=trace)
        try:
            async for report in reports:
                await response.write(msgspec.json.encode(report) + b"\n")
        finally:
            await reports.aclose()


def _listed(file: PublishedFile, channels: Sequence[ChannelName]) -> dict[str, object]:
    return file_json(file) | {"channels": channels, "published_at": rfc3339(file.published_at_ns)}


def _order(body: PublishBody) -> Order:
    return Order(
        source=body.source,
        under=body.under,
        tags=tuple(sorted({parse_tag(tag) for tag in body.tags})),
        named_channels=_named(body.channels),
        access=Access(networks=networks_of(body.networks), mode=AccessMode(body.access)),
        media_type=None if body.media_type is None else parse_media_type(body.media_type),
        hold=body.hold or body.wait is not None,
        condition=None if body.wait is None else parse_condition(body.wait),
        dry_run=body.dry_run,
    )


def _flag(request: web.Request, name: str) -> bool:
    text = request.query.get(name, "false")
    if text not in {"true", "false"}:
        raise InvalidRequestError(f"{name}_invalid", f"{name}={text!r}", hint="write true or false")
    return text == "true"


def _mode(text: str) -> WithdrawMode:
    for mode in WithdrawMode:
        if mode.value == text:
            return mode
    raise InvalidRequestError("mode_invalid", f"no mode {text!r}", hint="write drain or cut")


def _fact(text: str) -> tuple[ChannelName, int]:
    channel, _, number = text.partition(":")
    if not number.isdecimal() or len(number) > _DIGITS_MAX:
        raise InvalidRequestError("fact_invalid", f"no fact {text!r}", hint="write it like iso:8")
    return parse_channel(channel), int(number)


def _acknowledgements_json(acknowledgements: Sequence[Acknowledgement]) -> list[dict[str, object]]:
    return [
        {
            "mirror": each.mirror,
            "acknowledged": not each.missing,
            "missing": each.missing,
            "external": each.external,
        }
        for each in acknowledgements
    ]


def _named(channels: Sequence[str] | None) -> tuple[ChannelName, ...] | None:
    return None if channels is None else tuple(sorted({parse_channel(channel) for channel in channels}))
