"""Waiting for what only shows when one looks: look again and again, until a deadline."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, TypeVar

from distributary.errors import DeadlineError

LOOK_EVERY_S: Final = 0.05  # unnoticed by a person, a few percent of a core for the role that is asked

T = TypeVar("T")


def wait_until(look: Callable[[], T | None], *, within_s: float, what: str | Callable[[], str]) -> T:
    """Look until there is something (neither None nor False); give it.

    Raises:
        DeadlineError: it was not there in time; ``what`` says what was missed (asked then, so it can tell how it is).
    """
    deadline_s = time.monotonic() + within_s
    while True:
        found = look()
        if found is not None and found is not False:
            return found
        if time.monotonic() > deadline_s:
            missed = what if isinstance(what, str) else what()
            raise DeadlineError("deadline", f"not within {within_s:.0f} s: {missed}")
        time.sleep(LOOK_EVERY_S)
