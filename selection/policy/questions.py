"""What is asked of the mirrors on behalf of visitors, each question kept once. Pure.

Nearly all visitors want nothing but a file, perhaps by https, and whole trees are on the same mirrors. So who can be
sent such a visitor is worked out once for each set of holders, and again when a mirror fills up or frees itself.
Whoever asks the same is given the same object: it stands for the sets in it, which are too large to be hashed for each
visitor.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeAlias

from events.names import ChannelName
from selection.policy.answers import Few, Question, set_bytes
from selection.policy.drawing import FEW
from selection.policy.eligible import Eligible
from selection.policy.terrain import Terrain
from selection.view.file import PublishedFile
from selection.view.fleet import FleetView

# There are some for each mirror that fills up or frees itself: at 10,000 mirrors some 3,000 of two pools.
QUESTIONS_BYTES_MAX: Final = 12_000_000
QUESTION_BYTES: Final = 1000  # beside its sets; half of it where many are asked for
PLAIN_BYTES: Final = 400  # beside its sets, and the question

DENSE_SHARE: Final = 8  # an eighth of the fleet: half a dozen of them are met among some fifty of all

_Key: TypeAlias = tuple[tuple[int, ...], int, int, int]
_PlainKey: TypeAlias = tuple[int, tuple[ChannelName, ...], int, int, bool | None]


@dataclass(frozen=True, slots=True)
class _Plain:
    """The question of those who want nothing but a file, and what it follows from.

    Whom they may be sent to follows from the roster in two ways: who follows the channels, and whose URL is https.
    """

    question: Question
    eligible_version: int
    roster_version: int
    holders: int
    short: int

    @property
    def size_bytes(self) -> int:
        """Estimate how much memory it takes, but for its question."""
        return PLAIN_BYTES + set_bytes(self.holders) + set_bytes(self.short)


class Questions:
    """The questions that were asked lately. ``size_bytes`` is the memory that they take, more or less."""

    def __init__(self, view: FleetView, eligible: Eligible, terrain: Terrain) -> None:
        self._view, self._eligible, self._terrain = view, eligible, terrain
        self._contents, self._roster = view.parts.contents, view.parts.roster
        self._plain: dict[_PlainKey, _Plain] = {}
        self._known: dict[_Key, Question] = {}
        self.size_bytes = 0

    def of(self, pools: tuple[int, ...], neighbours: int, wanted: int) -> Question:
        """Give a question: the same object as before, if it was asked lately."""
        key = pools, neighbours, wanted, len(self._eligible.weights.of)
        question = self._known.get(key)
        if question is None:
            self._make_room()
            few = self._few(pools, neighbours)
            members = b"" if few or neighbours else self._members(next(filter(None, pools), 0))
            size_bytes = sum(map(set_bytes, pools)) + len(members)
            question = Question(pools, neighbours, wanted, few, members, size_bytes)
            self._known[key] = question
            self.size_bytes += QUESTION_BYTES + size_bytes + set_bytes(neighbours)
        return question

    def plain(self, file: PublishedFile, wanted: int, *, secure: bool | None = None) -> Question:
        """Give the question of a visitor who wants nothing but a file, of which no withdrawal is awaited.

        He wants it ``secure`` or not, or as it comes. The file's size matters only where anybody is short of quota.
        """
        contents, eligible = self._contents, self._eligible
        held = contents.holders_at(file.content, file.sha256)
        digits = file.size_bytes.bit_length()
        short = eligible.short_of[digits]
        key = held, file.channels, digits if short else 0, wanted, secure
        known = self._plain.get(key)
        if (
            known is not None
            and known.eligible_version == eligible.version
            and known.roster_version == self._roster.version
            and known.holders is contents.sets.values[held]  # an id may be that of another set by now
            and known.short is short
        ):
            return known.question
        return self._plain_anew(file, key)

    def pools(self, servers: int, size_bytes: int) -> tuple[int, int]:
        """Give those of some mirrors that can be sent a visitor, and those that come after them."""
        eligible = self._eligible
        if short := eligible.short_of[size_bytes.bit_length()]:
            servers ^= servers & short
        return servers & eligible.willing, servers & eligible.sparing

    def _plain_anew(self, file: PublishedFile, key: _PlainKey) -> Question:
        held, _, _, wanted, secure = key
        eligible = self._eligible
        self._make_room()  # before the question is made, which would else be forgotten at once
        servers = self._terrain.reached(self._view.servers(file), secure=secure)
        question = self.of(self.pools(servers, file.size_bytes), 0, wanted)
        holders, short = self._contents.sets.values[held], eligible.short_of[file.size_bytes.bit_length()]
        before = self._plain.get(key)
        plain = self._plain[key] = _Plain(question, eligible.version, self._roster.version, holders, short)
        self.size_bytes += plain.size_bytes - (before.size_bytes if before else 0)
        return question

    def _make_room(self) -> None:
        """Forget all if it is too much: what is asked still comes again at once."""
        if self.size_bytes >= QUESTIONS_BYTES_MAX:
            self._known.clear()
            self._plain.clear()
            self.size_bytes = 0

    def _members(self, pool: int) -> bytes:
        """Give a pool by bits, as long as there are mirrors, if it has many of them."""
        mirrors = max(len(self._eligible.weights.of), pool.bit_length())
        return pool.to_bytes(mirrors // 8 + 1, "little") if pool.bit_count() * DENSE_SHARE >= mirrors else b""

    def _few(self, pools: tuple[int, ...], neighbours: int) -> tuple[Few, ...]:
        """Give the mirrors of each pool by name, if they are so few that it is quicker to look at each."""
        if neighbours or sum(map(int.bit_count, pools)) > FEW:
            return ()
        weights = self._eligible.weights
        by_name = weights.order.__getitem__
        return tuple(Few.of(tuple(sorted(weights.numbers_in(pool), key=by_name))) for pool in pools if pool)
