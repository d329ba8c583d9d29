"""Ctrl-C and a plain ``kill`` during the demo: the first ends it, and nothing after that breaks off the clearing up."""

from __future__ import annotations

import signal
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Final, Self

SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)
STILL_ENDING: Final = "still ending, a few seconds"


class Interrupts:
    """While it is entered, the first signal raises ``KeyboardInterrupt`` and each further one is answered with a note.

    The handlers are set even where a signal was ignored: a shell without job control starts what it puts in the
    background with SIGINT ignored, and a demo that cannot be ended is worse than one that can.
    """

    def __init__(self, note: Callable[[str], None]) -> None:
        self._note = note
        self._is_ending = False
        self._before: dict[signal.Signals, Callable[[int, FrameType | None], object] | int | None] = {}

    def end(self) -> None:
        """From here on only clearing up is left: let no signal break it off."""
        self._is_ending = True

    def __enter__(self) -> Self:
        """Take the signals over."""
        self._before = {number: signal.signal(number, self._take) for number in SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Give the signals back."""
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _take(self, _number: int, _frame: FrameType | None) -> None:
        if self._is_ending:
            self._note(STILL_ENDING)
            return
        self.end()
        raise KeyboardInterrupt
