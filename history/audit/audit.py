"""An audit of a log: that it is whole and each entry what it says it is, and that each decision follows from it.

It reads a source once, some way ahead of the fold, since the record of a decision stands behind what it was decided by.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from contextlib import aclosing
from typing import Final

from history.audit.findings import Finding, Findings
from history.audit.judging import Judging
from history.audit.numbering import Numbering
from history.entry import Entry, Position
from history.replay.replayer import Replayer
from history.sources.port import Source

# A selector says what it decided within a tenth of a second, and after an outage of the broker with all that waited at
# every source: some ten thousand entries each.
AHEAD_MAX: Final = 100_000
AHEAD_BYTES_MAX: Final = 128 << 20


class Audit:
    """An audit in progress: ``take`` each entry, then ``finish``. Pure.

    Attributes:
        findings: what is wrong, the first in the log first.
        first: where the log begins.
        last: where it ends.
    """

    def __init__(self, *, vhost: str) -> None:
        self.findings = Findings()
        self._numbering = Numbering(self.findings, vhost=vhost)
        self._replayer = Replayer(vhost=vhost)
        self._judging = Judging(self._numbering, self._replayer, self.findings)
        self._ahead: deque[tuple[Entry, bool]] = deque()
        self._ahead_bytes = 0
        self._folded: Entry | None = None
        self.first: Position | None = None
        self.last: Position | None = None

    @property
    def entries(self) -> int:
        """Count the entries that were read."""
        return self._numbering.entries

    @property
    def sources(self) -> int:
        """Count who spoke."""
        return self._numbering.sources

    @property
    def repeated(self) -> int:
        """Count the entries that say again, byte for byte, what was said before."""
        return self._numbering.repeated

    @property
    def unknown_types(self) -> int:
        """Count the entries that a newer version may know."""
        return self._numbering.unknown_types

    @property
    def log_time_ns(self) -> int:
        """Tell how far the site's own clocks have come, for progress."""
        return self._numbering.log_time_ns

    @property
    def reproduced(self) -> int:
        """Count the decisions that were made again, and alike."""
        return self._judging.reproduced

    @property
    def doubted(self) -> Counter[str]:
        """Count the decisions that could not be made again or held against this log, by reason."""
        return self._judging.doubted

    @property
    def damage(self) -> Finding | None:
        """Give the first finding that shows the log damaged; None where there is none."""
        return self.findings.first_damage

    def take(self, entry: Entry) -> None:
        """Take the next entry."""
        self.first, self.last = self.first or entry.position, entry.position
        envelope = self._numbering.note(entry)
        self._judging.read(entry, envelope)
        self._ahead.append((entry, envelope is not None))
        self._ahead_bytes += len(entry.body)
        while len(self._ahead) > AHEAD_MAX or self._ahead_bytes > AHEAD_BYTES_MAX:
            self._fold_next()

    def finish(self) -> None:
        """Judge what is left, now that nothing follows."""
        while self._ahead:
            self._fold_next()
        self._judging.judge(before=None)
        self._numbering.finish()

    def _fold_next(self) -> None:
        entry, is_sound = self._ahead.popleft()
        self._ahead_bytes -= len(entry.body)
        self._judging.judge(before=entry.position)
        envelope = self._replayer.fold(entry, is_sound=is_sound)
        self._judging.folded(entry, envelope, self._folded)
        self._folded = entry


async def audit(source: Source, *, progress: Callable[[Audit], None] = lambda _: None) -> Audit:
    """Audit a source. ``progress`` is called after each batch.

    Raises:
        SourceError: it cannot be read.
    """
    found = Audit(vhost=source.vhost)
    async with aclosing(source.batches()) as batches:
        async for batch in batches:
            for entry in batch:
                found.take(entry)
            progress(found)
    found.finish()
    return found
