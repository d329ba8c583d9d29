"""All mirrors in the order in which one place's visitors are sent to them, and the cache of such rankings. Pure.

A ranking is a list of groups, each better than the next; inside a group nothing but chance decides. It is kept as
bit sets, one for each group together with all better ones: the best group that has a candidate is then found by
halving, and the candidates in it are one ``&`` away.

Rankings are made when a place is first asked for, and kept as long as they fit. When a mirror moves they are not made
anew: each is put right, for that mirror alone, when it is next asked for.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Collection
from typing import Final

from selection.places.place import KEY_WITHOUT_ASN, Place
from selection.policy.answers import Answer, Question
from selection.policy.atlas import OUT_OF_REACH, OWN_NETWORK, Atlas, Locale, locale_of
from selection.policy.drawing import DrawTable

# All places of the world for 100 mirrors (some 1 kB each), 6,000 for 1,000, 1,500 for 10,000.
RANKINGS_BYTES_MAX: Final = 64 * 1024 * 1024
RANKING_BYTES: Final = 1000  # of one, beside its bit sets
MOVES_MAX: Final = 64  # put right one by one; past that it is as quick to make a ranking anew
FIRST_LOOK: Final = 3  # groups: what many mirrors hold is held by one of the first few
TURNS: Final = 1_000_003  # a prime: keys differ in few of their digits
_BITS_PER_BYTE: Final = 7.5  # CPython keeps 30 bits in 4 bytes
_SET_BYTES: Final = 36
_LEVELS: Final = 256

# For each level a table that makes "1" of it and of those below, and "0" of those above.
_UP_TO: Final = tuple(
    bytes(ord("1") if other <= level else ord("0") for other in range(_LEVELS)) for level in range(_LEVELS)
)


NEIGHBOURS: Final = -1  # the index of a group that is made for one visitor's network


class Ranking:
    """The mirrors for visitors of one place.

    Attributes:
        version: that of the atlas that it tells of.
        tables: those of its groups that were drawn in, by the group's index.
        answers: what was found in it, by question.
        turn: a number of the place's own, to begin with other mirrors here than elsewhere.
    """

    __slots__ = ("_levels", "_locale", "_upto", "answers", "tables", "turn", "version")

    def __init__(self, atlas: Atlas, locale: Locale, *, turn: int = 0) -> None:
        levels = atlas.levels(locale)
        levels.reverse()  # the lowest bit is written last
        self._locale = locale
        self._levels = sorted(set(levels) - {OUT_OF_REACH})
        self._upto = [int(levels.translate(_UP_TO[level]), 2) for level in self._levels]
        self.version = atlas.changes.version
        self.tables: dict[int, DrawTable] = {}
        self.answers: dict[Question, Answer] = {}
        self.turn = turn

    @property
    def size_bytes(self) -> int:
        """Estimate how much memory it takes, its tables and answers too."""
        sets = sum(_SET_BYTES + int(upto.bit_length() / _BITS_PER_BYTE) for upto in self._upto)
        made = sum(table.size_bytes for table in self.tables.values())
        return RANKING_BYTES + sets + made + sum(answer.size_bytes for answer in self.answers.values())

    @property
    def in_reach(self) -> int:
        """The mirrors that take visitors from here at all."""
        return self._upto[-1] if self._upto else 0

    def nearest(self, candidates: int, neighbours: int) -> tuple[int, int]:
        """Find the best group with a candidate: its index, and the candidates in it; 0 for them where none has any.

        ``neighbours`` are in the first group as well, for this visitor.
        """
        upto = self._upto
        if neighbours and upto and (own := candidates & upto[-1] & (neighbours | self._own_network())):
            return NEIGHBOURS, own
        low, high, found = 0, len(upto) - 1, 0
        middle = min(high - 1, FIRST_LOOK)
        while low < high:
            if nearer := candidates & upto[middle]:
                high, found = middle, nearer
            else:
                low = middle + 1
            middle = (low + high) >> 1
        if not found and upto:
            found = candidates & upto[low]
        return low, found

    def group(self, index: int) -> int:
        """Give all mirrors of a group."""
        return self._upto[index] & ~self._upto[index - 1] if index else self._upto[0]

    def level_of(self, number: int) -> int:
        """Give the level of one mirror."""
        bit = 1 << number
        return next((level for level, upto in zip(self._levels, self._upto, strict=True) if upto & bit), OUT_OF_REACH)

    def move(self, atlas: Atlas, numbers: Collection[int]) -> None:
        """Put some mirrors where they stand now."""
        for number in set(numbers):
            bit = 1 << number
            self._upto = [upto & ~bit for upto in self._upto]
            level = atlas.level(self._locale, number)
            if level != OUT_OF_REACH:
                self._insert(bit, level)
        self.tables.clear()
        self.answers.clear()
        self.version = atlas.changes.version

    def _insert(self, bit: int, level: int) -> None:
        at = bisect_left(self._levels, level)
        if at == len(self._levels) or self._levels[at] != level:
            self._levels.insert(at, level)
            self._upto.insert(at, self._upto[at - 1] if at else 0)
        for index in range(at, len(self._upto)):
            self._upto[index] |= bit

    def _own_network(self) -> int:
        return self._upto[0] if self._levels and self._levels[0] == OWN_NETWORK else 0


class Rankings:
    """The rankings that were asked for lately."""

    def __init__(self, atlas: Atlas, *, bytes_max: int = RANKINGS_BYTES_MAX) -> None:
        self._atlas = atlas
        self._bytes_max = bytes_max
        self._kept: OrderedDict[int, Ranking] = OrderedDict()
        self._changes = atlas.changes
        self.size_bytes = 0

    def __len__(self) -> int:
        """Count them."""
        return len(self._kept)

    def of(self, place: Place) -> Ranking:
        """Give the ranking for a place, as the mirrors stand now."""
        key = place.key
        asn = place.asn
        if asn and not self._atlas.has_network(asn):
            key, asn = key & KEY_WITHOUT_ASN, 0
        ranking = self._kept.get(key)
        if ranking is None:
            return self._make(key, locale_of(place, asn=asn))
        if ranking.version != self._changes.version:
            return self._renew(key, ranking, locale_of(place, asn=asn))
        self._kept.move_to_end(key)
        return ranking

    def grew(self, more_bytes: int) -> None:
        """Take note that a ranking takes more memory, or less; those that were not asked for lately make room."""
        self.size_bytes += more_bytes
        while self.size_bytes > self._bytes_max and len(self._kept) > 1:
            _, oldest = self._kept.popitem(last=False)
            self.size_bytes -= oldest.size_bytes

    def _make(self, key: int, locale: Locale) -> Ranking:
        ranking = self._kept[key] = Ranking(self._atlas, locale, turn=key % TURNS)
        self.grew(ranking.size_bytes)
        return ranking

    def _renew(self, key: int, ranking: Ranking, locale: Locale) -> Ranking:
        """Put a ranking right; where too much moved, make it anew."""
        moved = self._atlas.changes.since(ranking.version)
        self.size_bytes -= ranking.size_bytes
        if moved is None or len(moved) > MOVES_MAX:
            return self._make(key, locale)
        ranking.move(self._atlas, moved)
        self._kept.move_to_end(key)
        self.grew(ranking.size_bytes)
        return ranking
