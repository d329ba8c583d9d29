"""``distributary publish``: files and trees into the catalogue, by the master."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import click

from distributary.answers import number, text, words
from distributary.cli.command import Command
from distributary.cli.invocation import current
from distributary.cli.output import WARNING
from distributary.cli.printable import printable
from distributary.cli.progress import progress
from distributary.cli.types import Duration
from distributary.cli.waiting import wait_for_release
from distributary.client import Api, JsonObject
from distributary.errors import CommandError, UsageError
from distributary.exits import ExitCode
from distributary.units import format_size


@dataclass(slots=True)
class Tally:
    """How many files ended how, over all paths."""

    published: int = 0
    held: int = 0
    unchanged: int = 0
    refused: int = 0
    hidden: int = 0
    holds: list[int] = field(default_factory=list[int])

    def add(self, done: JsonObject) -> None:
        """Add one path's result."""
        self.published += number(done, "published")
        self.held += number(done, "held")
        self.unchanged += number(done, "unchanged")
        self.refused += number(done, "refused")
        self.hidden += number(done, "hidden")
        if hold := number(done, "hold"):
            self.holds.append(hold)

    @property
    def exit_code(self) -> ExitCode:
        """Some refused is partial, all refused is a failure."""
        if not self.refused:
            return ExitCode.OK
        return ExitCode.PARTIAL if self.published + self.held + self.unchanged else ExitCode.FAILED


@click.command(cls=Command, name="publish")
@click.argument("paths", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path), metavar="PATH...")
@click.option("--as", "name", metavar="NAME", help="Path in the catalogue; default: the file's or folder's name.")
@click.option(
    "-c", "--channel", "channels", multiple=True, help="Only into these channels; default: each whose filter takes it."
)
@click.option("--tag", "tags", multiple=True, help="A word that filters can ask for; may be repeated.")
@click.option(
    "--allow-network", "networks", multiple=True, metavar="CIDR", help="Only these visitors; may be repeated."
)
@click.option(
    "--access",
    type=click.Choice(["public", "ticket", "site"]),
    default="public",
    show_default=True,
    help="Who gets it: everybody, who shows a ticket that the site signed, or whom the site says yes to.",
)
@click.option("--media-type", help="Default: by the file's name.")
@click.option("--hold", is_flag=True, help="For mirrors alone, until you `release` it; all of a tree at once.")
@click.option(
    "--wait",
    metavar="3|50%|all",
    help="Hold it until so many mirrors, or so many of those that follow its channels, have all of it.",
)
@click.option("--within", "within_s", type=Duration(), help="With --wait: wait no longer than this; the master does.")
@click.option("--dry-run", is_flag=True, help="Only tell what would be done.")
def command(
    paths: Sequence[Path],
    name: str | None,
    channels: Sequence[str],
    tags: Sequence[str],
    networks: Sequence[str],
    access: str,
    media_type: str | None,
    *,
    wait: str | None,
    within_s: float | None,
    hold: bool,
    dry_run: bool,
) -> ExitCode:
    """Publish files or whole trees that lie on the master's disk.

    A file that is unchanged costs nothing; changed content becomes a new generation of its path. What is held leaves
    to visitors what was there before.
    """
    if name is not None and len(paths) > 1:
        raise UsageError("usage", "--as names one PATH; publish several one by one")
    if within_s is not None and wait is None:
        raise UsageError("usage", "--within says how long to --wait, and nothing is waited for")
    if access == "site" and current().settings.selector.site_access_url is None:
        current().output.note(
            "warning: selector.site_access_url is not set here; a selector without it answers 503 for these files",
            style=WARNING,
        )
    master = current().master()
    tally = Tally()
    for path in paths:
        request: JsonObject = {
            "source": str(_unfollowed(path)),
            "as": name,
            "tags": list(tags),
            "channels": list(channels) or None,
            "networks": list(networks),
            "access": access,
            "media_type": media_type,
            "hold": hold,
            "wait": wait,
            "dry_run": dry_run,
        }
        tally.add(_publish(master, path, request))
    deadline_s = math.inf if within_s is None else time.monotonic() + within_s
    for number_of_hold in tally.holds if wait is not None else ():
        wait_for_release(master, number_of_hold, current().output, deadline_s=deadline_s)
    _report(tally, dry_run=dry_run, waited=wait is not None)
    return tally.exit_code


def _unfollowed(path: Path) -> Path:
    """Make a path absolute without following it where it is a symbolic link: the master refuses those."""
    return path.parent.resolve() / path.name if path.name not in {"", ".."} else path.resolve()


def _publish(master: Api, path: Path, request: JsonObject) -> JsonObject:
    """Publish one path, reporting as it goes; give the final line."""
    output = current().output
    with progress(output, "hashing") as update:
        for event in _events(master, request):
            if event.get("type") == "done":
                return event
            if output.json:
                output.line(event)
            elif event.get("type") == "progress":
                update(str(event["path"]), number(event, "hashed_bytes"), number(event, "total_bytes"))
            else:
                output.text(_sentence(event, dry_run=request["dry_run"] is True))
    raise CommandError(
        "answer_broken",
        f"{path}: the master stopped before it was done",
        exit_code=ExitCode.UNAVAILABLE,
        hint="what was reported is published; run the command again, unchanged files cost nothing",
    )


def _events(master: Api, request: JsonObject) -> Iterator[JsonObject]:
    return master.stream("/-/api/v1/files", request)


def _sentence(event: JsonObject, *, dry_run: bool) -> str:
    path = printable(text(event, "path"))
    if event.get("type") == "refused":
        return f"refused    {path}: {printable(text(event, 'message'))} ({text(event, 'code')})"
    names = ", ".join(words(event, "channels"))
    size = format_size(number(event, "size_bytes"))
    generation = event.get("generation")
    would = {"published": "would publish", "held": "would hold"} if dry_run else {}
    done = would.get(text(event, "type"), text(event, "type"))
    return f"{done:<10} {path}  {size}  generation {generation}  {names or 'no channel'}"


def _report(tally: Tally, *, dry_run: bool, waited: bool) -> None:
    output = current().output
    if output.json:
        output.line({"type": "done", **asdict(tally)})
        return
    would = "would be " if dry_run else ""
    told = [f"{tally.published} {would}published", f"{tally.unchanged} unchanged", f"{tally.refused} refused"]
    if tally.held:
        told.insert(1, f"{tally.held} {would}held")
    if tally.hidden:
        told.append(f"{tally.hidden} hidden and left out")
    output.note(", ".join(told))
    if tally.held and not (waited or dry_run):
        output.note("mirrors fetch what is held; `distributary release` lets visitors have it")
