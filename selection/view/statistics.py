"""How much was downloaded: by file, mirror, country and day. A fold of the log. Pure.

A download counts when a selector grants it (``downloads.granted``), on the day of the grant, UTC; the bytes are what
mirrors say to have sent (``downloads.reported``), on the day on which a request under a grant ended. The same events
give the same figures in whatever order they come and however often (see ``selection.view.numbers`` for how late).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from operator import attrgetter
from typing import Final

import msgspec

from events.envelope import Envelope
from events.schemas import DownloadsGranted, DownloadsReported, Granted
from events.schemas.fields import NS_PER_S
from selection.view.numbers import Counted, Tracks
from selection.view.tallies import SECONDS_PER_DAY, DumpedTally, Tally

VERSION: Final = 1
ALL: Final = ""
_NS_PER_DAY: Final = SECONDS_PER_DAY * NS_PER_S
_path_of = attrgetter("path")  # in C: half the cost of a loop
_country_of = attrgetter("country")


class UnusableStatisticsError(ValueError):
    """These bytes are no statistics of this version. Begin new ones."""


class Statistics:
    """The figures of a site.

    ``files``, ``mirrors`` and ``countries`` count downloads by path, by mirror (``origin`` is the master) and by
    country code (empty: unknown), ``site`` all of them under ``ALL``; ``sent_bytes`` are by mirror.
    """

    def __init__(self, *, days_kept: int) -> None:
        self._days_kept = days_kept
        self._counted = Counted()
        self.files = Tally()
        self.mirrors = Tally()
        self.countries = Tally()
        self.site = Tally()
        self.sent_bytes = Tally()

    def pass_over(self, source: str, epoch: int, sequence: int) -> None:
        """Take note of an event of which nothing is counted and that was not read: it is missing no more."""
        self._counted.note(source, epoch, sequence)

    def apply(self, envelope: Envelope) -> None:
        """Fold one event of the log, whatever it tells of."""
        if not self._counted.note(envelope.source, envelope.epoch, envelope.sequence):
            return
        match envelope.event:
            case DownloadsGranted() as notice:
                self._granted(notice)
            case DownloadsReported() as report:
                self._reported(report)
            case _:
                pass

    def tidy(self, today: int) -> bool:
        """Do a step of what is due, some milliseconds; tell whether there was one. Call it until there is none."""
        return any(tally.tidy(today, days_kept=self._days_kept) for tally in self._tallies())

    def dump(self) -> bytes:
        """Write all down."""
        tallies = [tally.dumped() for tally in self._tallies()]
        return msgspec.msgpack.encode((VERSION, tallies, self._counted.tracks))

    @classmethod
    def load(cls, dumped: bytes, *, days_kept: int) -> Statistics:
        """Read what ``dump`` wrote.

        Raises:
            UnusableStatisticsError: something else wrote it.
        """
        statistics = cls(days_kept=days_kept)
        try:
            version, tallies, numbers = _decoder.decode(dumped)
            if version != VERSION:
                raise UnusableStatisticsError(f"of version {version}; this program writes {VERSION}")
            read = [Tally.read(tally) for tally in tallies]
            statistics._take(*read)
        except (msgspec.DecodeError, TypeError, ValueError, IndexError) as error:
            raise UnusableStatisticsError(str(error)) from error
        statistics._counted = Counted(numbers)
        return statistics

    def _tallies(self) -> tuple[Tally, ...]:
        return self.files, self.mirrors, self.countries, self.site, self.sent_bytes

    def _take(self, files: Tally, mirrors: Tally, countries: Tally, site: Tally, sent_bytes: Tally) -> None:
        self.files, self.mirrors, self.countries, self.site = files, mirrors, countries, site
        self.sent_bytes = sent_bytes

    def _granted(self, notice: DownloadsGranted) -> None:
        """Count grants, those of one day at once: a selector under load says thousands a second."""
        for day, grants in _by_day(notice.grants):
            self.files.count(day, map(_path_of, grants))
            self.countries.count(day, map(_country_of, grants))
            self.mirrors.add(day, notice.mirror, len(grants))
            self.site.add(day, ALL, len(grants))

    def _reported(self, report: DownloadsReported) -> None:
        for download in report.downloads:
            if download.sent_bytes:
                self.sent_bytes.add(download.at_ns // _NS_PER_DAY, report.mirror, download.sent_bytes)


def _by_day(grants: Sequence[Granted]) -> Iterator[tuple[int, Sequence[Granted]]]:
    """Part grants by day; those of a batch are nearly always of one."""
    days = {granted.granted_at_ns // _NS_PER_DAY for granted in grants}
    for day in days:
        yield day, grants if len(days) == 1 else [each for each in grants if each.granted_at_ns // _NS_PER_DAY == day]


_decoder = msgspec.msgpack.Decoder(tuple[int, list[DumpedTally], Tracks])
