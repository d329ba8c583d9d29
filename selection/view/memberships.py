"""The last fact about each file in each channel, by rank. Pure.

A fact is ranked by ``(generation, channel_sequence, sequence)``; the highest rank holds, whatever arrives first.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from events.names import ORIGIN_CHANNEL, ChannelName
from selection.view.columns import Column

NONE: Final = -1


class Rank(NamedTuple):
    """What decides which of two facts about one file in one channel holds."""

    generation: int
    channel_sequence: int
    sequence: int


class Memberships:
    """Facts in rows, one row leading to the next of the same file. A file is named by its first row.

    A row's content is its number, or ``NONE`` for a withdrawal. Rows and contents are stored plus one, so that 0 is
    none.
    """

    def __init__(self) -> None:
        self.channels: list[ChannelName] = [ORIGIN_CHANNEL]
        self._channel_ids: dict[ChannelName, int] = {ORIGIN_CHANNEL: 0}
        self.channel = Column()
        self.generation = Column()
        self.channel_sequence = Column()
        self.sequence = Column()
        self.content = Column()
        self.next = Column()
        self._free: list[int] = []

    def channel_id(self, name: ChannelName) -> int:
        """Give the number of a channel; 0 is ``origin``."""
        known = self._channel_ids.get(name)
        if known is None:
            known = self._channel_ids[name] = len(self.channels)
            self.channels.append(name)
        return known

    def find(self, first: int, channel: int) -> int:
        """Give a file's row for a channel, or ``NONE``."""
        row, channels, following = first, self.channel.cells, self.next.cells
        while row >= 0 and channels[row] != channel:
            row = following[row] - 1
        return row

    def add(self, first: int, channel: int, rank: Rank, content: int) -> int:
        """Put a fact before a file's other ones; give its row, which is the file's first one now."""
        generation, channel_sequence, sequence = rank
        if self._free:
            row = self._free.pop()
            self.channel.put(row, channel)
            self.content.put(row, content + 1)
            self.next.put(row, first + 1)
            self.rank(row, rank)
            return row
        self.channel.append(channel)
        self.generation.append(generation)
        self.channel_sequence.append(channel_sequence)
        self.sequence.append(sequence)
        self.content.append(content + 1)
        self.next.append(first + 1)
        return len(self.channel.cells) - 1

    def is_newer(self, rank: Rank, row: int) -> bool:
        """Tell whether a fact goes before that of a row."""
        generation = self.generation.cells[row]
        if rank.generation != generation:
            return rank.generation > generation
        return rank > (generation, self.channel_sequence.cells[row], self.sequence.cells[row])

    def rank(self, row: int, rank: Rank) -> None:
        """Set the rank of a row."""
        self.generation.put(row, rank.generation)
        self.channel_sequence.put(row, rank.channel_sequence)
        self.sequence.put(row, rank.sequence)

    def content_of(self, row: int) -> int:
        """Give the content of a row, or ``NONE`` where it is a withdrawal, or no row."""
        return self.content.cells[row] - 1 if row >= 0 else NONE

    def before(self, floor: int) -> set[int]:
        """Give the rows whose facts the master said under its sequence ``floor``."""
        return {row for row, sequence in enumerate(self.sequence.cells) if sequence < floor}.difference(self._free)

    def rows(self, first: int) -> Iterator[int]:
        """Give the rows of a file. One may be dropped as soon as it was given."""
        row = first
        while row >= 0:
            following = self.next.cells[row] - 1
            yield row
            row = following

    def drop(self, first: int, row: int) -> int:
        """Take a row out of those of a file; give the file's first row, or ``NONE``."""
        following = self.next.cells[row]
        self.content.put(row, 0)
        self._free.append(row)
        if row == first:
            return following - 1
        before = first
        while self.next.cells[before] - 1 != row:
            before = self.next.cells[before] - 1
        self.next.put(before, following)
        return first

    def holding(self, first: int, content: int) -> tuple[ChannelName, ...]:
        """Give the channels, but ``origin``, that hold a content under a file's path, by name."""
        names, wanted = self.channels, content + 1
        row, channels, contents, following = first, self.channel.cells, self.content.cells, self.next.cells
        found: list[ChannelName] = []
        while row >= 0:
            if contents[row] == wanted and channels[row]:
                found.append(names[channels[row]])
            row = following[row] - 1
        found.sort()
        return tuple(found)
