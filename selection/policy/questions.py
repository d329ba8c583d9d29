"""What is asked of the mirrors on behalf of visitors, each question kept once. Pure.

Nearly all visitors want nothing but a file, and whole trees are on the same mirrors. So who can be sent such a visitor
is worked out once for each set of holders, and again when a mirror fills up or frees itself. Whoever asks the same is
given the same object: it stands for the sets in it, which are too large to be hashed for each visitor.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeAlias

from events.names import ChannelName
from selection.policy.answers import Question, set_bytes
from selection.policy.drawing import FEW
from selection.policy.eligible import Eligible
from selection.view.file import PublishedFile
from selection.view.fleet import FleetView

QUESTIONS_KEPT: Final = 4096  # 12 MB at 10,000 mirrors; there are some for each mirror that fills up or frees itself

_Key: TypeAlias = tuple[tuple[int, ...], int, int]


@dataclass(frozen=True, slots=True)
class _Plain:
    """The question of those who want nothing but a file, and what it follows from."""

    question: Question
    eligible_version: int
    roster_version: int
    holders: int
    short: int


class Questions:
    """The questions that were asked lately."""

    def __init__(self, view: FleetView, eligible: Eligible) -> None:
        self._view, self._eligible = view, eligible
        self._contents, self._roster = view.parts.contents, view.parts.roster
        self._plain: dict[tuple[int, tuple[ChannelName, ...]], _Plain] = {}
        self._known: dict[_Key, Question] = {}

    def of(self, pools: tuple[int, ...], neighbours: int, wanted: int) -> Question:
        """Give a question: the same object as before, if it was asked lately."""
        key = pools, neighbours, wanted
        question = self._known.get(key)
        if question is None:
            if len(self._known) >= QUESTIONS_KEPT:
                self._known.clear()
            size_bytes = sum(map(set_bytes, pools))
            question = Question(pools, neighbours, wanted, self._few(pools, neighbours), size_bytes)
            self._known[key] = question
        return question

    def plain(self, file: PublishedFile, wanted: int) -> Question:
        """Give the question of a visitor who wants nothing but a file, of which no withdrawal is awaited."""
        contents, eligible = self._contents, self._eligible
        held = contents.held.cells[contents.find(file.sha256)]
        known = self._plain.get((held, file.channels))
        if (
            known is not None
            and known.eligible_version == eligible.version
            and known.roster_version == self._roster.version
            and known.holders is contents.sets.values[held]  # an id may be that of another set by now
            and known.short is eligible.short_of[file.size_bytes.bit_length()]
            and known.question.wanted == wanted
        ):
            return known.question
        return self._plain_anew(file, wanted, held)

    def pools(self, servers: int, size_bytes: int) -> tuple[int, int]:
        """Give those of some mirrors that can be sent a visitor, and those that come after them."""
        eligible = self._eligible
        if short := eligible.short_of[size_bytes.bit_length()]:
            servers ^= servers & short
        return servers & eligible.willing, servers & eligible.sparing

    def _plain_anew(self, file: PublishedFile, wanted: int, held: int) -> Question:
        eligible = self._eligible
        question = self.of(self.pools(self._view.servers(file), file.size_bytes), 0, wanted)
        if len(self._plain) >= QUESTIONS_KEPT:
            self._plain.clear()
        self._plain[held, file.channels] = _Plain(
            question,
            eligible.version,
            self._roster.version,
            self._contents.sets.values[held],
            eligible.short_of[file.size_bytes.bit_length()],
        )
        return question

    def _few(self, pools: tuple[int, ...], neighbours: int) -> tuple[tuple[int, ...], ...]:
        """Give the mirrors of each pool by name, if they are so few that it is quicker to look at each."""
        if neighbours or sum(map(int.bit_count, pools)) > FEW:
            return ()
        weights = self._eligible.weights
        return tuple(tuple(sorted(weights.numbers_in(pool), key=weights.order.__getitem__)) for pool in pools if pool)
