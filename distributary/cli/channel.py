"""``distributary channel``: what mirrors subscribe to, each with a filter."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

import click

from distributary.answers import inside, number, objects, text, words
from distributary.cli.command import LazyGroup
from distributary.cli.confirm import confirm
from distributary.cli.invocation import current
from distributary.cli.types import Size
from distributary.client import Api, JsonObject, segment
from distributary.errors import CommandError
from distributary.exits import ExitCode
from distributary.units import format_size

_LINKS = {
    "strict": "strict: for the address that asked (IPv6: its /64)",
    "prefix": "prefix: for the network of the address that asked (IPv4 /24, IPv6 /56)",
    "off": "off: for everybody who has them",
}

F = TypeVar("F", bound=Callable[..., object])

_FILTER_WORDS = {
    "tags_any": "with a tag of",
    "tags_none": "with no tag of",
    "paths_any": "path like",
    "paths_none": "path not like",
    "media_types": "media type",
}


def filter_options(command: F) -> F:
    """Add the options that describe a filter."""
    options = (
        click.option("--min-size", type=Size(), help="At least this large, like 1MB."),
        click.option("--max-size", type=Size(), help="At most this large."),
        click.option("--tag-any", multiple=True, metavar="TAG", help="With at least one of these tags."),
        click.option("--tag-none", multiple=True, metavar="TAG", help="With none of these tags."),
        click.option(
            "--path", "paths", multiple=True, metavar="GLOB", help="Path like one of these; ** crosses slashes."
        ),
        click.option("--not-path", "not_paths", multiple=True, metavar="GLOB", help="Path like none of these."),
        click.option("--media-type", "media_types", multiple=True, metavar="TYPE", help="One of these, like video/*."),
    )
    for option in reversed(options):
        command = option(command)
    return command


def filter_of(options: dict[str, object]) -> JsonObject:
    """Write the filter options as the master's filter; what was not said is left out."""
    names = {
        "min_size": "size_bytes_min",
        "max_size": "size_bytes_max",
        "tag_any": "tags_any",
        "tag_none": "tags_none",
        "paths": "paths_any",
        "not_paths": "paths_none",
        "media_types": "media_types",
    }
    said = {name: options[option] for option, name in names.items() if options.get(option) not in (None, ())}
    return {
        name: list(cast("tuple[str, ...]", value)) if isinstance(value, tuple) else value
        for name, value in said.items()
    }


def describe(rules: JsonObject) -> str:
    """Say a filter in words."""
    parts: list[str] = []
    if rules.get("size_bytes_min") is not None:
        parts.append(f"at least {format_size(number(rules, 'size_bytes_min'))}")
    if rules.get("size_bytes_max") is not None:
        parts.append(f"at most {format_size(number(rules, 'size_bytes_max'))}")
    parts += [f"{said} {', '.join(words(rules, key))}" for key, said in _FILTER_WORDS.items() if words(rules, key)]
    return "; ".join(parts) or "everything"


@click.group(cls=LazyGroup, name="channel")
def command() -> None:
    """Channels: what mirrors subscribe to. Each takes the files that its filter matches."""


@command.command(name="ls")
def ls() -> None:
    """List the channels."""
    invocation = current()
    channels = objects(invocation.master().get("/-/api/v1/channels"), "channels")
    output = invocation.output
    if output.json:
        output.snapshot("channels", {"channels": channels})
        return
    rows = [
        (text(each, "channel"), text(each, "files"), describe(inside(each, "filter")), text(each, "description"))
        for each in channels
    ]
    output.table(("channel", "files", "takes", "description"), rows, right=("files",))


@command.command(name="show")
@click.argument("channel")
def show(channel: str) -> None:
    """Show one channel with its filter."""
    invocation = current()
    found = invocation.master().get(f"/-/api/v1/channels/{segment(channel)}")
    output = invocation.output
    if output.json:
        output.snapshot("channel", {"channel": found})
        return
    output.text(f"channel      {text(found, 'channel') or channel}")
    output.text(f"takes        {describe(inside(found, 'filter'))}")
    output.text(f"description  {text(found, 'description')}")
    output.text(f"links        {_LINKS.get(text(found, 'address_policy'), text(found, 'address_policy'))}")


