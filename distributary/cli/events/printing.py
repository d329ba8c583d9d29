"""Entries that are wanted, printed as they come: a line each for people, an object a line for programs."""

from __future__ import annotations

from distributary.cli.output import BAD, GOOD, WARNING, Output
from distributary.cli.printable import printable
from history.entry import Entry
from history.filters import Filter
from history.telling.lines import line_of
from history.telling.records import record_of
from history.telling.told import Told, tell

# What a person looks for in a long list. The words say it, too.
_STYLES = {
    "replica.declined": WARNING,
    "source.banned": WARNING,
    "quota.reached": WARNING,
    "replica.lost": WARNING,
    "mirror.offline": WARNING,
    "event.unreadable": BAD,
    "replica.ready": GOOD,
    "mirror.online": GOOD,
}


class EnoughError(Exception):
    """So many were printed as were asked for."""


class Printer:
    """Prints what a filter takes, up to ``limit`` entries.

    Attributes:
        read: how many entries came.
        printed: how many of them were wanted.
    """

    def __init__(self, output: Output, filter_: Filter, *, vhost: str, limit: int | None) -> None:
        self._output = output
        self._filter = filter_
        self._vhost = vhost
        self._limit = limit
        self.read = 0
        self.printed = 0

    def take(self, entry: Entry) -> None:
        """Print an entry if it is wanted.

        Raises:
            EnoughError: no more are wanted, or none can come.
        """
        told = tell(entry, vhost=self._vhost)
        self.read += 1
        if self._filter.takes(told):
            self._print(told)
            self.printed += 1
            if self._limit is not None and self.printed >= self._limit:
                raise EnoughError
        if self._filter.is_past(told):
            raise EnoughError

    def _print(self, told: Told) -> None:
        if self._output.json:
            self._output.line(record_of(told))
            return
        style = BAD if told.trouble else _STYLES.get(told.type.partition("/")[0])
        self._output.text(printable(line_of(told)), style=style)
