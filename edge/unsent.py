"""Answers that leave together, at the end of the loop's turn in which they were decided.

A write wakes whoever waits for it: he takes a processor, and with it the caches that the next decision lives in. Where
many requests lie there at once, all of them are decided first, and the kernel then sends one answer after the other.
So the first of them waits for the decision of the last, and whoever asks alone for what the loop has yet to do in this
turn: a slice of a ranking, or a message that is read. All of these are short.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

import structlog

log = structlog.stdlib.get_logger()


class Outlet(Protocol):
    """What an answer is written to: a transport, or what stands for one."""

    def is_closing(self) -> bool:
        """Tell whether nothing more can be written."""
        ...

    def write(self, data: bytes) -> None:
        """Send, or try to."""
        ...

    def close(self) -> None:
        """End behind what was written."""
        ...


class Unsent:
    """The answers of one turn of the loop. What is written to these outlets otherwise must come after ``flush``."""

    __slots__ = ("_answers",)

    def __init__(self) -> None:
        self._answers: list[tuple[Outlet, bytes, bool]] = []

    def add(self, outlet: Outlet, answer: bytes, is_last: bool) -> None:  # noqa: FBT001 - called for each request, where a keyword is felt
        """Send an answer at the end of this turn; the connection ends with one that ``is_last``."""
        if not self._answers:
            asyncio.get_running_loop().call_soon(self.flush)
        self._answers.append((outlet, answer, is_last))

    def flush(self) -> None:
        """Send all that there is now, in its order."""
        answers, self._answers = self._answers, []
        for outlet, answer, is_last in answers:
            try:
                _send(outlet, answer, is_last=is_last)
            except Exception:  # of one client, or a defect: it must not keep the others from their answers
                log.exception("answer.unsent")


def _send(outlet: Outlet, answer: bytes, *, is_last: bool) -> None:
    if outlet.is_closing():  # its client broke off in this very turn; uvloop takes no more for him
        return
    try:
        outlet.write(answer)
    except Exception:
        outlet.close()  # lest its client take the next answer for this one
        raise
    if is_last:
        outlet.close()
