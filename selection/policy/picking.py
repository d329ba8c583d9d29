"""From candidates to one of them, or a few: the best group of a ranking, and the draw in it. Pure."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from typing import Final

from selection.policy.answers import ANSWERS_KEPT, NO_GROUP, Answer, Group, Question, answer_bytes
from selection.policy.drawing import FEW, Dice, DrawTable, draw_from, draw_ordered
from selection.policy.eligible import NOBODY, Eligible
from selection.policy.ranking import LEVEL_BITS, LEVEL_MASK, NEIGHBOURS, Ranking, Rankings
from selection.policy.sticky import StickyKey, stuck_to
from selection.policy.terrain import Terrain

HEAD: Final = 128  # mirrors of a ranking that are at hand in their order: a dozen hold what an eighth of the fleet does
STUCK_KEPT: Final = 4096  # an installer asks for a dozen files of metadata within seconds; some 5 MB at 10,000 mirrors

_NO_LEVEL: Final = -1


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
            _, candidates = nearest = ranking.nearest(pool, neighbours)
            if not candidates:
                return NOBODY
            number = candidates.bit_length() - 1
            bits = self._weights.bits
            if candidates != bits[number]:
                number = self._stick(candidates, key) if key else self._draw(nearest, ranking, dice)
            if self._eligible.can_serve(number, size_bytes):
                return number
            pool ^= bits[number]
        return NOBODY

    def draw_near(self, answer: Answer, ranking: Ranking, dice: Dice, size_bytes: int) -> int:
        """Draw one of the near-equals of an answer; nobody: there are none, or his quota is too short."""
        few = answer.few
        if few:
            number = few[0] if len(few) == 1 else draw_ordered(few, self._weights, dice)
        elif answer.many[1]:
            number = self._draw(answer.many, ranking, dice)
        else:
            return NOBODY
        return number if self._eligible.can_serve(number, size_bytes) else NOBODY

    def answer(self, ranking: Ranking, question: Question) -> Answer:
        """Give what does not depend on the dice, as it was found before or anew; what is asked again is kept."""
        return ranking.answers.get(question) or self.find(ranking, question)

    def find(self, ranking: Ranking, question: Question) -> Answer:
        """Find what does not depend on the dice anew; keep it where the same is asked twice, one after the other.

        Where each visitor of a place asks something else answers are not worth their keeping, nor where a ranking is
        made for one look. Another question may have the identity of one that is gone: nothing else depends on it.
        """
        answer = self._of_few(ranking, question) if question.few else self._of_many(ranking, question)
        if ranking.asked != id(question):
            ranking.asked = id(question)
        else:
            self._keep(answer, ranking, question)
        return answer

    def _keep(self, answer: Answer, ranking: Ranking, question: Question) -> None:
        if len(ranking.answers) >= ANSWERS_KEPT:
            self._rankings.grew(ranking, -sum(answer_bytes(*known) for known in ranking.answers.items()))
            ranking.answers.clear()
        answer.others = {}
        ranking.answers[question] = answer
        self._rankings.grew(ranking, answer_bytes(question, answer))

    def _of_few(self, ranking: Ranking, question: Question) -> Answer:
        """Answer where so few mirrors can be sent the visitor that it is quicker to look at each."""
        wanted = question.wanted
        near: Sequence[int] = ()
        best: list[int] = []
        for few in question.few:
            if not wanted:
                near = near or ranking.nearest_of(few)
            elif len(best) <= wanted:
                ordered, count = ranking.in_order(few)
                near = near or self._near(ordered, count)
                best += ordered
        return Answer(near, NO_GROUP, best[: wanted + 1])

    def _of_many(self, ranking: Ranking, question: Question) -> Answer:
        wanted = question.wanted
        if question.members:
            best, near = self._in_head(ranking, question)
            if 0 < near <= FEW:  # or the group's table is drawn from, whatever is wanted
                return Answer(self._near(best, near), NO_GROUP, best[: wanted + 1])
        groups = ranking.groups(question.pools, question.neighbours)
        _, candidates = many = next(groups, NO_GROUP)
        best = self._in_turn(candidates, ranking.turn, wanted + 1)
        while len(best) <= wanted and (group := next(groups, None)):
            best += self._in_turn(group[1], ranking.turn, wanted + 1 - len(best))
        if candidates.bit_count() <= FEW:
            return Answer(self._by_name(self._weights.numbers_in(candidates)), NO_GROUP, best)
        return Answer((), many, best)

    def _near(self, ordered: Sequence[int], count: int) -> Sequence[int]:
        """Give the near-equals that an order begins with, by name."""
        return self._by_name(ordered[:count]) if count > 1 else ordered[:count]

    def _in_head(self, ranking: Ranking, question: Question) -> tuple[list[int], int]:
        """Give the best few, and how many of them are near-equals of the first; 0: there may be more past the head."""
        head = ranking.head or self._make_head(ranking)
        members, wanted, last, near = question.members, question.wanted, _NO_LEVEL, 0
        found: list[int] = []
        for each in head:
            number, level = each >> LEVEL_BITS, each & LEVEL_MASK
            if level != last:
                last = level
                if found:
                    near = near or len(found)
                    if len(found) > wanted:
                        return found, near
            if members[number >> 3] >> (number & 7) & 1:
                found.append(number)
                if near:
                    if len(found) > wanted:
                        return found, near
                elif len(found) > wanted + FEW:
                    break
        return [], 0

    def _make_head(self, ranking: Ranking) -> Sequence[int]:
        head: list[int] = []
        for _, group in ranking.groups([ranking.in_reach], 0):
            head += self._in_turn(group, ranking.turn, HEAD - len(head))
            if len(head) >= HEAD:
                break
        ranking.head = array("I", [number << LEVEL_BITS | ranking.level_of(number) for number in head])
        return ranking.head

    def _in_turn(self, candidates: int, turn: int, count: int) -> list[int]:
        """Give a few of a group, without dice: begin where the place says, not with the same everywhere."""
        if candidates.bit_count() <= 1:
            return self._weights.numbers_in(candidates)
        below = candidates & ((1 << turn % candidates.bit_length()) - 1)
        found = self._weights.numbers_in(below, count)
        return found + self._weights.numbers_in(candidates ^ below, count - len(found))

    def _by_name(self, numbers: Iterable[int]) -> tuple[int, ...]:
        return tuple(sorted(numbers, key=self._weights.order.__getitem__))

    def _draw(self, nearest: Group, ranking: Ranking, dice: Dice) -> int:
        """Draw by weight: one of a few at once, one of many by the group's table."""
        weights, (index, candidates) = self._weights, nearest
        if candidates.bit_count() > FEW and index != NEIGHBOURS:
            table = ranking.tables.get(index) or self._make_table(index, ranking)
            if table.version != weights.rebounds.version:
                table.refresh(weights, ranking.group(index))
            number = table.throw(candidates, weights, dice)
            if number >= 0:
                return number
        return draw_from(weights.numbers_in(candidates), weights, dice)

    def _make_table(self, index: int, ranking: Ranking) -> DrawTable:
        weights = self._weights
        table = ranking.tables[index] = DrawTable(weights, self._by_name(weights.numbers_in(ranking.group(index))))
        self._rankings.grew(ranking, table.size_bytes)
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
