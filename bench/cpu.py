"""How much processor time processes have taken, to the nanosecond: ``/proc/<pid>/task/<tid>/schedstat``."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Final

_PROC: Final = Path("/proc")

QUIET_FRACTION: Final = 0.05  # of one core: what a role takes that has nothing to do
QUIET_WINDOW_S: Final = 0.5
QUIET_TIMEOUT_S: Final = 300.0  # a selector tells 10,000 mirrors of their visitors at fifty a second


def spent_s(pids: Iterable[int]) -> float:
    """Give the seconds that these processes, their threads and their children have taken so far."""
    return sum(_taken_ns(pid) for root in pids for pid in (root, *_children(root))) / 1e9


def wait_until_quiet(pids: Iterable[int]) -> None:
    """Wait until what was left to do after the last answer (events, accounts) is done.

    Raises:
        TimeoutError: it is never done.
    """
    watched = tuple(pids)
    deadline_s = time.monotonic() + QUIET_TIMEOUT_S
    before_s = spent_s(watched)
    while time.monotonic() < deadline_s:
        time.sleep(QUIET_WINDOW_S)
        now_s = spent_s(watched)
        if now_s - before_s < QUIET_FRACTION * QUIET_WINDOW_S:
            return
        before_s = now_s
    raise TimeoutError(f"still busy after {QUIET_TIMEOUT_S:.0f} s")


def _taken_ns(pid: int) -> int:
    taken_ns = 0
    for task in (_PROC / str(pid) / "task").iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # a thread that has just ended
            taken_ns += int((task / "schedstat").read_text().split()[0])
    return taken_ns


def _children(pid: int) -> list[int]:
    """Give all that descend from a process."""
    found: list[int] = []
    for task in (_PROC / str(pid) / "task").iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            found += [int(child) for child in (task / "children").read_text().split()]
    return found + [below for child in found for below in _children(child)]
