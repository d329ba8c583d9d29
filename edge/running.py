"""What is being sent now, so that it can be cut: who withdraws or revokes does not wait for a download to end.

A transfer is cut by cancelling the task that handles it. Its transport is left alone: asyncio's ``sendfile`` hangs for
ever when its transport is closed under it (``edge.sending`` ends the connection afterwards).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Generic, TypeVar

T = TypeVar("T")


class Cut:
    """Whether and why a running transfer was cut; ``reason`` is empty as long as it was not."""

    def __init__(self, task: asyncio.Task[object]) -> None:
        self._task = task
        self.reason = ""

    def cut(self, reason: str) -> None:
        """End the transfer, once."""
        if not self.reason:
            self.reason = reason
            self._task.cancel(reason)


class Running(Generic[T]):
    """The running transfers; a ``T`` tells what each of them sends, and to whom."""

    def __init__(self) -> None:
        self._running: dict[Cut, T] = {}

    def __len__(self) -> int:
        """Count the running transfers."""
        return len(self._running)

    @contextmanager
    def entered(self, transfer: T) -> Generator[Cut]:
        """Let the current task be cut while the block is entered; it then ends with ``CancelledError``."""
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - handlers run in tasks
        cut = Cut(task)
        self._running[cut] = transfer
        try:
            yield cut
        finally:
            del self._running[cut]

    def cut(self, matches: Callable[[T], bool], reason: str) -> int:
        """Cut the transfers that match; give how many."""
        live = [(cut, transfer) for cut, transfer in self._running.items() if not cut.reason]
        matching = [cut for cut, transfer in live if matches(transfer)]
        for cut in matching:
            cut.cut(reason)
        return len(matching)
