"""``distributary revoke``: take links back that were given before now."""

from __future__ import annotations

import click

from distributary.answers import inside, number, text
from distributary.cli.command import Command
from distributary.cli.confirm import confirm
from distributary.cli.invocation import current
from distributary.client import JsonObject
from distributary.errors import UsageError
from events.errors import MalformedGrantError
from events.grants import grant_id_of


@click.command(cls=Command, name="revoke")
@click.option("--file", "path", metavar="PATH", help="Links to the file at this path of the catalogue.")
@click.option("--ip", "network", metavar="CIDR", help="Links of the visitors in this network, like 203.0.113.0/24.")
@click.option("--mirror", metavar="NAME", help="Links to this mirror, or to the master itself: origin.")
@click.option("--grant", "grant_id", metavar="LINK|ID", help="One link: the link itself, or its id in the log.")
@click.option("--reason", default="", help="Why; mirrors and the log are told, visitors are not.")
@click.option("--dry-run", is_flag=True, help="Only tell what would be done.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def command(*, reason: str, dry_run: bool, yes: bool, **criteria: str | None) -> None:
    """Take back the links that agree with all that is named, and cut the downloads under them.

    The visitors may get new links: withdraw a file that nobody shall have.
    """
    named: JsonObject = {name: value for name, value in criteria.items() if value is not None}
    if (link := criteria["grant_id"]) is not None:
        named["grant_id"] = _grant_id_in(link)
    if not named:
        raise UsageError("revocation_empty", "say which links: --file, --ip, --mirror or --grant")
    links, output = f"all links {_described(named)}", current().output
    if dry_run:
        if output.json:
            output.snapshot("revoke", {"dry_run": True, **named})
        else:
            output.text(f"would revoke  {links}")
        return
    confirm(f"Take back {links}, and cut their downloads?", yes=yes)
    answer = current().master().post("/-/api/v1/revocations", {**named, "reason": reason})
    if output.json:
        output.snapshot("revoke", {"dry_run": False, **answer})
        return
    output.text(f"revoked  {links} given before now (revocation {text(inside(answer, 'revocation'), 'revocation')})")
    output.note(f"downloads cut at the master: {number(answer, 'cut')}; mirrors cut theirs when they hear of it")


def _grant_id_in(link: str) -> str:
    """Find the grant in a link like ``https://mirror.example/d/<token>/name``; an id is taken as it is."""
    _, found, rest = link.partition("/d/")
    if not found:
        return link
    try:
        return grant_id_of(rest.partition("/")[0]).hex()
    except MalformedGrantError as error:
        raise UsageError("link_invalid", f"{error}: copy the whole link that the visitor was given") from None


def _described(named: JsonObject) -> str:
    said = {"path": "to {}", "network": "of visitors in {}", "mirror": "at mirror {}", "grant_id": "of grant {}"}
    return ", ".join(words.format(named[name]) for name, words in said.items() if name in named)
