"""The garbage collector of a process most of whose objects live as long as it does.

What a selector knows of a site, and the grants that are under way, are up to a million containers. None of them is ever
part of a cycle, so the collector finds nothing there; by default it looks at the new ones after each 700, and from time
to time at all, while visitors wait. Claims (``selection.policy.claims``), which stay for minutes, are no containers:
else these would be so many each second, and to look at 50,000 takes 15 ms. Reservations are containers, one for all
whom a mirror is told of together and who came in one second.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Final

# Cycles are few here (errors with their tracebacks, connections); if all were cycles, these would be some 20 MB. Grants
# are said and gone before so many were made: they are not looked at once.
YOUNG_MAX: Final = 50_000
_OTHER_THRESHOLDS: Final = (10, 10)  # as by default


@contextmanager
def calm_collector() -> Generator[Callable[[], None]]:
    """Make the collector of this process look seldom, while the block is entered.

    Gives what to call when much was made that will stay: it is never looked at again.
    """
    before = gc.get_threshold()
    gc.set_threshold(YOUNG_MAX, *_OTHER_THRESHOLDS)
    try:
        yield _keep_what_is_there
    finally:
        gc.unfreeze()
        gc.set_threshold(*before)


def _keep_what_is_there() -> None:
    gc.collect()  # or what is garbage now would stay, too
    gc.freeze()
