"""``distributary mirror``: invite, join, list and remove mirrors; and, by ``operate``, run the own one."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import click

from distributary.answers import inside, objects, text, words
from distributary.cli.command import LazyGroup
from distributary.cli.confirm import confirm
from distributary.cli.edit import command as edit
from distributary.cli.edit import rule_sentence
from distributary.cli.invocation import current, stdin_is_terminal
from distributary.cli.nginx import command as nginx
from distributary.cli.operate import COMMANDS
from distributary.cli.output import WARNING
from distributary.cli.own_mirror import print_own_mirror
from distributary.cli.shortfall import declined_sentence, held_of_wanted, reason_sentence
from distributary.cli.types import Country, Duration, ListenAddress, Place, SiteUrl, Size
from distributary.cli.withdraw import CANNOT_CUT
from distributary.client import Api, JsonObject, segment
from distributary.control import own_mirror
from distributary.errors import CommandError, UnavailableError, UsageError
from distributary.exits import ExitCode
from distributary.join import CONFIG_NAME, Offer, check_folder, join, read_token
from distributary.units import format_duration, format_size

NOTHING: Final = "-"
TOKEN_CHARACTERS_MAX = 4096  # an invitation has a few hundred


@click.group(cls=LazyGroup, name="mirror")
def command() -> None:
    """Mirrors: friends' servers that hold and serve copies."""


@command.command(name="invite")
@click.argument("mirror")
@click.option("-c", "--channel", "channels", multiple=True, help="A channel that it may follow; may be repeated.")
@click.option("--expires", "expires_s", type=Duration(), default="24h", show_default=True, help="How long it works.")
def invite(mirror: str, channels: tuple[str, ...], expires_s: float) -> None:
    """Invite MIRROR. Prints a token, once: send it to its operator by a way that nobody else reads."""
    invocation = current()
    body = {"channels": list(channels), "expires_in_s": int(expires_s)}
    answer = invocation.master().post(f"/-/api/v1/mirrors/{segment(mirror)}/invitation", body)
    output = invocation.output
    if output.json:
        output.snapshot("mirror.invitation", {"mirror": mirror, "channels": list(channels), **answer})
        return
    output.text(text(answer, "token"))
    output.note(f"\nIt works once, for {format_duration(expires_s)}. On {mirror}'s server:")
    output.note("  distributary mirror join --url http://ITS-ADDRESS:8082    (paste the token when asked)")
    output.note("  cd mirror && distributary serve mirror")
    if not channels:
        output.note(
            f"\nIt may follow no channel yet, so it would hold nothing: distributary mirror subscribe {mirror} CHANNEL",
            style=WARNING,
        )


@command.command(name="join")
@click.argument("token", required=False, metavar="[-]")
@click.option(
    "--token-file", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Read the token from here."
)
@click.option(
    "--dir",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    default="mirror",
    show_default=True,
    help="The mirror's folder.",
)
@click.option("--url", type=SiteUrl(), required=True, help="What visitors reach, like http://files.example.org:8082")
@click.option("--listen", type=ListenAddress(), default="0.0.0.0:8082", show_default=True, help="Address to listen on.")
@click.option("--slots", type=click.IntRange(min=1), default=20, show_default=True, help="Downloads served at once.")
@click.option("--monthly", type=Size(), help="Bytes a month that you give, like 50GB; default: no limit.")
@click.option("--disk", type=Size(), help="Disk that you give, like 6GB; default: no limit.")
@click.option("--location", type=Place(), help="Where it stands: latitude,longitude.")
@click.option("--country", type=Country(), help="Its country, two letters.")
def join_(token: str | None, token_file: Path | None, folder: Path, **offer: object) -> None:
    """Join a fleet with the token of an invitation.

    The token is asked for on a terminal, or read from stdin with "-", or from --token-file. It is never an argument:
    every user of this machine could read it there.
    """
    check_folder(folder)
    invitation = read_token(_token(token, token_file))
    made = Offer(
        url=str(offer["url"]),
        listen=str(offer["listen"]),
        slots=_whole(offer["slots"]),
        monthly_bytes=None if offer["monthly"] is None else _whole(offer["monthly"]),
        disk_bytes=None if offer["disk"] is None else _whole(offer["disk"]),
        location=None if offer["location"] is None else str(offer["location"]),
        country=str(offer["country"] or ""),
    )
    credentials = inside(join(invitation, made, folder), "credentials")
    _report_joined(invitation.name, folder, credentials)


