"""Exit codes of the command: fixed, documented in ``docs/cli.md``, tested. New ones may be added, none changes.

Whoever meets an unknown code other than 0 must take it for a failure.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final


class ExitCode(IntEnum):
    """How a command ended."""

    OK = 0
    FAILED = 1
    USAGE = 2
    NOT_FOUND = 3
    REFUSED = 4
    UNAVAILABLE = 5
    VERIFICATION_FAILED = 6
    DEGRADED = 7
    PARTIAL = 8
    TIMED_OUT = 9
    INTERRUPTED = 130


MEANINGS: Final[dict[ExitCode, str]] = {
    ExitCode.OK: "done",
    ExitCode.FAILED: "failed; the message says why",
    ExitCode.USAGE: "wrong usage or configuration; nothing was done",
    ExitCode.NOT_FOUND: "no such file, channel, mirror or event",
    ExitCode.REFUSED: "no permission, or a wrong, used or expired token",
    ExitCode.UNAVAILABLE: "the master, the selector or the broker cannot be reached now; try again later",
    ExitCode.VERIFICATION_FAILED: "the bytes are not the file, or the log is not what was written",
    ExitCode.DEGRADED: "with --check: the fleet works, but not all of it",
    ExitCode.PARTIAL: "some of several items failed",
    ExitCode.TIMED_OUT: "what was waited for did not happen in time",
    ExitCode.INTERRUPTED: "interrupted by Ctrl-C",
}
