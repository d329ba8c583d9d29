"""``distributary ticket``: a link to a file that needs one, signed with the site's ticket secret."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from ipaddress import ip_address
from urllib.parse import quote

import click

from distributary.answers import objects
from distributary.cli.command import Command
from distributary.cli.invocation import Invocation, current
from distributary.cli.types import Duration
from distributary.config.secrets import read_ticket_key
from distributary.errors import CommandError, UsageError
from edge.detours import TICKET
from events.errors import InvalidNameError
from events.grants import IPAddress, normalise
from events.names import FilePath, parse_path
from selection.access.tickets import EXPIRES_S_MAX, bound_text, sign


class Address(click.ParamType[str]):
    """An IP address."""

    name = "address"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Check it; a usage error tells that it is none."""
        try:
            return str(ip_address(str(value)))
        except ValueError as error:
            self.fail(str(error), param, ctx)


@click.command(cls=Command, name="ticket")
@click.argument("path")
@click.option("--for", "for_s", type=Duration(), required=True, help="How long it can be used to begin, like 1h.")
@click.option("--ip", type=Address(), help="Who may use it: an IPv4 address, or the /64 of an IPv6 one. Default: all.")
def command(path: str, for_s: float, ip: str | None) -> None:
    """Print a link to the file at PATH of the catalogue (published with --access ticket) that works for a while.

    Where the master answers, a PATH that it does not know is warned of. The link is made all the same, for it may be
    meant for a file that is still to come; a site's own software makes such links itself (docs/access.md).
    """
    invocation = current()
    settings = invocation.settings
    file, expires_s = _path(path), int(time.time() + for_s)
    if expires_s > EXPIRES_S_MAX:
        raise UsageError(
            "duration_too_long", "no ticket can be that far from its end", hint="write --for 1h or --for 7d"
        )
    if for_s < 1:
        raise UsageError("duration_too_short", "such a ticket is over at once", hint="write --for 1h or --for 7d")
    address = None if ip is None else normalise(ip)
    ticket = sign(file, expires_s=expires_s, key=read_ticket_key(settings), address=address)
    _warn_of_unknown(invocation, file)
    url = f"{settings.site.url.rstrip('/')}/{quote(file)}?{TICKET}={ticket}"
    if invocation.output.json:
        told = {
            "url": url,
            "path": file,
            "expires_s": expires_s,
            "ip": None if address is None else bound_text(address),
        }
        invocation.output.snapshot("ticket", told)
        return
    invocation.output.text(url)
    invocation.output.note(
        f"good until {datetime.fromtimestamp(expires_s, tz=UTC):%Y-%m-%d %H:%M:%S} UTC{_bound(address)}"
    )


def _warn_of_unknown(invocation: Invocation, file: FilePath) -> None:
    """Say so when nothing is published under a path; without the master nobody knows."""
    try:
        found = objects(invocation.master().get("/-/api/v1/files", {"path": file}), "files")
    except CommandError as error:
        invocation.output.note(f"not checked whether {file} is published: {error.message}")
        return
    if not found:
        invocation.output.note(f"warning: nothing is published as {file}", style="yellow")


def _path(text: str) -> FilePath:
    try:
        return parse_path(text.removeprefix("/"))
    except InvalidNameError as error:
        raise UsageError("path_invalid", str(error), hint="write it as `distributary ls` shows it") from error


def _bound(address: IPAddress | None) -> str:
    if address is None:
        return ", for whoever has it"
    return f", for {bound_text(address)}{'/64' if address.version != 4 else ''} alone"  # noqa: PLR2004 - IPv4
