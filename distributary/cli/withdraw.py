"""``distributary withdraw``: out of the catalogue, and so off every mirror."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Final

import click

from distributary.answers import objects, text, words
from distributary.cli.command import Command
from distributary.cli.confirm import confirm
from distributary.cli.invocation import current
from distributary.cli.output import WARNING, Output
from distributary.cli.types import Duration
from distributary.client import Api, JsonObject
from distributary.errors import CommandError, DeadlineError, UnavailableError
from distributary.exits import ExitCode
from distributary.units import format_duration

CANNOT_CUT: Final = "sends through nginx: it cannot cut a download that runs, only refuse new ones"
ASK_EVERY_S: Final = 0.5  # a mirror that is there acts within a second


@click.command(cls=Command, name="withdraw")
@click.argument("path")
@click.option("--reason", required=True, help="Why; mirrors and the log are told.")
@click.option("--cut", is_flag=True, help="Also end the downloads of it that run.")
@click.option("--held", is_flag=True, help="What is held for PATH; what visitors get there stays.")
@click.option("--wait", is_flag=True, help="Wait until each mirror that follows its channels has acted on it.")
@click.option("--within", "within_s", type=Duration(), default="30s", show_default=True, help="How long to wait.")
@click.option("--dry-run", is_flag=True, help="Only tell what would be done.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def command(
    path: str, reason: str, *, cut: bool, held: bool, wait: bool, within_s: float, dry_run: bool, yes: bool
) -> None:
    """Withdraw the file at PATH of the catalogue. Mirrors stop to serve it and delete their copies.

    Downloads that run may end, unless --cut is given.
    """
    output, mode = current().output, "cut" if cut else "drain"
    found = find_held(path) if held else find_file(path)
    what = f"what is held for {path}" if held else path
    told: JsonObject = {"path": path, "held": held, "reason": reason, "mode": mode, "dry_run": dry_run, "file": found}
    if dry_run:
        _tell(output, told, f"would withdraw  {what}")
        return
    ends = " and end its downloads" if cut else ""
    confirm(f"Withdraw {what} (generation {found.get('generation')}) from every mirror{ends}?", yes=yes)
    master = current().master()
    query = {"path": path, "held": "true" if held else "false", "reason": reason, "mode": mode}
    answer = master.delete("/-/api/v1/files", query)
    if not output.json:
        output.text(f"withdrawn  {what}")
    mirrors = objects(answer, "mirrors")
    if wait:
        mirrors = wait_for(lambda: _ask(master, objects(answer, "facts")), mirrors, within_s=within_s)
    _tell(output, told | {"cut": answer.get("cut"), "mirrors": mirrors}, "")
    _report(output, mirrors, cut=cut)
    if wait and (away := [text(each, "mirror") for each in mirrors if not each.get("acknowledged")]):
        raise _late(path, away, len(mirrors), within_s)


def wait_for(
    ask: Callable[[], list[JsonObject]],
    mirrors: list[JsonObject],
    *,
    within_s: float,
    clock_s: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> list[JsonObject]:
    """Ask until all mirrors have acknowledged or the time is over; give the last answer that came."""
    deadline_s = clock_s() + within_s
    while not all(each.get("acknowledged") for each in mirrors) and (left_s := deadline_s - clock_s()) > 0:
        sleep(min(ASK_EVERY_S, left_s))
        try:
            mirrors = ask()
        except UnavailableError:
            continue  # what was withdrawn stays so; the master may be back in time
    return mirrors


def _ask(master: Api, facts: Sequence[JsonObject]) -> list[JsonObject]:
    named = [("fact", f"{text(fact, 'channel')}:{text(fact, 'channel_sequence')}") for fact in facts]
    return objects(master.get("/-/api/v1/acknowledgements", named), "mirrors")


def _tell(output: Output, told: JsonObject, line: str) -> None:
    if output.json:
        output.snapshot("withdraw", told)
    elif line:
        output.text(line)


def _report(output: Output, mirrors: Sequence[JsonObject], *, cut: bool) -> None:
    """Say to a person who has acted on it and who has not, and who cannot do all of it."""
    if not mirrors:
        output.note("no mirror follows its channels")
        return
    acted = [text(each, "mirror") for each in mirrors if each.get("acknowledged")]
    output.note(f"{len(acted)} of {len(mirrors)} mirrors have acted on it{': ' if acted else ''}{', '.join(acted)}")
    for each in mirrors:
        if not each.get("acknowledged"):
            output.note(f"not yet: {text(each, 'mirror')} (in {', '.join(words(each, 'missing'))})", style=WARNING)
        if cut and each.get("external"):
            output.note(f"{text(each, 'mirror')} {CANNOT_CUT}", style=WARNING)


def _late(path: str, away: Sequence[str], mirrors: int, within_s: float) -> DeadlineError:
    return DeadlineError(
        "withdrawal_unacknowledged",
        f"{path} is withdrawn, but {len(away)} of {mirrors} mirrors did not acknowledge it within "
        f"{format_duration(within_s)}: {', '.join(away)}",
        hint="nobody new is sent there for it; links that were given before hold there until the mirror is back "
        "or they end",
    )


def find_file(path: str) -> JsonObject:
    """Find a file in the master's catalogue.

    Raises:
        CommandError: there is none at this path.
    """
    for file in objects(current().master().get("/-/api/v1/files"), "files"):
        if file.get("path") == path:
            return file
    raise CommandError(
        "file_unknown",
        f"no file is published as {path!r}",
        exit_code=ExitCode.NOT_FOUND,
        hint="`distributary ls` lists what is, `distributary hold ls` what is held",
    )


def find_held(path: str) -> JsonObject:
    """Find what is held for a path.

    Raises:
        CommandError: nothing is.
    """
    for hold in objects(current().master().get("/-/api/v1/holds"), "holds"):
        for file in objects(hold, "files"):
            if file.get("path") == path:
                return file
    raise CommandError(
        "held_unknown",
        f"nothing is held for {path!r}",
        exit_code=ExitCode.NOT_FOUND,
        hint="`distributary hold ls` lists what is",
    )
