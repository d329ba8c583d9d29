"""``distributary mirror pause|resume|drain|leave|set``: what a mirror's operator tells the mirror that runs here."""

from __future__ import annotations

from typing import Final

import click

from distributary.answers import text
from distributary.cli.command import Command
from distributary.cli.confirm import confirm
from distributary.cli.invocation import current
from distributary.cli.own_mirror import availability_sentence, print_limits
from distributary.cli.types import Duration, Instead, Setting, Share, Size, WholeNumber, Words
from distributary.client import JsonObject
from distributary.control import own_mirror
from distributary.errors import UsageError
from distributary.units import format_duration

LONGEST_S: Final = 366 * 24 * 3600  # as the mirror takes it: a longer pause is a departure

# The option's name and the setting's.
FIELDS: Final = {
    "monthly": "monthly_bytes",
    "daily": "daily_bytes",
    "rate": "rate_bytes_per_second",
    "disk": "disk_bytes_max",
    "slots": "slots",
    "hours": "hours",
    "peer_share": "peer_share",
}


@click.command(cls=Command, name="pause")
@click.option("--for", "for_s", type=Duration(), help="How long, like 2h; default: until `mirror resume`.")
def pause(for_s: float | None) -> None:
    """Take no new visitors for a while. Who is here, or on his way, is served."""
    if for_s == 0:
        hint = "leave --for out to pause until `mirror resume`"
        raise UsageError("pause_empty", "a pause of no length is none", hint=hint)
    if for_s is not None:
        _require_short(for_s, "pause", "leave --for out to pause until `mirror resume`")
    _tell("pause", {"for_s": for_s})


@click.command(cls=Command, name="resume")
def resume() -> None:
    """Take visitors again, within the hours; end a pause or a drain."""
    _tell("resume")


@click.command(cls=Command, name="drain")
@click.option("--within", "within_s", type=Duration(), default="1h", show_default=True, help="Then it stops anyway.")
def drain(within_s: float) -> None:
    """Take no new visitors, wait for those who are here, then stop the mirror."""
    _require_short(within_s, "drain", "name a shorter time by --within")
    _tell("drain", {"within_s": within_s})


@click.command(cls=Command, name="leave")
@click.option("--yes", is_flag=True, help="Do not ask.")
def leave(*, yes: bool) -> None:
    """Leave the fleet for good: the site forgets this mirror. Its files stay where they are."""
    invocation = current()
    mirror = own_mirror(invocation.settings)
    state = mirror.state()
    name = text(state, "mirror")
    if not text(state, "left"):  # else there is nothing to ask for: the mirror says why
        confirm(f"Leave the fleet? Only a new invitation brings {name} back.", yes=yes)
    _report("leave", mirror.command("leave"))


@click.command(cls=Command, name="set")
@click.option("--monthly", type=Setting(Size()), help="Bytes a month, like 50GB.")
@click.option("--daily", type=Setting(Size()), help="Bytes a day, like 2GB.")
@click.option("--rate", type=Setting(Size()), help="Bytes a second, all downloads together, like 10MB.")
@click.option("--disk", type=Setting(Size()), help="Disk for copies, like 500GB.")
@click.option("--slots", type=Setting(WholeNumber(), limitless=False), help="Downloads at once.")
@click.option("--hours", type=Setting(Words()), help="When visitors are taken, like 22:00-07:00.")
@click.option(
    "--peer-share", type=Setting(Share(), limitless=False), help="Part of the bytes for other mirrors, like 0.1."
)
def set_(**given: object) -> None:
    """Change limits of the running mirror, at once and for good. "none" is no limit, "config" what is configured."""
    wanted = {FIELDS[name]: value for name, value in given.items() if value is not None}
    if not wanted:
        raise UsageError("nothing_to_set", "say what is to be set", hint="like --monthly 50GB; --help lists all")
    body: JsonObject = {
        name: _plain(name, value) for name, value in wanted.items() if value is not Instead.AS_CONFIGURED
    }
    body["as_configured"] = [name for name, value in wanted.items() if value is Instead.AS_CONFIGURED]
    _report("set", own_mirror(current().settings).command("settings", body))


def _require_short(for_s: float, what: str, hint: str) -> None:
    if for_s > LONGEST_S:
        raise UsageError(f"{what}_too_long", f"a {what} lasts {format_duration(LONGEST_S)} at most", hint=hint)


def _plain(name: str, value: object) -> object:
    """Write "no limit" as the mirror reads it."""
    if value is not Instead.NO_LIMIT:
        return value
    return "" if name == FIELDS["hours"] else None


def _tell(command: str, body: JsonObject | None = None) -> None:
    _report(command, own_mirror(current().settings).command(command, body))


def _report(command: str, state: JsonObject) -> None:
    output = current().output
    if output.json:
        output.snapshot("mirror.own", state)
    elif command == "set":
        print_limits(output, state)
    elif command == "leave":
        output.text(f"{text(state, 'mirror')} left the fleet; stop it with Ctrl-C or your service manager")
    else:
        output.text(f"{text(state, 'mirror')} is {availability_sentence(state)}")


COMMANDS: Final = (pause, resume, drain, leave, set_)
