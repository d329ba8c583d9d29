"""Downloads by day, mirror, country and file: what some more events add to the figures. Pure.

A download counts on the day (UTC) on which it was granted, and so do its requests and bytes, however late they are told
of. A link that nobody was told of (in a list of mirrors) has no grant in the log: what is told of it counts on the day
on which the log has it, under the path that its content was last published under, without a country.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import NamedTuple

from events.names import ORIGIN_CHANNEL
from events.schemas import Download, DownloadOutcome, DownloadsGranted, DownloadsReported, FilePublished
from events.schemas.fields import NS_PER_S
from history.archive.projecting.told import Told

COUNTED = (DownloadsGranted, DownloadsReported, FilePublished)
"""The types of events that figures are made of."""


class Cell(NamedTuple):
    """What a row of figures is about."""

    day: str
    mirror: str
    country: str
    path: str


@dataclass(slots=True)
class Figures:
    """What is counted of it."""

    granted: int = 0
    finished: int = 0
    aborted: int = 0
    bytes: int = 0


class OpenGrant(NamedTuple):
    """A grant that something may yet be told of: where that counts, and until when it is waited for."""

    day: str
    country: str
    path: str
    until_s: int


@dataclass(slots=True)
class Counting:
    """What some events add. ``opened`` and ``published`` are to be remembered for events to come."""

    figures: dict[Cell, Figures] = field(default_factory=dict[Cell, Figures])
    opened: dict[bytes, OpenGrant] = field(default_factory=dict[bytes, OpenGrant])
    published: dict[bytes, str] = field(default_factory=dict[bytes, str])

    def note(self, told: Iterable[Told]) -> None:
        """Take up what was granted and published."""
        for each in told:
            match each.event:
                case DownloadsGranted() as notice:
                    self._grant(notice)
                case FilePublished(channel=channel, sha256=sha256, path=path) if channel == ORIGIN_CHANNEL:
                    self.published[sha256] = path
                case _:
                    pass

    def report(self, told: Iterable[Told], *, grants: Mapping[bytes, OpenGrant], paths: Mapping[bytes, str]) -> None:
        """Count what became of downloads, with what earlier events told of their grants and contents."""
        for each in told:
            if isinstance(each.event, DownloadsReported):
                for download in ended(each.event):
                    grant = self.opened.get(download.grant_id) or grants.get(download.grant_id)
                    path = self.published.get(download.sha256) or paths.get(download.sha256, "")
                    day, country = (grant.day, grant.country) if grant else (day_of_ns(each.log_time_ns), "")
                    cell = Cell(day, each.event.mirror, country, grant.path if grant else path)
                    self._add(cell, download)

    def _grant(self, notice: DownloadsGranted) -> None:
        for granted in notice.grants:
            day = day_of_ns(granted.granted_at_ns)
            self._of(Cell(day, notice.mirror, granted.country, granted.path)).granted += 1
            self.opened[granted.grant_id] = OpenGrant(day, granted.country, granted.path, granted.finish_by_s)

    def _add(self, cell: Cell, download: Download) -> None:
        figures = self._of(cell)
        figures.bytes += download.sent_bytes
        if download.outcome is DownloadOutcome.FINISHED:
            figures.finished += 1
        else:
            figures.aborted += 1

    def _of(self, cell: Cell) -> Figures:
        return self.figures.setdefault(cell, Figures())


def ended(report: DownloadsReported) -> Iterable[Download]:
    """Give what is told of ends; a beginning adds nothing."""
    return (each for each in report.downloads if each.outcome is not DownloadOutcome.STARTED)


def day_of_ns(time_ns: int) -> str:
    """Give the day of a moment, UTC."""
    return datetime.fromtimestamp(time_ns // NS_PER_S, UTC).date().isoformat()
