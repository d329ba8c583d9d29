"""What a live selector knows, held against what the log tells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from distributary.cli.invocation import Invocation
from distributary.cli.output import BAD, GOOD, Output
from distributary.client import Api
from distributary.config.secrets import read_site_secret
from distributary.errors import CommandError, UnavailableError
from distributary.exits import ExitCode
from history.entry import Position
from history.replay.replayer import Replayer
from history.telling.records import position_text
from selection.following.snapshot import Mark, Part, UnusableSnapshotError, read, site_of
from selection.view.differences import Difference
from selection.view.fleet import FleetView
from selection.view.snapshot import SnapshotUnusableError, load

DIFFERENCES_SHOWN: Final = 50  # a screen; --json has all of them


@dataclass(frozen=True, slots=True)
class LiveView:
    """A selector's view, and how far it had read the log."""

    url: str
    mark: Mark
    view: FleetView


def fetched_snapshot(invocation: Invocation, url: str | None) -> LiveView:
    """Ask a selector for what it knows; without ``url`` the site's own.

    Raises:
        CommandError: it does not answer, or what it answers cannot be used.
    """
    selector = invocation.selector() if url is None else Api(url, role="selector")
    try:
        content = selector.get_bytes("/-/api/v1/snapshot")
    except CommandError as error:
        if error.exit_code != ExitCode.NOT_FOUND:
            raise
        raise CommandError(
            "no_selector",
            f"what answers at {selector.url} is no selector",
            exit_code=ExitCode.NOT_FOUND,
            hint="name a selector's own address, as `serve selector` prints it",
        ) from error
    try:
        return LiveView(selector.url, *_read(content, site=site_of(read_site_secret(invocation.settings))))
    except (UnusableSnapshotError, SnapshotUnusableError) as error:
        raise UnavailableError(
            "snapshot_unusable",
            f"the snapshot of the selector at {selector.url} cannot be used: {error}",
            hint="it is to be of this site and of this version",
        ) from error


def _read(content: bytes, *, site: bytes) -> tuple[Mark, FleetView]:
    found = read(content, site=site)
    if Part.VIEW not in found.parts:
        raise UnusableSnapshotError(found.damage)
    return found.mark, load(found.parts[Part.VIEW])


def print_differences(output: Output, replayer: Replayer, live: LiveView, found: Sequence[Difference]) -> ExitCode:
    """Print in what the two differ; give the exit code.

    Raises:
        CommandError: the log does not reach to where the selector is.
    """
    place = Position(live.mark.generation, live.mark.offset)
    if replayer.position != place or replayer.message_id != live.mark.message_id:
        raise CommandError(
            "place_not_found",
            f"the selector at {live.url} has read up to {position_text(place)} ({live.mark.message_id}), "
            "and that is not in this log",
            exit_code=ExitCode.NOT_FOUND,
            hint="an archive may lag behind, and an export ends where it was made: read the broker",
        )
    at = position_text(place)
    if output.json:
        differences = [each._asdict() | {"subject": each.subject.value} for each in found]
        output.snapshot("events.diff", {"selector": live.url, "position": at, "differences": differences})
    elif not found:
        output.text(f"the selector at {live.url} knows at {at} what the log tells: no difference", style=GOOD)
    else:
        _print_table(output, found, f"the selector at {live.url} differs at {at} in {len(found)} points from the log")
    return ExitCode.VERIFICATION_FAILED if found else ExitCode.OK


def _print_table(output: Output, found: Sequence[Difference], headline: str) -> None:
    output.text(headline, style=BAD)
    rows = [(each.subject.value, each.name, each.left or "-", each.right or "-") for each in found[:DIFFERENCES_SHOWN]]
    output.table(("what", "which", "the log tells", "the selector knows"), rows)
    if len(found) > DIFFERENCES_SHOWN:
        output.text(f"… and {len(found) - DIFFERENCES_SHOWN} more: --json has all of them")
