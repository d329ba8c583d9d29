"""Choices of the past: found in the log and made again, with a reason for each mirror."""

from __future__ import annotations

import time

from distributary.cli.events.moments import Moment
from distributary.cli.invocation import Invocation
from distributary.errors import CommandError, UsageError
from distributary.exits import ExitCode
from events.errors import InvalidNameError
from events.grants import IPAddress, normalise
from events.names import FilePath, parse_path
from history.entry import Position
from history.replay.past import Past, PastUnknownError, Question, past
from history.sources.port import Source
from selection.places.database import GeoFileError
from selection.places.files import open_places


def question_of(path: str, address: str, at: Moment) -> tuple[FilePath, IPAddress, int]:
    """Prove what a person asks for.

    Raises:
        UsageError: it is no path, no address or no time.
    """
    if isinstance(at, Position):
        raise UsageError(
            "time_wanted", "--at wants a time, not a place in the log", hint="like 2h or '2026-11-22 10:41'"
        )
    if at > time.time_ns():
        raise UsageError("time_to_come", "--at is yet to come", hint="leave it out to ask for now")
    try:
        return parse_path(path), normalise(address), at
    except InvalidNameError as error:
        raise UsageError("path_invalid", str(error)) from error
    except ValueError as error:
        raise UsageError("address_invalid", f"{address!r} is no IP address") from error


async def past_choice(invocation: Invocation, log: Source, *, path: FilePath, address: IPAddress, at_ns: int) -> Past:
    """Find the choice for a visitor at a moment, by the log.

    Raises:
        CommandError: nothing can be told of it.
    """
    section = invocation.settings.selector
    try:
        with open_places(section.geoip_files, section.places_file) as places:
            place_of = places.places.place_of
            return await past(log, Question(path=path, address=address, at_ns=at_ns, place_of=place_of))
    except PastUnknownError as error:
        raise CommandError(
            "choice_unknown",
            f"{error}",
            exit_code=ExitCode.NOT_FOUND,
            hint="how mirrors stand is recorded when visitors come; of what was before the log's first entry "
            "(`events ls --limit 1`) only an archive or an export can tell",
        ) from error
    except GeoFileError as error:
        raise UsageError("geoip_unreadable", str(error)) from error