@command.command(name="set")
@click.argument("channel")
@filter_options
@click.option("--description", help="For people.")
@click.option(
    "--address-policy",
    type=click.Choice(list(_LINKS)),
    help="Whom a link to its files works for: the address that asked (strict, as a new channel has it), its network, "
    "or everybody.",
)
@click.option("--dry-run", is_flag=True, help="Only tell which files it would take.")
def set_(
    channel: str, *, description: str | None, address_policy: str | None, dry_run: bool, **options: object
) -> None:
    """Create a channel, or replace its filter. Without options it takes everything.

    A file that no longer matches is withdrawn from the channel. A channel that is there keeps its filter where only
    --description or --address-policy is given, and keeps these where they are not.
    """
    invocation = current()
    known, rules = _known(invocation.master(), channel), filter_of(options)
    if not rules and (description is not None or address_policy is not None):
        rules = inside(known, "filter")
    if dry_run:
        _print_test(
            channel, invocation.master().post("/-/api/v1/channels/" + segment(channel) + "/test", {"filter": rules})
        )
        return
    links = address_policy or text(known, "address_policy") or "strict"
    said = text(known, "description") if description is None else description
    body: JsonObject = {"filter": rules, "description": said, "address_policy": links}
    result = invocation.master().put(f"/-/api/v1/channels/{segment(channel)}", body)
    output = invocation.output
    if output.json:
        output.snapshot("channel", {"channel": result or {"channel": channel, **body}})
    else:
        output.text(f"channel {channel} takes {describe(rules)}; links {_LINKS[links]}")


def _known(master: Api, channel: str) -> JsonObject:
    """Give the channel as it is; empty where it is none yet."""
    try:
        return master.get(f"/-/api/v1/channels/{segment(channel)}")
    except CommandError as error:
        if error.exit_code is not ExitCode.NOT_FOUND:
            raise
        return {}


@command.command(name="rm")
@click.argument("channel")
@click.option("--dry-run", is_flag=True, help="Only tell what would be done.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def rm(channel: str, *, dry_run: bool, yes: bool) -> None:
    """Remove a channel. Its files are withdrawn from its mirrors; the catalogue keeps them."""
    invocation = current()
    master = invocation.master()
    found = master.get(f"/-/api/v1/channels/{segment(channel)}")
    if not dry_run:
        confirm(f"Remove the channel {channel} and withdraw its files from its mirrors?", yes=yes)
        master.delete(f"/-/api/v1/channels/{segment(channel)}")
    output = invocation.output
    if output.json:
        output.snapshot("channel.rm", {"channel": found, "dry_run": dry_run})
    else:
        output.text(f"{'would remove' if dry_run else 'removed'}  {channel}")


@command.command(name="test")
@click.argument("channel")
@filter_options
def test(channel: str, **options: object) -> None:
    """Tell for each file whether the channel takes it, and which rule decided.

    With filter options: what it would take with that filter. CHANNEL need not exist then.
    """
    rules = filter_of(options)
    body: JsonObject = {"filter": rules} if rules else {}
    _print_test(channel, current().master().post(f"/-/api/v1/channels/{segment(channel)}/test", body))


def _print_test(channel: str, answer: JsonObject) -> None:
    output = current().output
    files = objects(answer, "files")
    if output.json:
        output.snapshot("channel.test", {"channel": channel, "files": files})
        return
    rows = [
        (
            "yes" if each.get("taken") else "no",
            text(each, "path"),
            format_size(number(each, "size_bytes")),
            f"{text(each, 'rule')}: {text(each, 'detail')}",
        )
        for each in files
    ]
    output.table(("taken", "path", "size", "decided by"), rows, right=("size",))
    taken = [each for each in files if each.get("taken")]
    total = format_size(sum(number(each, "size_bytes") for each in taken))
    output.note(f"{len(taken)} of {len(files)} files, {total} for each mirror")
