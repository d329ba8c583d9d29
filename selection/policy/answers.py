"""What was found for one question about a ranking, for the next visitor who asks the same. Pure.

On a release day many ask for files that the same mirrors hold, from the same places: while no mirror fills up or frees
itself the question is the same. An answer says what does not depend on the dice, and is right for as long as its
ranking is, since the question names every set that it depends on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from operator import itemgetter
from typing import Final, NamedTuple, TypeAlias

from msgspec import Struct

from selection.view.roster import Mirror

ANSWERS_KEPT: Final = 8  # for each ranking: files that other mirrors hold, mirrors that fill up
ANSWER_BYTES: Final = 1000  # beside its sets
_BITS_PER_BYTE: Final = 7.5  # CPython keeps 30 bits in 4 bytes


class Few(NamedTuple):
    """So few mirrors that it is quicker to look at each.

    Attributes:
        numbers: by name.
        values: picks what belongs to each of them out of what belongs to all, by number. It is done in one go: what is
            wanted lies far apart, and the processor then need not wait for one after the other.
    """

    numbers: tuple[int, ...]
    values: Callable[[Sequence[int]], tuple[int, ...]]

    @classmethod
    def of(cls, numbers: tuple[int, ...]) -> Few:
        """Make it of numbers, one at least."""
        return cls(numbers, itemgetter(*numbers) if len(numbers) > 1 else partial(_only, *numbers))


class Question(Struct, frozen=True, eq=False, gc=False):
    """What is asked: see ``selection.policy.questions``, which gives equal ones as one object.

    Attributes:
        pools: the mirrors to choose from, each pool to be used up before the next.
        neighbours: who is near the visitor, wherever they stand.
        wanted: how many others.
        few: the mirrors of each pool that has any, where all are few and nobody is a neighbour; else nothing.
        members: the first pool that has any, a bit a mirror, the lowest first, where it has so many of the fleet that
            the nearest of it are soon met in the order of a place, and nobody is a neighbour; else nothing.
        size_bytes: the memory that its sets take.
    """

    pools: tuple[int, ...]
    neighbours: int
    wanted: int
    few: tuple[Few, ...]
    members: bytes
    size_bytes: int


Group: TypeAlias = tuple[int, int]  # which group of a ranking, and the candidates in it: made for each visitor
NO_GROUP: Final[Group] = (0, 0)


class Answer(Struct, eq=False, gc=False):
    """What was found. Most are made for one visitor: a struct takes a third of the time of a dataclass.

    Attributes:
        few: the near-equals that are drawn from, by name, where they are few.
        many: the same where they are many.
        best: the best few of all, one more than are asked for where any are.
        version: that of the view of which ``others`` tell.
        others: the mirrors of ``best`` without the one of a number, for the next who ask; None: nobody else will.
    """

    few: Sequence[int]
    many: Group
    best: Sequence[int]
    version: int = -1
    others: dict[int, tuple[Mirror, ...]] | None = None


def _only(number: int, values: Sequence[int]) -> tuple[int, ...]:
    return (values[number],)


def answer_bytes(question: Question, answer: Answer) -> int:
    """Estimate how much memory an answer that is kept takes, and its question."""
    return ANSWER_BYTES + question.size_bytes + set_bytes(answer.many[1])


def set_bytes(mirrors: int) -> int:
    """Estimate how much memory a bit set takes."""
    return int(mirrors.bit_length() / _BITS_PER_BYTE)
