"""``distributary events audit``: is the log whole, is it as it was written, and do its decisions follow from it?"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import click

from distributary.cli.command import Command
from distributary.cli.events.options import ARCHIVE, BROKER, source_option
from distributary.cli.invocation import Invocation, current
from distributary.cli.output import BAD, GOOD
from distributary.cli.printable import printable
from distributary.exits import ExitCode

if TYPE_CHECKING:
    from distributary.cli.output import Output
    from history.audit.audit import Audit
    from history.audit.findings import Finding

FINDINGS_SHOWN: Final = 50  # a screen; --json has a thousand, and all are counted


@click.command(cls=Command, name="audit")
@source_option
@click.option(
    "--chain",
    metavar="HEX",
    help="With an export: the chain's end that `events export` told. Only by it can be found that whole segments are "
    "missing at the end.",
)
def command(*, source: str | None, chain: str | None) -> ExitCode:
    """Prove the log: each entry, each source's numbers, and each recorded decision, which is made again.

    Exit code 6 and the first bad record where the log is damaged. An export is proved offline, without the broker.
    """
    return asyncio.run(_audit(current(), source, _chain_end(chain, source)))


async def _audit(invocation: Invocation, source: str | None, chain: bytes | None) -> ExitCode:
    from distributary.cli.events.opening import opened_log  # noqa: PLC0415 - help must not pay for it
    from distributary.cli.events.progress import reading_progress  # noqa: PLC0415
    from distributary.cli.events.proving import prove_export  # noqa: PLC0415
    from history.audit.audit import audit  # noqa: PLC0415
    from history.export.source import ExportSource  # noqa: PLC0415

    output = invocation.output
    async with opened_log(invocation, source) as log:
        if isinstance(log, ExportSource):
            await prove_export(output, log, chain)
        with reading_progress(output, "auditing", await log.extent()) as update:
            found = await audit(log, progress=lambda found: update(found.entries, found.last))
        name = log.name
    _print(output, name, found)
    return ExitCode.OK if found.damage is None else ExitCode.VERIFICATION_FAILED


def _chain_end(chain: str | None, source: str | None) -> bytes | None:
    if chain is None:
        return None
    if source in {None, BROKER, ARCHIVE}:
        raise click.UsageError("--chain is for an export: name its folder by --source")
    from history.export.chain import CHAIN_BYTES  # noqa: PLC0415 - help must not pay for it

    try:
        end = bytes.fromhex(chain)
    except ValueError:
        raise click.BadParameter(f"{chain!r} is not hexadecimal", param_hint="--chain") from None
    if len(end) != CHAIN_BYTES:
        raise click.BadParameter(f"a chain's end has {2 * CHAIN_BYTES} digits, {chain!r} has not", param_hint="--chain")
    return end


def _print(output: Output, name: str, found: Audit) -> None:
    if output.json:
        _print_object(output, name, found)
        return
    _print_counts(output, name, found)
    kept = found.findings.kept()
    for finding in kept[:FINDINGS_SHOWN]:
        output.text(line_of_finding(finding), style=BAD if finding.kind.is_damage else None)
    if (more := found.findings.counts.total() - min(len(kept), FINDINGS_SHOWN)) > 0:
        output.text(f"… and {more} more findings")
    if found.damage is None:
        output.text("the log is whole, and every decision that can be made again is as it was recorded", style=GOOD)
    else:
        output.text(f"the log is damaged; first at {line_of_finding(found.damage)}", style=BAD)


def _print_counts(output: Output, name: str, found: Audit) -> None:
    from history.telling.records import position_text  # noqa: PLC0415 - help must not pay for it

    if found.first is None or found.last is None:
        output.text(f"{name} holds nothing")
        return
    span = f"{position_text(found.first)} to {position_text(found.last)}"
    output.text(f"{found.entries} entries of {found.sources} sources in {name}, {span}")
    output.text(f"{found.reproduced} decisions made again, and alike")
    for doubt, count in found.doubted.items():
        output.text(f"{count} decisions cannot be held against this log: {doubt}")
    if found.repeated:
        output.text(f"{found.repeated} entries say again what was said before: delivery is at least once")
    if found.unknown_types:
        output.text(f"{found.unknown_types} entries are of a newer version and were passed over")


def line_of_finding(finding: Finding) -> str:
    """Write a finding in one line; what an entry is labelled with is anybody's words."""
    from history.telling.records import position_text  # noqa: PLC0415 - help must not pay for it

    index = f"#{finding.index}" if finding.index else ""
    detail = f" ({finding.detail})" if finding.detail else ""
    place = f"{position_text(finding.position)}{index}"
    return printable(f"{place}  {finding.kind.code}  {finding.message_id}: {finding.kind.text}{detail}")


def _print_object(output: Output, name: str, found: Audit) -> None:
    from history.telling.records import position_text  # noqa: PLC0415 - help must not pay for it

    def told(finding: Finding) -> dict[str, object]:
        return {
            "kind": finding.kind.code,
            "is_damage": finding.kind.is_damage,
            "position": position_text(finding.position),
            "index": finding.index,
            "id": finding.message_id,
            "text": finding.kind.text,
            "detail": finding.detail,
        }

    output.snapshot(
        "events.audit",
        {
            "source": name,
            "first": None if found.first is None else position_text(found.first),
            "last": None if found.last is None else position_text(found.last),
            "entries": found.entries,
            "sources": found.sources,
            "repeated": found.repeated,
            "unknown_types": found.unknown_types,
            "decisions": {
                "reproduced": found.reproduced,
                "doubted": dict(found.doubted),
            },
            "counts": {kind.code: count for kind, count in found.findings.counts.items()},
            "damage": None if found.damage is None else told(found.damage),
            "findings": [told(finding) for finding in found.findings.kept()],
        },
    )
