"""``distributary mirror edit``: what the site rules for a mirror."""

from __future__ import annotations

import click

from distributary.answers import inside, text, words
from distributary.cli.command import Command
from distributary.cli.invocation import current
from distributary.cli.types import Codes, Listed
from distributary.client import JsonObject, segment
from distributary.errors import UsageError
from events.schemas.fields import CONTINENTS, WEIGHT_PERCENT_MAX


@click.command(cls=Command, name="edit")
@click.argument("mirror")
@click.option("--enable/--disable", "enabled", default=None, help="Send visitors to it, or none.")
@click.option(
    "--weight",
    "weight_percent",
    type=click.IntRange(1, WEIGHT_PERCENT_MAX),
    metavar="PERCENT",
    help="How often it is drawn among mirrors that are as near: 50 is half as often as its free slots say.",
)
@click.option(
    "--share-max",
    "share_percent_max",
    type=click.IntRange(1, 100),
    metavar="PERCENT",
    help="The largest share of a continent's visitors that it is sent while others can serve them.",
)
@click.option("--countries-only", type=Codes("country"), help="Only visitors from these, like de,at; none: no rule.")
@click.option("--countries-excluded", type=Codes("country"), help="No visitors from these.")
@click.option(
    "--continents-only", type=Codes("continent", known=CONTINENTS), help="Only visitors from these, like eu,na."
)
@click.option("--networks-only", type=Listed(), help="Only visitors in these networks, like 192.0.2.0/24.")
def command(mirror: str, **options: object) -> None:
    """Rule which visitors MIRROR is sent, beside what its operator offers. What is not named stays as it is."""
    given = {name: value for name, value in options.items() if value is not None}
    if not given:
        raise UsageError("usage", "say what to change: --disable, --weight, --share-max, --countries-only …")
    reach = {name: given.pop(name) for name in list(given) if name.endswith(("_only", "_excluded"))}
    invocation = current()
    answer = invocation.master().patch(f"/-/api/v1/mirrors/{segment(mirror)}", {**given, "reach": reach})
    output = invocation.output
    if output.json:
        output.snapshot("mirror.rule", answer)
    else:
        output.text(f"{mirror}  {rule_sentence(inside(answer, 'rule')) or 'no rule'}")


def rule_sentence(rule: JsonObject) -> str:
    """Say what the site rules for a mirror; nothing where it rules nothing."""
    reach = inside(rule, "reach")
    named = [f"{name.replace('_', ' ')}: {', '.join(listed)}" for name in reach if (listed := words(reach, name))]
    return "; ".join(
        [
            *(["disabled"] if rule.get("enabled") is False else []),
            *_unless(rule, "weight_percent", "weight {} %"),
            *_unless(rule, "share_percent_max", "at most {} % of a continent's visitors"),
            *named,
        ]
    )


def _unless(rule: JsonObject, name: str, said: str) -> list[str]:
    """Say a percentage that is not the whole."""
    return [] if rule.get(name) in {None, 100} else [said.format(text(rule, name))]