def _whole(value: object) -> int:
    if not isinstance(value, int):
        raise TypeError(f"{value!r} came from an option that yields whole numbers")
    return value


def _token(argument: str | None, token_file: Path | None) -> str:
    if argument is not None and argument != "-":
        raise UsageError(
            "token_in_arguments",
            "a token does not belong on the command line: every user of this machine can read it there",
            hint='paste it when asked, or pipe it in with "-", or name a file with --token-file',
        )
    if token_file is not None:
        with token_file.open(encoding="utf-8", errors="replace") as file:
            return file.read(TOKEN_CHARACTERS_MAX)
    if argument == "-" or not stdin_is_terminal():
        return sys.stdin.read(TOKEN_CHARACTERS_MAX)
    return str(click.prompt("Invitation", hide_input=True, err=True))


def _report_joined(mirror: str, folder: Path, credentials: JsonObject) -> None:
    output = current().output
    if output.json:
        content = {"mirror": mirror, "config": str(folder / CONFIG_NAME), "channels": words(credentials, "channels")}
        output.snapshot("mirror.joined", content)
        return
    output.text(f"{mirror} joined. Channels: {', '.join(words(credentials, 'channels')) or 'none yet'}")
    output.note("\nNext:")
    output.note(f"  cd {shlex.quote(str(folder))} && distributary serve mirror")


@command.command(name="ls")
def ls() -> None:
    """List the mirrors: who may follow what, and how each fares now."""
    invocation = current()
    mirrors = _mirrors(invocation.master(), invocation.selector())
    output = invocation.output
    if output.json:
        output.snapshot("mirrors", {"mirrors": mirrors})
        return
    rows = [_row(each) for each in mirrors]
    output.table(("mirror", "state", "reason", "slots", "quota left", "copies", "channels"), rows, right=("copies",))


@command.command(name="show")
@click.argument("mirror", required=False)
@click.option("--verbose", is_flag=True, help="Of the mirror that runs here: visitors' whole addresses.")
def show(mirror: str | None, *, verbose: bool) -> None:
    """Show all that the site knows of MIRROR, or without a name how the mirror fares that runs here."""
    if mirror is None:
        _show_own(verbose=verbose)
    else:
        _show_known(mirror)


def _show_own(*, verbose: bool) -> None:
    invocation = current()
    state = own_mirror(invocation.settings).state(verbose=verbose)
    if invocation.output.json:
        invocation.output.snapshot("mirror.own", state)
    else:
        print_own_mirror(invocation.output, state)


def _show_known(mirror: str) -> None:
    invocation = current()
    found = next((m for m in _mirrors(invocation.master(), invocation.selector()) if _name(m) == mirror), None)
    if found is None:
        raise CommandError(
            "mirror_unknown",
            f"no mirror is called {mirror!r}",
            exit_code=ExitCode.NOT_FOUND,
            hint="`distributary mirror ls` lists them",
        )
    output = invocation.output
    if output.json:
        output.snapshot("mirror", {"mirror": found})
        return
    rows = _flat(found)
    width = max(len(key) for key, _ in rows)
    for key, value in rows:
        output.text(f"{key:<{width}}  {value}")
    if found.get("external"):
        output.note(f"{mirror} {CANNOT_CUT}")


def _mirrors(master: Api, selector: Api) -> list[JsonObject]:
    """Join what the master decided with what the selector sees. Without a selector the master's word stands alone."""
    known = {_name(each): each for each in objects(master.get("/-/api/v1/mirrors"), "mirrors")}
    try:
        seen = {_name(each): each for each in objects(selector.get("/-/api/v1/mirrors"), "mirrors")}
    except UnavailableError as error:
        current().output.note(f"note: {error.message}; how the mirrors fare now is not known")
        seen = {}
    return [{**known.get(name, {}), **seen.get(name, {}), "mirror": name} for name in sorted({*known, *seen})]


def _name(each: Mapping[str, object]) -> str:
    return text(each, "mirror") or text(each, "name")


def _row(each: JsonObject) -> tuple[str, ...]:
    quota = each.get("quota_left_bytes")
    cells = (
        _name(each),
        text(each, "state"),
        "; ".join(filter(None, (reason_sentence(each), declined_sentence(each), _ruled(each)))),
        text(each, "slots"),
        format_size(quota) if isinstance(quota, int) else "",
        held_of_wanted(each),
        ", ".join(words(each, "channels")),
    )
    return tuple(cell or NOTHING for cell in cells)


