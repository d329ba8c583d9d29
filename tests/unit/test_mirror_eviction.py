"""Which copies make room, and that making room and coming back never go round in circles."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from events.names import Digest
from mirror.keeping.eviction import Copy, Displaced, Marks, returning, victims

MARKS = Marks(high_bytes=95, low_bytes=85)


def sha(name: str) -> Digest:
    return Digest(hashlib.sha256(name.encode()).digest())


def copy(name: str, size_bytes: int, used_at_s: int, *, is_served: bool = False) -> Copy:
    return Copy(sha(name), size_bytes, used_at_s, is_served)


def going(*copies: Copy, wanted_bytes: int, told_at_s: int = 1000) -> set[Digest] | None:
    used_bytes = sum(each.size_bytes for each in copies)
    chosen = victims(copies, used_bytes=used_bytes, wanted_bytes=wanted_bytes, told_at_s=told_at_s, marks=MARKS)
    return None if chosen is None else set(chosen)


def test_nothing_goes_while_it_fits_under_the_high_mark() -> None:
    assert going(copy("a", 85, 1), wanted_bytes=10) == set()


def test_the_least_recently_used_go_until_the_low_mark_is_reached() -> None:
    copies = [copy("new", 30, 9), copy("old", 30, 1), copy("older", 30, 0)]
    assert going(*copies, wanted_bytes=10) == {sha("older")}
    assert going(*copies, wanted_bytes=30) == {sha("older"), sha("old")}


def test_a_copy_that_is_being_served_goes_last() -> None:
    assert going(copy("a", 45, 1, is_served=True), copy("b", 45, 2), wanted_bytes=40) == {sha("b")}


def test_a_copy_that_is_being_served_goes_where_no_other_is_enough() -> None:
    assert going(copy("a", 90, 1, is_served=True), wanted_bytes=40) == {sha("a")}


@pytest.mark.parametrize("used_at_s", [1000, 1001])
def test_what_was_used_or_told_of_since_stays(used_at_s: int) -> None:
    assert going(copy("a", 90, used_at_s), wanted_bytes=10) is None


def test_nothing_goes_in_vain() -> None:
    assert going(copy("old", 10, 1), copy("new", 80, 2000), wanted_bytes=30) is None


def test_what_fits_after_all_is_spared() -> None:
    assert going(copy("small", 5, 1), copy("large", 60, 2), copy("new", 30, 3), wanted_bytes=10) == {sha("large")}


def test_a_content_larger_than_the_low_mark_is_taken_where_it_fits_under_the_high_one() -> None:
    assert going(copy("a", 50, 1), wanted_bytes=90) == {sha("a")}
    assert going(copy("a", 50, 1), wanted_bytes=96) is None


def test_what_had_to_go_comes_back_under_the_low_mark_alone_the_latest_first() -> None:
    gone = [Displaced(sha("old"), 10, 1), Displaced(sha("new"), 10, 2), Displaced(sha("huge"), 50, 3)]
    assert returning(gone, used_bytes=66, marks=MARKS) == (sha("new"),)
    assert returning(gone, used_bytes=65, marks=MARKS) == (sha("new"), sha("old"))
    assert returning(gone, used_bytes=86, marks=MARKS) == ()


@dataclass
class World:
    """A mirror that does as ``Keeper`` and ``Room`` do, without a disk."""

    now_s: int = 0
    sizes: dict[Digest, int] = field(default_factory=dict[Digest, int])
    told: dict[Digest, int] = field(default_factory=dict[Digest, int])
    served: dict[Digest, int] = field(default_factory=dict[Digest, int])
    held: set[Digest] = field(default_factory=set[Digest])
    evicted: set[Digest] = field(default_factory=set[Digest])
    fetched: list[Digest] = field(default_factory=list[Digest])
    lost: list[Digest] = field(default_factory=list[Digest])

    @property
    def used_bytes(self) -> int:
        return sum(self.sizes[each] for each in self.held)

    def settle(self) -> None:
        """Let all that follows from what happened happen: first what is new, then what may come back."""
        while any(map(self._take_in, self._new())):  # as long as one made room for others
            pass
        for sha256 in self._returning():
            assert self.used_bytes + self.sizes[sha256] <= MARKS.low_bytes
            self._hold(sha256)
        assert self._returning() == (), "what came back made no room"
        assert self.used_bytes <= MARKS.high_bytes

    def _new(self) -> list[Digest]:
        return sorted(self.told.keys() - self.held - self.evicted, key=lambda each: (self.told[each], each))

    def _returning(self) -> tuple[Digest, ...]:
        gone = (Displaced(each, self.sizes[each], self.told[each]) for each in self.evicted)
        return returning(gone, used_bytes=self.used_bytes, marks=MARKS)

    def _take_in(self, sha256: Digest) -> bool:
        copies = [
            Copy(each, self.sizes[each], max(self.served.get(each, 0), self.told[each])) for each in sorted(self.held)
        ]
        chosen = victims(
            copies,
            used_bytes=self.used_bytes,
            wanted_bytes=self.sizes[sha256],
            told_at_s=self.told[sha256],
            marks=MARKS,
        )
        if chosen is None:
            return False
        self.held -= set(chosen)
        self.evicted |= set(chosen)
        self.lost.extend(chosen)
        if chosen:
            used_bytes = self.used_bytes + self.sizes[sha256]
            assert all(used_bytes + self.sizes[each] > MARKS.low_bytes for each in chosen), "it would come right back"
        self._hold(sha256)
        return bool(chosen)

    def _hold(self, sha256: Digest) -> None:
        self.held.add(sha256)
        self.evicted.discard(sha256)
        self.fetched.append(sha256)


Happenings = st.lists(
    st.one_of(
        st.tuples(st.just("publish"), st.lists(st.integers(1, 100), min_size=1, max_size=6)),
        st.tuples(st.just("serve"), st.integers(0, 50)),
        st.tuples(st.just("withdraw"), st.integers(0, 50)),
        st.tuples(st.just("wait"), st.integers(0, 10)),
    ),
    max_size=30,
)


def happen(world: World, what: str, value: int | list[int]) -> None:
    world.now_s += 1
    if isinstance(value, list):
        for size_bytes in value:
            sha256 = sha(f"{len(world.sizes)}")
            world.sizes[sha256], world.told[sha256] = size_bytes, world.now_s
    elif what == "wait":
        world.now_s += value
    elif known := sorted(world.told if what == "withdraw" else world.held):
        sha256 = known[value % len(known)]
        if what == "serve":
            world.served[sha256] = world.now_s
        else:
            del world.told[sha256]
            world.held.discard(sha256)
            world.evicted.discard(sha256)


@given(Happenings)
def test_between_two_happenings_each_content_is_fetched_at_most_twice_and_then_all_is_still(
    happenings: list[tuple[str, int | list[int]]],
) -> None:
    world = World()
    for what, value in happenings:
        happen(world, what, value)
        world.fetched.clear()
        world.settle()
        assert all(world.fetched.count(each) <= 2 for each in world.fetched)
        before = set(world.held)
        world.fetched.clear()
        world.lost.clear()
        world.settle()
        assert (world.fetched, world.lost, world.held) == ([], [], before), "nothing happened, and yet something moved"


@given(st.lists(st.integers(1, 60), min_size=1, max_size=30))
def test_a_channel_larger_than_the_disk_that_is_told_of_at_once_evicts_nothing(sizes: list[int]) -> None:
    world = World()
    happen(world, "publish", sizes)
    world.settle()
    assert world.lost == []
    assert len(world.fetched) == len(set(world.fetched))


@given(Happenings)
def test_only_a_publication_makes_a_copy_go(happenings: list[tuple[str, int | list[int]]]) -> None:
    world = World()
    for what, value in happenings:
        happen(world, what, value)
        lost_before = len(world.lost)
        pending = world.told.keys() - world.held - world.evicted
        world.settle()
        if not pending:
            assert len(world.lost) == lost_before
