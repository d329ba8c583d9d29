"""An export proved before anything of it is believed."""

from __future__ import annotations

import asyncio
from pathlib import Path

from distributary.cli.output import Output
from distributary.errors import CommandError
from distributary.exits import ExitCode
from history.export.faults import Fault
from history.export.folder import ExportError
from history.export.source import ExportSource
from history.export.verification import Verdict, verify
from history.telling.records import position_text


class DamagedExportError(CommandError):
    """An export is not what was written: nothing behind ``fault`` is proved."""

    def __init__(self, folder: str, fault: Fault) -> None:
        super().__init__(
            "export_damaged",
            f"{folder}: {fault}",
            exit_code=ExitCode.VERIFICATION_FAILED,
            hint="nothing from there on is proved: use another copy of the export",
        )
        self.fault = fault

    @property
    def details(self) -> dict[str, object]:
        """Give the first bad record's place."""
        fault = self.fault
        return {
            "kind": fault.kind.value,
            "segment": fault.segment,
            "index": fault.index,
            "after": None if fault.after is None else position_text(fault.after),
        }


async def prove_export(output: Output, export: ExportSource, expected: bytes | None) -> Verdict:
    """Prove each record of an export and say so.

    Raises:
        DamagedExportError: some record is not what was written.
        CommandError: the folder cannot be read.
    """
    try:
        verdict = await asyncio.to_thread(verify, Path(export.name), expected=expected)
    except ExportError as error:
        raise CommandError("export_unreadable", str(error)) from error
    if verdict.fault is not None:
        raise DamagedExportError(export.name, verdict.fault)
    written = f"{verdict.entries} entries in {verdict.segments} segments are as they were written"
    output.note(f"{written}; chain {verdict.chain.hex()}")
    return verdict
