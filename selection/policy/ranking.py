"""All mirrors in the order in which one place's visitors are sent to them, and the cache of such rankings. Pure.

A ranking is a list of groups, each better than the next; inside a group nothing but chance decides. It is kept as
bit sets, one for each group together with all better ones: the best group that has a candidate is then found by
halving, and the candidates in it are one ``&`` away. Beside them stands the level of each mirror, by which a few are
sorted sooner than they are found in groups.

Rankings are kept as long as they fit. When a mirror moves they are not made anew: each is put right, for that mirror
alone. Both is done ahead of visitors, in slices between their requests (``prepare``). Whoever comes before that waits
for it, unless the mirrors that he can be sent to are few: those are put in order by themselves.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import accumulate
from typing import Final, NamedTuple

from selection.places.place import KEY_WITHOUT_ASN, Place
from selection.policy.answers import Answer, Few, Group, Question, answer_bytes
from selection.policy.atlas import OUT_OF_REACH, OWN_NETWORK, Atlas, Locale, locale_of
from selection.policy.drawing import FEW, DrawTable

# All places of the world for 100 mirrors (some 2 kB each), 11,000 for 1,000, 1,500 for 10,000.
RANKINGS_BYTES_MAX: Final = 64 * 1024 * 1024
RANKING_BYTES: Final = 1500  # of one, beside its bit sets: its head is a third of it
MOVES_MAX: Final = 64  # put right one by one; past that it is as quick to make a ranking anew
SLICE_MIRRORS: Final = 1000  # a third of a millisecond: a redirect takes about as long to come through
WANTED_MAX: Final = 1000  # places whose rankings are yet to be made
FIRST_LOOK: Final = 3  # groups: what many mirrors hold is held by one of the first few
TURNS: Final = 1_000_003  # a prime: keys differ in few of their digits
_BITS_PER_BYTE: Final = 7.5  # CPython keeps 30 bits in 4 bytes
_SET_BYTES: Final = 36
CHANCES_MAX: Final = 64  # some 10 us
LEVEL_BITS: Final = 8
_LEVELS: Final = 1 << LEVEL_BITS
LEVEL_MASK: Final = _LEVELS - 1
_NO_LEVEL: Final = bytes([OUT_OF_REACH])

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
        asked: the identity of the question that was asked last, of those without an answer that is kept.
        head: the first few of all, in their order, once somebody has looked for them: the number of each, and below it
            ``LEVEL_BITS`` of its level. They lie together, and are mostly not in the processor's caches.
        turn: a number of the place's own, to begin with other mirrors here than elsewhere.
        was_asked: a visitor asked for it since somebody looked whether any did.
    """

    __slots__ = (
        "_level_by_number",
        "_levels",
        "_upto",
        "answers",
        "asked",
        "head",
        "locale",
        "tables",
        "turn",
        "version",
        "was_asked",
    )

    def __init__(self, levels: bytearray, locale: Locale, *, version: int, turn: int) -> None:
        self.locale = locale
        self._level_by_number = levels  # it is ours from now on
        self._levels: list[int] = []
        self._upto: list[int] = []
        self.version = version
        self.tables: dict[int, DrawTable] = {}
        self.answers: dict[Question, Answer] = {}
        self.asked = 0
        self.head: Sequence[int] = ()
        self.turn = turn
        self.was_asked = False

    @classmethod
    def of_all(cls, levels: bytearray, locale: Locale, *, version: int, turn: int) -> Ranking:
        """Make the ranking of all mirrors from the level of each."""
        made = cls(levels, locale, version=version, turn=turn)
        lowest_last = levels[::-1]  # as the digits of a number are written
        made._levels = sorted(set(levels) - {OUT_OF_REACH})
        made._upto = [int(lowest_last.translate(_UP_TO[level]), 2) for level in made._levels]
        return made

    @classmethod
    def of_few(cls, atlas: Atlas, numbers: Sequence[int], locale: Locale, *, turn: int) -> Ranking:
        """Make one of a few mirrors alone. Among them it decides as that of all mirrors does."""
        levels = bytearray(_NO_LEVEL) * len(atlas)
        groups: dict[int, int] = {}
        for number, level in zip(numbers, atlas.levels_of(locale, numbers), strict=True):
            levels[number] = level
            groups[level] = groups.get(level, 0) | 1 << number
        groups.pop(OUT_OF_REACH, None)
        made = cls(levels, locale, version=atlas.changes.version, turn=turn)
        made._levels = sorted(groups)
        made._upto = [*accumulate([groups[level] for level in made._levels], int.__or__)]
        return made

    @property
    def size_bytes(self) -> int:
        """Estimate how much memory it takes, its tables and answers too."""
        sets = sum(_SET_BYTES + int(upto.bit_length() / _BITS_PER_BYTE) for upto in self._upto)
        made = sum(table.size_bytes for table in self.tables.values())
        levels = len(self._level_by_number)
        return RANKING_BYTES + levels + sets + made + sum(answer_bytes(*known) for known in self.answers.items())

    @property
    def in_reach(self) -> int:
        """The mirrors that take visitors from here at all."""
        return self._upto[-1] if self._upto else 0

    def nearest(self, candidates: int, neighbours: int) -> Group:
        """Find the best group with a candidate; without candidates where none has any.

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

    def groups(self, pools: Iterable[int], neighbours: int) -> Iterator[Group]:
        """Give all groups with a candidate, best first, those of each pool before those of the next."""
        for pool in filter(None, pools):
            left, (at, found) = pool, self.nearest(pool, neighbours)
            if at == NEIGHBOURS:
                yield at, found
                left = pool ^ found
                at, found = self.nearest(left, 0)
            if found:
                yield at, found
            for farther in range(at + 1, len(self._upto)):
                within = left & self._upto[farther]
                if within != found:
                    yield farther, within ^ found
                    found = within

    def group(self, index: int) -> int:
        """Give all mirrors of a group."""
        return self._upto[index] & ~self._upto[index - 1] if index else self._upto[0]

    def level_of(self, number: int) -> int:
        """Give the level of one mirror."""
        return self._level_by_number[number]

    def nearest_of(self, few: Few) -> tuple[int, ...]:
        """Give those of a few mirrors that are nearest, in their order; nobody, where none is in reach."""
        numbers, levels = few.numbers, few.values(self._level_by_number)
        best = min(levels)
        if best == OUT_OF_REACH:
            return ()
        if levels.count(best) == 1:
            return (numbers[levels.index(best)],)
        return tuple([number for number, level in zip(numbers, levels, strict=True) if level == best])

    def in_order(self, few: Few) -> tuple[list[int], int]:
        """Give those of a few mirrors that are in reach, best first, and how many are as near as the first.

        Of equals begin where the place says.
        """
        numbers, levels = few.numbers, few.values(self._level_by_number)
        begin = self.turn % len(numbers)
        order = sorted((*range(begin, len(numbers)), *range(begin)), key=levels.__getitem__)
        near = levels.count(levels[order[0]])
        if levels[order[-1]] == OUT_OF_REACH:
            order = [at for at in order if levels[at] != OUT_OF_REACH]
        return [numbers[at] for at in order], near

    def move(self, atlas: Atlas, numbers: Collection[int]) -> None:
        """Put some mirrors where they stand now."""
        levels = self._level_by_number
        levels += _NO_LEVEL * (len(atlas) - len(levels))
        for number in set(numbers):
            bit = 1 << number
            self._upto = [upto & ~bit for upto in self._upto]
            level = levels[number] = atlas.level(self.locale, number)
            if level != OUT_OF_REACH:
                self._insert(bit, level)
        self.tables.clear()
        self.answers.clear()
        self.head = ()
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


class _Making(NamedTuple):
    """A ranking that is being made: the levels of the mirrors so far, and the atlas's version when it was begun."""

    key: int
    locale: Locale
    version: int
    levels: bytearray


