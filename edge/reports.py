"""What is yet to be told of downloads, gathered so that many are told in one event. Pure.

To say an event costs more than to serve a small file (docs/adr/0010). What ended before its start was told needs no
word of its own for the start: its end says the address.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Final

from msgspec.structs import replace

from events.names import MirrorName
from events.schemas import Download, DownloadOutcome, DownloadsReported

SAY_EVERY_S: Final = 0.25  # a person who watches sees it at once; a busy server says some hundred downloads together
DOWNLOADS_PER_REPORT: Final = 400  # with the longest reasons there are 900 kB, and an event has at most 1 MiB
WAITING_MAX: Final = 10_000  # a minute of a very busy server with a full disk; then the oldest go untold


class Reports:
    """The downloads of one server that were not told yet. ``take`` them soon after one is ``note``d."""

    def __init__(self, speaker: MirrorName) -> None:
        self._speaker = speaker
        self._begun: dict[bytes, Download] = {}
        self._waiting: deque[Download] = deque(maxlen=WAITING_MAX)

    def note(self, download: Download) -> None:
        """Tell of a download with the next report."""
        if download.outcome is DownloadOutcome.STARTED:
            self._begun[download.grant_id] = download
            return
        begun = self._begun.pop(download.grant_id, None)
        self._waiting.append(download if begun is None else replace(download, address=begun.address))

    def take(self) -> list[DownloadsReported]:
        """Give all that is to be told; it is as good as told, unless it is ``put_back``."""
        untold = sorted([*self._waiting, *self._begun.values()], key=_time_of)
        self._waiting.clear()
        self._begun.clear()
        return [
            DownloadsReported(mirror=self._speaker, downloads=tuple(untold[at : at + DOWNLOADS_PER_REPORT]))
            for at in range(0, len(untold), DOWNLOADS_PER_REPORT)
        ]

    def put_back(self, reports: Iterable[DownloadsReported]) -> None:
        """Take back what could not be said, to be told before all that happened since."""
        self._waiting.extendleft(reversed([each for report in reports for each in report.downloads]))


def _time_of(download: Download) -> int:
    return download.at_ns
