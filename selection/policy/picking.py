"""From candidates to one of them, or a few: the best group of a ranking, and the draw in it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from selection.policy.answers import ANSWERS_KEPT, Answer, Question, answer_bytes
from selection.policy.drawing import (
    FEW,
    Dice,
    DrawTable,
    draw_from,
    draw_ordered,
)
from selection.policy.eligible import NOBODY, Eligible
from selection.policy.ranking import NEIGHBOURS, Ranking, Rankings
from selection.policy.sticky import StickyKey, stuck_to
from selection.policy.terrain import Terrain

STUCK_KEPT: Final = 4096  # an installer asks for a dozen files of metadata within seconds; some 5 MB at 10,000 mirrors


class Picker:
    """Draws mirrors, by number."""

    def __init__(self, eligible: Eligible, terrain: Terrain, rankings: Rankings) -> None:
        self._eligible, self._terrain, self._rankings = eligible, terrain, rankings
        self._weights = eligible.weights
        self._stuck: dict[tuple[StickyKey, int, int], int] = {}

    def pick(
        self,
        pool: int,
        ranking: Ranking,
        dice: Dice,
        size_bytes: int,
        neighbours: int,
        key: StickyKey | None,
    ) -> int:
        """Draw one of the best group of a pool that has enough quota left for a file, or nobody."""
        while pool:
            index, candidates = ranking.nearest(pool, neighbours)
            if not candidates:
                return NOBODY
            number = candidates.bit_length() - 1
            bits = self._weights.bits
            if candidates != bits[number]:
                number = self._stick(candidates, key) if key else self._draw(candidates, index, ranking, dice)
            if self._eligible.can_serve(number, size_bytes):
                return number
            pool ^= bits[number]
        return NOBODY

    def draw_near(self, near: tuple[int, ...], dice: Dice, size_bytes: int) -> int:
        """Draw one of the near-equals of an answer; nobody: the one that was drawn has too little quota left."""
        number = draw_ordered(near, self._weights, dice)
        return number if self._eligible.can_serve(number, size_bytes) else NOBODY

    def answer(self, ranking: Ranking, question: Question) -> Answer:
        """Give what does not depend on the dice, as it was found before or anew."""
        answer = ranking.answers.get(question)
        if answer is None:
            if len(ranking.answers) >= ANSWERS_KEPT:
                self._rankings.grew(-sum(known.size_bytes for known in ranking.answers.values()))
                ranking.answers.clear()
            pools, neighbours, wanted = question
            best = tuple(self.best(pools, ranking, neighbours=neighbours, count=wanted + 1))
            answer = Answer(self._few(question, ranking), best, answer_bytes(question))
            if ranking.is_whole:
                ranking.answers[question] = answer
                self._rankings.grew(answer.size_bytes)
        return answer

    def _few(self, question: Question, ranking: Ranking) -> tuple[int, ...]:
        """Give the mirrors that are drawn from, by name, where they are few."""
        nearest = (ranking.nearest(pool, question.neighbours)[1] for pool in question.pools)
        first = next(filter(None, nearest), 0)
        if first.bit_count() > FEW:
            return ()
        return tuple(sorted(self._weights.numbers_in(first), key=self._weights.order.__getitem__))

    def best(self, pools: Sequence[int], ranking: Ranking, *, neighbours: int, count: int) -> list[int]:
        """Give the best few of some pools, without dice. In a group begin where the place says, not with the same."""
        found: list[int] = []
        for pool in pools:
            left = pool
            while left and len(found) < count:
                _, candidates = ranking.nearest(left, neighbours)
                if not candidates:
                    break
                below = candidates & ((1 << ranking.turn % candidates.bit_length()) - 1)
                found += self._weights.numbers_in(below, count - len(found))
                found += self._weights.numbers_in(candidates ^ below, count - len(found))
                left ^= candidates
        return found

    def _draw(self, candidates: int, index: int, ranking: Ranking, dice: Dice) -> int:
        """Draw by weight: one of a few at once, one of many by the group's table."""
        weights = self._weights
        if candidates.bit_count() > FEW and index != NEIGHBOURS:
            table = ranking.tables.get(index) or self._make_table(index, ranking)
            table.refresh(weights, ranking.group(index))
            number = table.throw(candidates, weights, dice)
            if number >= 0:
                return number
        return draw_from(weights.numbers_in(candidates), weights, dice)

    def _make_table(self, index: int, ranking: Ranking) -> DrawTable:
        members = sorted(self._weights.numbers_in(ranking.group(index)), key=self._weights.order.__getitem__)
        table = ranking.tables[index] = DrawTable(self._weights, members)
        self._rankings.grew(table.size_bytes)
        return table

    def _stick(self, candidates: int, key: StickyKey) -> int:
        """Find the mirror that a visitor is stuck to; he asks again within seconds."""
        question = (key, candidates, self._terrain.capacities_version)
        known = self._stuck.get(question)
        if known is None:
            if len(self._stuck) >= STUCK_KEPT:
                self._stuck.clear()
            known = stuck_to(self._weights.numbers_in(candidates), key, self._terrain.salts, self._terrain.capacities)
            self._stuck[question] = known
        return known
