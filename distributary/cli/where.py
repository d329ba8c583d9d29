"""``distributary where``: why this mirror for this visitor, and why not the others."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Final

import click

from distributary.answers import inside, number, objects, text
from distributary.cli.command import Command
from distributary.cli.events.moments import Moment
from distributary.cli.events.options import MomentType, source_option
from distributary.cli.invocation import Invocation, current
from distributary.cli.output import Output
from distributary.client import JsonObject
from distributary.errors import CommandError
from distributary.units import format_size

NS_PER_S: Final = 1_000_000_000
RULE = "access > has file > online > free slot > quota left > shortest distance"
_HINTS: Final = {"file_unknown": "`distributary ls` tells what there is", "address_invalid": "write --ip 203.0.113.9"}
_ALSO_NEEDED: Final = {
    "ticket": "a ticket, too, which is not asked for here: `distributary ticket` signs one",
    "site": "the site's yes, too, which is not asked for here",
}


@click.command(cls=Command, name="where")
@click.argument("file")
@click.option("--ip", required=True, metavar="ADDRESS", help="The visitor's address.")
@click.option("--at", type=MomentType(), metavar="WHEN", help="As it was then, by the log: 2h, '2026-11-22 10:41'.")
@source_option
def command(*, file: str, ip: str, at: Moment | None, source: str | None) -> None:
    """Explain which mirror a visitor would get for FILE now, and for each other mirror why not.

    With --at: which one he got then, and why, as recorded; where he did not come, which one he would have got.
    """
    if at is None and source is not None:
        raise click.UsageError("--source is where the log is read for --at")
    invocation = current()
    answer = _now(invocation, file, ip) if at is None else asyncio.run(_then(invocation, file, ip, at, source))
    output = invocation.output
    if output.json:
        output.snapshot("where", answer)
    else:
        print_where(output, answer)


def _now(invocation: Invocation, file: str, ip: str) -> JsonObject:
    try:
        return invocation.selector().get("/-/api/v1/where", {"path": file, "ip": ip})
    except CommandError as error:  # its hint is for those who ask over HTTP
        error.hint = _HINTS.get(error.code, error.hint)
        raise


async def _then(invocation: Invocation, file: str, ip: str, at: Moment, source: str | None) -> JsonObject:
    from distributary.cli.events.opening import opened_log  # noqa: PLC0415 - who asks of now need not pay for it
    from distributary.cli.events.past import past_choice, question_of  # noqa: PLC0415

    path, address, at_ns = question_of(file, ip, at)
    async with opened_log(invocation, source) as log:
        return (await past_choice(invocation, log, path=path, address=address, at_ns=at_ns)).told()


def print_where(output: Output, answer: JsonObject) -> None:
    """Print a choice for people."""
    output.text(
        f"file     {text(answer, 'path')} ({format_size(number(answer, 'size_bytes'))}, "
        f"sha256 {text(answer, 'sha256')[:12]}…, generation {text(answer, 'generation')})"
    )
    output.text(f"visitor  {_visitor(inside(answer, 'visitor'))}")
    if also := _ALSO_NEEDED.get(text(answer, "access_mode")):
        output.text(f"access   {also}")
    if then := inside(answer, "then"):
        _print_then(output, then)
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


def _print_then(output: Output, then: JsonObject) -> None:
    """Say how a choice of the past is known, and whether the record of it holds."""
    seen, at = inside(then, "seen"), datetime.fromtimestamp(number(then, "at_ns") // NS_PER_S, tz=UTC)
    place = f"g{text(seen, 'generation')}:{text(seen, 'offset')}" if seen else "the beginning"
    moment = f"{at:%Y-%m-%d %H:%M:%S} UTC, with the log read up to {place}"
    if then.get("how") != "recorded":
        output.text(
            f"then     worked out for {moment}: no record of such a visit; load as {text(then, 'selector')} had it"
        )
        return
    outcome = " to ".join(each for each in (text(then, "outcome"), text(then, "mirror")) if each)
    why_not = f": {text(then, 'why_not')}" if text(then, "why_not") else ""
    output.text(f"then     {outcome}, recorded by {text(then, 'selector')} at {moment}")
    output.text(f"again    {text(then, 'verdict')}{why_not}")


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
