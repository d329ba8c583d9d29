"""One visitor's grant: what was decided and why, and all that was said of it afterwards."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import aclosing
from typing import Final

from distributary.cli.events.past import past_choice
from distributary.cli.events.progress import reading_progress
from distributary.cli.invocation import Invocation
from distributary.cli.output import Output
from distributary.cli.printable import printable
from distributary.cli.where import print_where
from distributary.client import JsonObject
from distributary.errors import CommandError, UsageError
from distributary.exits import ExitCode
from events.errors import MalformedGrantError
from events.grants import GRANT_ID_BYTES, grant_id_of, normalise
from events.names import FilePath
from events.schemas import (
    Decision,
    DecisionsRecorded,
    DownloadsGranted,
    DownloadsReported,
    Event,
    GrantClaimed,
    GrantsRevoked,
)
from history.entry import Position
from history.sources.port import Source
from history.telling.lines import line_of
from history.telling.records import record_of
from history.telling.told import Told, tell

_GRANT_ID: Final = re.compile(f"[0-9a-f]{{{2 * GRANT_ID_BYTES}}}")


def grant_id_in(wanted: str) -> bytes | None:
    """Find a grant's id: the id itself, or in a link like ``https://mirror.example/d/<token>/name``.

    Raises:
        UsageError: it is a link, and a broken one.
    """
    if _GRANT_ID.fullmatch(wanted):
        return bytes.fromhex(wanted)
    _, found, rest = wanted.partition("/d/")
    if not found:
        return None
    try:
        return grant_id_of(rest.partition("/")[0])
    except MalformedGrantError as error:
        raise UsageError("link_invalid", f"{error}: copy the whole link that the visitor was given") from None


async def show_grant(invocation: Invocation, log: Source, grant_id: bytes, *, after: Position | None) -> None:
    """Print all that the log tells of a grant.

    Raises:
        CommandError: it tells nothing.
    """
    told = await _told_of(invocation.output, log, grant_id, after=after)
    if not told:
        raise CommandError(
            "grant_unknown",
            f"nothing is said of grant {grant_id.hex()} in {log.name}",
            exit_code=ExitCode.NOT_FOUND,
            hint="the archive or an export may reach back further",
        )
    decision = next((found for each in told if (found := _decision_in(each, grant_id)) is not None), None)
    choice, why_not = await _explained(invocation, log, decision)
    _print(invocation.output, grant_id, told, choice, why_not)


async def _told_of(output: Output, log: Source, grant_id: bytes, *, after: Position | None) -> list[Told]:
    found: list[Told] = []
    count = 0
    with reading_progress(output, "looking", await log.extent()) as update:
        async with aclosing(log.batches(after=after)) as batches:
            async for batch in batches:
                # An id stands in the bytes as it is, and few entries have it by chance.
                likely = [tell(entry, vhost=log.vhost) for entry in batch if grant_id in entry.body]
                found += [each for each in likely if each.envelope and _names(each.envelope.event, grant_id)]
                count += len(batch)
                update(count, batch[-1].position)
    return found


def _names(event: Event, grant_id: bytes) -> bool:
    match event:
        case DecisionsRecorded():
            return any(each.grant_id == grant_id for each in event.decisions)
        case DownloadsGranted():
            return any(each.grant_id == grant_id for each in event.grants)
        case DownloadsReported():
            return any(each.grant_id == grant_id for each in event.downloads)
        case GrantClaimed() | GrantsRevoked():
            return event.grant_id == grant_id
        case _:
            return False


def _decision_in(told: Told, grant_id: bytes) -> Decision | None:
    if told.envelope is None or not isinstance(told.envelope.event, DecisionsRecorded):
        return None
    return next((each for each in told.envelope.event.decisions if each.grant_id == grant_id), None)


async def _explained(invocation: Invocation, log: Source, decision: Decision | None) -> tuple[JsonObject | None, str]:
    """Make the decision again; give it with its reasons, or why that cannot be done."""
    if decision is None:
        return (
            None,
            "no record of the decision was read (see selector.decisions_percent)",
        )
    if not decision.address:
        return None, "the visitor's address is not kept any more, and the decision depends on it"
    path, address = FilePath(decision.path), normalise(decision.address)
    try:
        found = await past_choice(invocation, log, path=path, address=address, at_ns=decision.at_ns)
    except CommandError as error:
        return None, error.message
    if found.decision.grant_id != decision.grant_id:
        return None, "another decision for the same visitor and file stands at the same moment"
    return found.told(), ""


def _print(output: Output, grant_id: bytes, told: Sequence[Told], choice: JsonObject | None, why_not: str) -> None:
    if output.json:
        events = [record_of(each) for each in told]
        content = {"grant_id": grant_id.hex(), "decision": choice, "why_not": why_not, "events": events}
        output.snapshot("events.grant", content)
        return
    for each in told:
        output.text(printable(line_of(each)))
    output.text()
    if choice is None:
        output.text(f"not explained: {why_not}")
    else:
        print_where(output, choice)
