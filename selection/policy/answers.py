"""What was found for one question about a ranking, for the next visitor who asks the same. Pure.

On a release day many ask for files that the same mirrors hold, from the same places: while no mirror fills up or frees
itself the question is the same. An answer says what does not depend on the dice, and is right for as long as its
ranking is, since the question names every set that it depends on.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TypeAlias

from msgspec import Struct, field

from selection.view.roster import Mirror

ANSWERS_KEPT: Final = 8  # for each ranking: files that other mirrors hold, mirrors that fill up
ANSWER_BYTES: Final = 1000  # beside its sets
_BITS_PER_BYTE: Final = 7.5  # CPython keeps 30 bits in 4 bytes


class Question(Struct, frozen=True, eq=False, gc=False):
    """What is asked: see ``selection.policy.questions``, which gives equal ones as one object.

    Attributes:
        pools: the mirrors to choose from, each pool to be used up before the next.
        neighbours: who is near the visitor, wherever they stand.
        wanted: how many others.
        few: the mirrors of each pool by name, where all are few and nobody is a neighbour; else nothing.
        members: the first pool that has any, a bit a mirror, the lowest first, where it has so many of the fleet that
            the nearest of it are soon met in the order of a place, and nobody is a neighbour; else nothing.
        size_bytes: the memory that its sets take.
    """

    pools: tuple[int, ...]
    neighbours: int
    wanted: int
    few: tuple[tuple[int, ...], ...]
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
        others: the mirrors of ``best`` without the one of a number.
    """

    few: Sequence[int]
    many: Group
    best: Sequence[int]
    version: int = -1
    others: dict[int, tuple[Mirror, ...]] = field(default_factory=dict[int, tuple[Mirror, ...]])


def answer_bytes(question: Question, answer: Answer) -> int:
    """Estimate how much memory an answer that is kept takes, and its question."""
    return ANSWER_BYTES + question.size_bytes + set_bytes(answer.many[1])


def set_bytes(mirrors: int) -> int:
    """Estimate how much memory a bit set takes."""
    return int(mirrors.bit_length() / _BITS_PER_BYTE)
