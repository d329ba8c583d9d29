"""Which mirrors hold all files of a channel that carry some tag: kept once it was asked for. Pure.

A repository's metadata name its other files, so a client that is sent to one mirror for an index and to another for
what the index names may find that the two are of different ages.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Final

from events.names import HELD_PREFIX, ChannelName, Tag
from selection.view.contents import Contents
from selection.view.files import Files

WATCHES_MAX: Final = 1000  # as many channels with metadata as a large site may have; past that the oldest is made anew
_ALL: Final = -1  # as a bit set: without any such file, every mirror holds all of them


@dataclass(slots=True)
class _Watch:
    """The files that one question is about, and the answer at ``version``; -1: there is none."""

    numbers: set[int] = field(default_factory=set[int])
    version: int = -1
    holders: int = _ALL


class Watches:
    """The questions that were ``asked``, each with its files; a change of any of them makes the answer anew."""

    def __init__(self, files: Files, contents: Contents) -> None:
        self._files = files
        self._contents = contents
        self.asked: dict[tuple[ChannelName, frozenset[Tag]], _Watch] = {}

    def __len__(self) -> int:
        """Count the questions."""
        return len(self.asked)

    def holders(self, channel: ChannelName, tags: AbstractSet[Tag]) -> int:
        """Give the mirrors that hold every such file, as a bit set: all bits where there is no such file."""
        key = channel, frozenset(tags)
        watch = self.asked.get(key)
        if watch is None:
            watch = self._begin(*key)
        if watch.version != self._contents.watched_version:
            self._answer(watch)
        return watch.holders

    def changed(self, number: int) -> None:
        """Take note that something of a file changed."""
        for (channel, tags), watch in self.asked.items():
            was_of_it = number in watch.numbers
            if self._is_of(number, channel, tags):
                watch.numbers.add(number)
            elif was_of_it:
                watch.numbers.discard(number)
            else:
                continue
            watch.version = -1

    def _begin(self, channel: ChannelName, tags: frozenset[Tag]) -> _Watch:
        if len(self.asked) >= WATCHES_MAX:
            del self.asked[next(iter(self.asked))]
        numbers = {number for number in range(len(self._files.paths)) if self._is_of(number, channel, tags)}
        watch = self.asked[channel, tags] = _Watch(numbers)
        return watch

    def _answer(self, watch: _Watch) -> None:
        if watch.version < 0:
            self._contents.watched = set().union(*map(self._contents_of, self.asked.values()))
        watch.holders = _ALL
        for content in self._contents_of(watch):
            watch.holders &= self._contents.holders(content)
        watch.version = self._contents.watched_version

    def _contents_of(self, watch: _Watch) -> set[int]:
        return {self._files.content.cells[number] for number in watch.numbers}

    def _is_of(self, number: int, channel: ChannelName, tags: frozenset[Tag]) -> bool:
        files = self._files
        if not files.content.cells[number] or channel not in files.channels_of(number):
            return False
        kind = files.kinds.values[files.kind.cells[number]]
        return not tags.isdisjoint(kind.tags) and not files.paths[number].startswith(HELD_PREFIX)
