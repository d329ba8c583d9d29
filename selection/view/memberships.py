"""The last fact about each file in each channel, by rank. Pure.

A fact is ranked by ``(generation, channel_sequence, sequence)``; the highest rank holds, whatever arrives first.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

from msgspec import Struct

from events.names import ORIGIN_CHANNEL, ChannelName
from selection.view.columns import ROWS, Cells, Column

# What decides which of two facts about one file in one channel holds: generation, channel sequence and sequence.
Rank: TypeAlias = tuple[int, int, int]


class MembershipsDump(Struct, array_like=True):
    """The facts, as a snapshot has them."""

    channels: list[ChannelName]
    columns: list[Cells]
    free: list[int]


class Memberships:
    """Facts in rows from 1 on, one leading to the ``next`` of the same file. A file is named by its first row.

    A row's ``content`` is 0 for a withdrawal. Row 0 is none.
    """

    def __init__(self) -> None:
        self.channels: list[ChannelName] = [ORIGIN_CHANNEL]
        self._alone: list[tuple[ChannelName, ...]] = [(ORIGIN_CHANNEL,)]
        self._channel_ids: dict[ChannelName, int] = {ORIGIN_CHANNEL: 0}
        self.channel = Column()
        self.generation = Column()
        self.channel_sequence = Column()
        self.sequence = Column()
        self.content = Column()
        self.next = Column()
        self._free: list[int] = []
        for column in self.columns():
            column.append(0)

    def columns(self) -> tuple[Column, ...]:
        """Give the columns, in an order that stays."""
        return self.channel, self.generation, self.channel_sequence, self.sequence, self.content, self.next

    def channel_id(self, name: ChannelName) -> int:
        """Give the number of a channel; 0 is ``origin``."""
        known = self._channel_ids.get(name)
        if known is None:
            known = self._channel_ids[name] = len(self.channels)
            self.channels.append(name)
            self._alone.append((name,))
        return known

    def dump(self) -> MembershipsDump:
        """Give all that cannot be derived, as ``load`` takes it."""
        return MembershipsDump(self.channels, [column.dump() for column in self.columns()], self._free)

    def load(self, dumped: MembershipsDump) -> None:
        """Take what ``dump`` gave."""
        self.channels, self._free = dumped.channels, dumped.free
        self._alone = [(name,) for name in dumped.channels]
        self._channel_ids = {name: number for number, name in enumerate(dumped.channels)}
        for column, cells in zip(self.columns(), dumped.columns, strict=True):
            column.load(cells)

    def find(self, first: int, channel: int) -> int:
        """Give a file's row for a channel, or 0."""
        row, channels, following = first, self.channel.cells, self.next.cells
        while row and channels[row] != channel:
            row = following[row]
        return row

    def add(self, first: int, channel: int, rank: Rank, content: int) -> int:
        """Put a fact before a file's other ones; give its row, which is the file's first one now."""
        row = self._free.pop() if self._free else self._grow()
        generation, channel_sequence, sequence = rank
        try:
            self.channel.cells[row] = channel
            self.generation.cells[row] = generation
            self.channel_sequence.cells[row] = channel_sequence
            self.sequence.cells[row] = sequence
            self.content.cells[row] = content
            self.next.cells[row] = first
        except OverflowError:  # one has to be wider
            for column, value in zip(self.columns(), (channel, *rank, content, first), strict=True):
                column.put(row, value)
        return row

    def is_newer(self, rank: Rank, row: int) -> bool:
        """Tell whether a fact goes before that of a row."""
        return rank > (self.generation.cells[row], self.channel_sequence.cells[row], self.sequence.cells[row])

    def rank(self, row: int, rank: Rank) -> None:
        """Set the rank of a row."""
        generation, channel_sequence, sequence = rank
        self.generation.put(row, generation)
        self.channel_sequence.put(row, channel_sequence)
        self.sequence.put(row, sequence)

    def before(self, floor: int) -> set[int]:
        """Give the rows whose facts the master said under its sequence ``floor``."""
        old = {row for row, sequence in enumerate(self.sequence.cells) if sequence < floor}
        return old.difference((0, *self._free))

    def rows(self, first: int) -> Iterator[int]:
        """Give the rows of a file."""
        row, following = first, self.next.cells
        while row:
            yield row
            row = following[row]

    def drop(self, first: int, row: int) -> int:
        """Take a row out of those of a file; give the file's first row, or 0."""
        following = self.next.cells
        self._free.append(row)
        if row == first:
            return following[row]
        before = first
        while following[before] != row:
            before = following[before]
        following[before] = following[row]
        return first

    def holding(self, first: int, content: int) -> tuple[ChannelName, ...]:
        """Give the channels, but ``origin``, that hold a content under a file's path, by name."""
        channels, contents, following = self.channel.cells, self.content.cells, self.next.cells
        row = first
        found: list[int] = []
        while row:
            if contents[row] == content and (channel := channels[row]):
                found.append(channel)
            row = following[row]
        if len(found) == 1:
            return self._alone[found[0]]
        return tuple(sorted([self.channels[channel] for channel in found]))

    def _grow(self) -> int:
        """Make some rows; give the first of them."""
        row = len(self.next.cells)
        for column in self.columns():
            column.extend(ROWS)
        self._free += range(row + ROWS - 1, row, -1)
        return row
