"""The clock on which mirrors fall silent: it goes only while load reports could be heard. Pure.

While the broker is away nobody is heard, and the last view must go on. So this clock then stands still. A dead
connection is noticed only after some seconds; those are taken back, to the moment of the last report from anybody.

The same holds while an alarm of the broker (memory, disk) blocks all who publish: no mirror can report, and all would
fall silent at once. RabbitMQ tells a connection so only when it publishes, so a selector without visitors learns it
with the notice of the first one; the seconds until then are taken back, too.
"""

from __future__ import annotations

from typing import Final

TICK_EVERY_S: Final = 0.5
TICK_S_MAX: Final = 1.0  # a longer pause was our own (a replay, a suspended machine), and the reports are queued


class HearingClock:
    """Seconds of listening so far (``now_s``); with those of a life before, where there is a view from it."""

    def __init__(self, now_s: float = 0.0) -> None:
        self.now_s = now_s
        self._last_heard_s = now_s

    def heard(self) -> float:
        """Take note that a report arrived; give the moment."""
        self._last_heard_s = self.now_s
        return self.now_s

    def tick(self, elapsed_s: float, *, hearing: bool) -> None:
        """Go on by what has passed, or stand still where nothing could be heard."""
        if hearing:
            self.now_s += min(elapsed_s, TICK_S_MAX)
        else:
            self.now_s = self._last_heard_s
