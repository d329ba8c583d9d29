"""What was found for one question about a ranking, for the next visitor who asks the same. Pure.

On a release day many ask for files that the same mirrors hold, from the same places: while no mirror fills up or frees
itself the question is the same. An answer says what does not depend on the dice, and is right for as long as its
ranking is, since the question names every set that it depends on.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, TypeAlias

from selection.view.roster import Mirror

ANSWERS_KEPT: Final = 8  # for each ranking: files that other mirrors hold, mirrors that fill up
ANSWER_BYTES: Final = 1000  # beside its sets
_BITS_PER_BYTE: Final = 7.5  # CPython keeps 30 bits in 4 bytes


@dataclass(frozen=True, slots=True, eq=False)
class Question:
    """What is asked: see ``selection.policy.questions``, which gives equal ones as one object.

    Attributes:
        pools: the mirrors to choose from, each pool to be used up before the next.
        neighbours: who is near the visitor, wherever they stand.
        wanted: how many others.
        few: the mirrors of each pool by name, where all are few and nobody is a neighbour; else nothing.
        size_bytes: the memory that its sets take.
    """

    pools: tuple[int, ...]
    neighbours: int
    wanted: int
    few: tuple[tuple[int, ...], ...]
    size_bytes: int


Group: TypeAlias = tuple[int, int]  # which group of a ranking, and the candidates in it: made for each visitor
NO_GROUP: Final[Group] = (0, 0)


@dataclass(slots=True)
class Answer:
    """What was found.

    Attributes:
        few: the near-equals that are drawn from, by name, where they are few.
        many: the same where they are many.
        best: the best few of all, one more than are asked for; none: nobody can be sent this visitor.
        size_bytes: the memory that it and its question take.
        version: that of the view of which ``others`` tell.
        others: the mirrors of ``best`` without the one of a number.
    """

    few: tuple[int, ...]
    many: Group
    best: tuple[int, ...]
    size_bytes: int
    version: int = -1
    others: dict[int, tuple[Mirror, ...]] = field(default_factory=dict[int, tuple[Mirror, ...]])


def set_bytes(mirrors: int) -> int:
    """Estimate how much memory a bit set takes."""
    return int(mirrors.bit_length() / _BITS_PER_BYTE)
