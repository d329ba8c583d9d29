"""The one family of errors that a person at the command line sees: a stable code, a sentence, a next step."""

from __future__ import annotations

from collections.abc import Mapping

from distributary.exits import ExitCode


class CommandError(Exception):
    """A command cannot go on. Let it reach ``main``, which prints it and exits with ``exit_code``.

    ``code`` is stable and for programs, ``hint`` says what to do next and may be empty.
    """

    def __init__(self, code: str, message: str, *, exit_code: ExitCode = ExitCode.FAILED, hint: str = "") -> None:
        super().__init__(message)
        self.code, self.message, self.exit_code, self.hint = code, message, exit_code, hint

    @property
    def details(self) -> Mapping[str, object]:
        """What a program is told beside code, message and hint; JSON."""
        return {}


class UsageError(CommandError):
    """The person at the keyboard can mend it: a wrong argument or configuration. Nothing was done."""

    def __init__(self, code: str, message: str, *, hint: str = "") -> None:
        super().__init__(code, message, exit_code=ExitCode.USAGE, hint=hint)


class UnavailableError(CommandError):
    """Something that is needed cannot be reached now. Trying again later is sensible."""

    def __init__(self, code: str, message: str, *, hint: str = "") -> None:
        super().__init__(code, message, exit_code=ExitCode.UNAVAILABLE, hint=hint)


class DeadlineError(CommandError):
    """What was waited for did not happen in time."""

    def __init__(self, code: str, message: str, *, hint: str = "") -> None:
        super().__init__(code, message, exit_code=ExitCode.TIMED_OUT, hint=hint)