class Rankings:
    """The rankings that were asked for lately."""

    def __init__(self, atlas: Atlas, *, bytes_max: int = RANKINGS_BYTES_MAX) -> None:
        self._atlas = atlas
        self._bytes_max = bytes_max
        self._kept: OrderedDict[int, Ranking] = OrderedDict()
        self._wanted: dict[int, Locale] = {}
        self._making: _Making | None = None
        self._outdated: list[int] = []
        self._changes = atlas.changes
        self._renewed_version = 0
        self.size_bytes = 0

    def __len__(self) -> int:
        """Count them."""
        return len(self._kept)

    def of(self, place: Place) -> Ranking:
        """Give the ranking for a place, as the mirrors stand now."""
        key, asn = self._key_of(place)
        return self._current(key) or self._make(key, locale_of(place, asn=asn))

    def for_pools(self, place: Place, pools: Iterable[int]) -> Ranking:
        """Give what tells the order in which mirrors of these pools are taken: the same as ``of`` would.

        Where the ranking is not there and the mirrors are few, it is one of those alone; that of all is made by
        ``prepare``, before anybody asks again.
        """
        key, asn = place.key, place.asn  # each visitor comes through here: no call that can be spared
        if asn and not self._atlas.has_network(asn):
            key, asn = key & KEY_WITHOUT_ASN, 0
        ranking = self._kept.get(key)
        if ranking is not None:
            if ranking.version == self._changes.version:
                ranking.was_asked = True
                return ranking
            if renewed := self._current(key):
                return renewed
        locale, mirrors = locale_of(place, asn=asn), 0
        for pool in pools:
            mirrors |= pool
        if mirrors.bit_count() > FEW:
            return self._make(key, locale)
        self._want(key, locale)
        return Ranking.of_few(self._atlas, [*_numbers_in(mirrors)], locale, turn=key % TURNS)

    def expect(self, place: Place) -> None:
        """Let the ranking of a place be made by ``prepare``, if there is none."""
        key, asn = self._key_of(place)
        if key not in self._kept:
            self._want(key, locale_of(place, asn=asn))

    def prepare(self) -> bool:
        """Do a slice of the work that a visitor would else wait for; tell whether there is more of it.

        Rankings that are wanted are made, and those that are kept are put right after mirrors moved: a slice is one
        thousand mirrors of the one, or one of the other.
        """
        if self._making is not None:
            self._go_on(self._making)
        elif self._wanted:
            key = next(iter(self._wanted))
            self._making = _Making(key, self._wanted.pop(key), self._changes.version, bytearray())
        elif self._renewed_version != self._changes.version:
            self._renewed_version, self._outdated = self._changes.version, self._asked_last()
        elif self._outdated:
            self._put_right(self._outdated.pop())
        return bool(self._making or self._wanted or self._outdated or self._renewed_version != self._changes.version)

    def grew(self, ranking: Ranking, more_bytes: int) -> None:
        """Take note that a ranking takes more memory, or less; those that were not asked for lately make room for it.

        What was asked for since somebody looked at it here has a second chance: to keep all in the order in which they
        are asked for would take each visitor as long as to find his. There are not so many such chances at once that
        this visitor would wait for them.
        """
        self.size_bytes += more_bytes
        chances = CHANCES_MAX
        while self.size_bytes > self._bytes_max and len(self._kept) > 1:
            key, oldest = self._kept.popitem(last=False)
            if oldest is ranking or (oldest.was_asked and chances > 0):
                oldest.was_asked = False
                self._kept[key] = oldest
                chances -= 1
            else:
                self.size_bytes -= oldest.size_bytes

    def _asked_last(self) -> list[int]:
        """Give the places whose rankings are kept, at the end those that visitors asked for since the last time."""
        asked: list[int] = []
        others: list[int] = []
        for key, ranking in self._kept.items():
            (asked if ranking.was_asked else others).append(key)
            ranking.was_asked = False
        return others + asked

    def _key_of(self, place: Place) -> tuple[int, int]:
        """Give the key of a place's ranking, and the visitor's network; 0 where no mirror is in it."""
        key, asn = place.key, place.asn
        if asn and not self._atlas.has_network(asn):
            return key & KEY_WITHOUT_ASN, 0
        return key, asn

    def _current(self, key: int) -> Ranking | None:
        """Give a ranking that is kept, as the mirrors stand now."""
        ranking = self._kept.get(key)
        if ranking is not None and ranking.version != self._changes.version:
            ranking = self._renewed(key, ranking)
        if ranking is not None:
            ranking.was_asked = True
        return ranking

    def _want(self, key: int, locale: Locale) -> None:
        if len(self._wanted) < WANTED_MAX:
            self._wanted[key] = locale

    def _go_on(self, making: _Making) -> None:
        """Work out the levels of some more mirrors; with all of them the ranking is made."""
        at = len(making.levels)
        making.levels.extend(self._atlas.levels(making.locale, at, at + SLICE_MIRRORS))
        if len(making.levels) < len(self._atlas):
            return
        self._making = None
        if making.key not in self._kept:
            self._keep(making)

    def _put_right(self, key: int) -> None:
        """Renew a ranking that is kept; where too much moved, let it be made anew."""
        ranking = self._kept.get(key)
        if ranking is not None and self._renewed(key, ranking) is None:
            self._want(key, ranking.locale)

    def _make(self, key: int, locale: Locale) -> Ranking:
        return self._keep(_Making(key, locale, self._changes.version, self._atlas.levels(locale)))

    def _keep(self, making: _Making) -> Ranking:
        key, locale, version, levels = making
        ranking = self._kept[key] = Ranking.of_all(levels, locale, version=version, turn=key % TURNS)
        self._wanted.pop(key, None)
        self.grew(ranking, ranking.size_bytes)
        return ranking

    def _renewed(self, key: int, ranking: Ranking) -> Ranking | None:
        """Put a ranking right; where too much moved, forget it: it is as quick to make it anew."""
        moved = self._changes.since(ranking.version)
        before_bytes = ranking.size_bytes
        if moved is None or len(moved) > MOVES_MAX:
            del self._kept[key]
            self.size_bytes -= before_bytes
            return None
        ranking.move(self._atlas, moved)
        self.grew(ranking, ranking.size_bytes - before_bytes)
        return ranking


def _numbers_in(mirrors: int) -> Iterator[int]:
    while mirrors:
        number = mirrors.bit_length() - 1
        yield number
        mirrors ^= 1 << number
