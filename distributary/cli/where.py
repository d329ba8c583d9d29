"""``distributary where``: why this mirror for this visitor, and why not the others."""

from __future__ import annotations

import click

from distributary.answers import inside, number, objects, text
from distributary.cli.command import Command
from distributary.cli.invocation import current
from distributary.cli.output import Output
from distributary.client import JsonObject
from distributary.units import format_size

RULE = "access > has file > online > free slot > quota left > shortest distance"


@click.command(cls=Command, name="where")
@click.argument("file")
@click.option("--ip", required=True, metavar="ADDRESS", help="The visitor's address.")
def command(file: str, ip: str) -> None:
    """Explain which mirror a visitor would get for FILE now, and for each other mirror why not."""
    invocation = current()
    answer = invocation.selector().get("/-/api/v1/where", {"path": file, "ip": ip})
    output = invocation.output
    if output.json:
        output.snapshot("where", answer)
    else:
        print_where(output, answer)


def print_where(output: Output, answer: JsonObject) -> None:
    """Print a choice for people."""
    output.text(
        f"file     {text(answer, 'path')} ({format_size(number(answer, 'size_bytes'))}, "
        f"sha256 {text(answer, 'sha256')[:12]}…, generation {text(answer, 'generation')})"
    )
    output.text(f"visitor  {_visitor(inside(answer, 'visitor'))}")
    ranked = objects(answer, "ranked")
    output.text(f"chosen   {_chosen(answer, ranked)}")
    rejected = objects(answer, "rejected")
    not_now = {text(each, "mirror") for each in rejected}
    for each in ranked[1:]:
        if text(each, "mirror") in not_now:
            continue  # it would be next if it had a slot or quota; why not now is said below
        output.text(f"next     {text(each, 'mirror')}  {_standing(each)}")
    for each in rejected:
        detail = f"  {text(each, 'detail')}" if text(each, "detail") else ""
        output.text(
            f"not now  {text(each, 'mirror')}  {text(each, 'reason')} "
            f"(criterion {text(each, 'criterion')}): {text(each, 'text')}{detail}"
        )
    output.text(f"rule     {RULE}")


def _visitor(visitor: JsonObject) -> str:
    place = f"{text(visitor, 'country')}" if text(visitor, "country") else "place unknown"
    if visitor.get("latitude") is not None:
        place += f", {text(visitor, 'latitude')} north, {text(visitor, 'longitude')} east"
    return f"{text(visitor, 'ip')} ({place})"


def _chosen(answer: JsonObject, ranked: list[JsonObject]) -> str:
    if answer.get("fallback"):
        return "origin: the master sends the file itself, because no mirror fits"
    if not text(answer, "chosen"):
        return "nobody: the visitor has no access"
    standing = next((_standing(each) for each in ranked if each.get("mirror") == answer.get("chosen")), "")
    return f"{text(answer, 'chosen')}  {standing}"


def _standing(each: JsonObject) -> str:
    distance = each.get("distance_km")
    quota = each.get("quota_left_bytes")
    parts = [
        f"{distance:.0f} km" if isinstance(distance, int | float) else "distance unknown",
        f"{number(each, 'free_slots')} free slots",
        f"{format_size(quota)} left this month" if isinstance(quota, int) else "no quota",
    ]
    return ", ".join(parts)
