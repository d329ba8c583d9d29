"""What is answered while no more files can be opened. It passes by itself, and says nothing of the file asked for."""

from __future__ import annotations

import errno
from http import HTTPStatus
from typing import Final

import structlog
from aiohttp import hdrs

from edge.errors import ApiError

RETRY_AFTER_S: Final = 10  # descriptors come free whenever a download ends
COMPLAIN_EVERY_S: Final = 10.0  # each request runs into it; one line with a count says all
_NONE_LEFT: Final = frozenset({errno.EMFILE, errno.ENFILE})  # for the process, and for the whole system

log = structlog.stdlib.get_logger()


class NoDescriptorError(ApiError):
    """No more files can be opened now. Nothing was sent yet: another server may serve it, or this one in a while."""

    def __init__(self) -> None:
        super().__init__(
            "files_exhausted",
            "too many files are open here",
            "try again in a while",
            status=HTTPStatus.SERVICE_UNAVAILABLE,
            headers={hdrs.RETRY_AFTER: str(RETRY_AFTER_S)},
        )


def is_shortage(error: OSError) -> bool:
    """Tell whether a file could not be opened only because too many are open."""
    return error.errno in _NONE_LEFT


class Shortages:
    """Reports shortages, at most once in ``COMPLAIN_EVERY_S``."""

    def __init__(self) -> None:
        self._silent_until_s = float("-inf")
        self._unsaid = 0

    def note(self, error: OSError, *, now_s: float) -> None:
        """Report one, or count it for the next report."""
        if now_s < self._silent_until_s:
            self._unsaid += 1
            return
        hint = "allow more open files (LimitNOFILE)" if error.errno == errno.EMFILE else "raise fs.file-max"
        log.error("files.exhausted", problem=error.strerror, unsaid=self._unsaid, hint=hint)
        self._silent_until_s, self._unsaid = now_s + COMPLAIN_EVERY_S, 0