def _ruled(each: JsonObject) -> str:
    """Say what the site rules for a mirror, as the master has it; a selector may not have heard of it yet."""
    sentence = rule_sentence(inside(each, "rule"))
    return f"ruled: {sentence}" if sentence else ""


def _flat(content: Mapping[str, object], prefix: str = "") -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    for key, value in content.items():
        if isinstance(value, dict):
            rows += _flat(inside(content, key), f"{prefix}{key}.")
        elif isinstance(value, list):
            rows.append((prefix + key, ", ".join(words(content, key)) or NOTHING))
        else:
            rows.append((prefix + key, _plain(key, value)))
    return rows


def _plain(key: str, value: object) -> str:
    """Write one value; nothing known and nothing there look alike."""
    match value:
        case None | "":
            return NOTHING
        case bool():
            return "yes" if value else "no"
        case float() if key.endswith("_s"):
            return str(round(value))
        case _:
            return str(value)


@command.command(name="subscribe")
@click.argument("mirror")
@click.argument("channel")
def subscribe(mirror: str, channel: str) -> None:
    """Let MIRROR follow CHANNEL; it fetches the channel's files at once."""
    _change(mirror, channel, leave=True)


@command.command(name="unsubscribe")
@click.argument("mirror")
@click.argument("channel")
@click.option("--yes", is_flag=True, help="Do not ask.")
def unsubscribe(mirror: str, channel: str, *, yes: bool) -> None:
    """End MIRROR's leave to follow CHANNEL; it deletes what it holds for that channel alone."""
    confirm(f"Let {mirror} no longer follow {channel}, and delete its copies of it?", yes=yes)
    _change(mirror, channel, leave=False)


def _change(mirror: str, channel: str, *, leave: bool) -> None:
    invocation = current()
    path = f"/-/api/v1/mirrors/{segment(mirror)}/subscriptions/{segment(channel)}"
    if leave:
        invocation.master().put(path)
    else:
        invocation.master().delete(path)
    output = invocation.output
    if output.json:
        output.snapshot("mirror.subscription", {"mirror": mirror, "channel": channel, "subscribed": leave})
    else:
        output.text(f"{mirror} {'follows' if leave else 'no longer follows'} {channel}")


@command.command(name="rotate-keys")
@click.argument("mirror")
@click.option("--cut", is_flag=True, help="The key before opens nothing any more: links that were given fail.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def rotate_keys(mirror: str, *, cut: bool, yes: bool) -> None:
    """Give MIRROR a new key for its links. Links from before hold until the next rotation, or with --cut end."""
    if cut:
        confirm(f"End all links to {mirror} that were given before now?", yes=yes)
    invocation = current()
    keys = invocation.master().post(f"/-/api/v1/mirrors/{segment(mirror)}/keys", {"cut": cut})
    output = invocation.output
    if output.json:
        output.snapshot("mirror.keys", keys)
        return
    newest, oldest = text(keys, "key_epoch"), text(keys, "oldest_epoch")
    output.text(f"{mirror} has a new key, number {newest}; {oldest} is the oldest that holds")
    output.note("links are made with it as soon as the mirror has fetched it")


@command.command(name="remove")
@click.argument("mirror")
@click.option("--reason", required=True, help="Why; the log is told.")
@click.option("--dry-run", is_flag=True, help="Only tell what would be done.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def remove(mirror: str, reason: str, *, dry_run: bool, yes: bool) -> None:
    """Remove MIRROR from the fleet: its queue, its broker user and its leave are gone at once."""
    invocation = current()
    master = invocation.master()
    if mirror not in {_name(each) for each in objects(master.get("/-/api/v1/mirrors"), "mirrors")}:
        raise CommandError("mirror_unknown", f"no mirror is called {mirror!r}", exit_code=ExitCode.NOT_FOUND)
    if not dry_run:
        confirm(f"Remove the mirror {mirror} from the fleet?", yes=yes)
        master.delete(f"/-/api/v1/mirrors/{segment(mirror)}", {"reason": reason})
    output = invocation.output
    if output.json:
        output.snapshot("mirror.remove", {"mirror": mirror, "reason": reason, "dry_run": dry_run})
    else:
        output.text(f"{'would remove' if dry_run else 'removed'}  {mirror}")


for each in (*COMMANDS, edit, nginx):
    command.add_command(each)
