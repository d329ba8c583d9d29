"""What becomes of a path and of what is held for it, and when a hold is released by itself."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from events.errors import InvalidNameError
from events.names import HELD_PREFIX, ORIGIN_CHANNEL, PATH_BYTES_MAX, ChannelName, Digest, FilePath, MirrorName, Tag
from events.schemas import Filter
from master import holds
from master.catalogue import NOTHING, Entered, Fact, Left, Wish
from master.errors import InvalidRequestError
from master.holds import AtLeast, Condition, PathState, ShareOf, Tally, parse_condition

ISO, OLD = ChannelName("iso"), ChannelName("old")
FILTERS = {ISO: Filter(paths_any=("*.iso",)), OLD: Filter(tags_any=(Tag("old"),))}
WISH = Wish(path=FilePath("a.iso"), size_bytes=1, sha256=Digest(b"1" * 32), media_type="text/plain")
FRESH = PathState(NOTHING, NOTHING)


def places(facts: tuple[Fact, ...]) -> list[tuple[str, ChannelName, str]]:
    """Say of each fact what it says, of which channel and path."""
    return [("in" if isinstance(fact, Entered) else "out", fact.channel, fact.file.path) for fact in facts]


def published(state: PathState, wish: Wish) -> PathState:
    return holds.publish(state, wish, FILTERS, now_ns=1).after


def held(state: PathState, wish: Wish) -> PathState:
    return holds.hold(state, wish, FILTERS, now_ns=1).after


def test_a_held_file_enters_the_channels_that_take_its_own_path_under_another_one() -> None:
    turn = holds.hold(FRESH, WISH, FILTERS, now_ns=1)
    assert places(turn.facts) == [("in", ORIGIN_CHANNEL, "-/held/a.iso"), ("in", ISO, "-/held/a.iso")]
    assert turn.after.standing == NOTHING, "visitors see nothing of it"


def test_a_release_publishes_in_every_channel_before_it_withdraws_from_any() -> None:
    turn = holds.release(held(FRESH, WISH), FILTERS, now_ns=2)
    assert places(turn.facts) == [
        ("in", ORIGIN_CHANNEL, "a.iso"), ("in", ISO, "a.iso"),
        ("out", ISO, "-/held/a.iso"), ("out", ORIGIN_CHANNEL, "-/held/a.iso"),
    ]  # fmt: skip


def test_the_old_generation_stands_until_the_release_and_the_new_one_counts_on() -> None:
    state = held(published(FRESH, WISH), replace(WISH, sha256=Digest(b"2" * 32)))
    assert state.standing == published(FRESH, WISH).standing
    after = holds.release(state, FILTERS, now_ns=2).after
    assert after.standing.file is not None
    assert (after.standing.file.generation, after.standing.file.sha256) == (2, b"2" * 32)
    assert after.held.file is None


def test_a_release_takes_a_file_out_of_channels_that_do_not_take_it_any_more() -> None:
    state = held(published(FRESH, replace(WISH, tags=(Tag("old"),))), replace(WISH, sha256=Digest(b"2" * 32)))
    turn = holds.release(state, FILTERS, now_ns=2)
    assert ("out", OLD, "a.iso") in places(turn.facts)
    assert turn.after.standing.channels == {ORIGIN_CHANNEL, ISO}


def test_what_stands_just_like_that_is_not_held_and_ends_what_was() -> None:
    state = held(published(FRESH, WISH), replace(WISH, sha256=Digest(b"2" * 32)))
    turn = holds.hold(state, WISH, FILTERS, now_ns=2)
    assert turn.after.held.file is None
    assert turn.after.standing == state.standing
    assert {place[0] for place in places(turn.facts)} == {"out"}


def test_publishing_at_once_ends_what_was_held_so_that_it_cannot_come_back_later() -> None:
    turn = holds.publish(held(FRESH, WISH), replace(WISH, sha256=Digest(b"2" * 32)), FILTERS, now_ns=2)
    assert turn.after.held.file is None
    assert holds.release(turn.after, FILTERS, now_ns=3).facts == ()


def test_a_path_held_again_counts_on_so_that_no_late_withdrawal_can_fell_it() -> None:
    once = holds.release(held(FRESH, WISH), FILTERS, now_ns=2).after
    again = held(once, replace(WISH, sha256=Digest(b"2" * 32)))
    assert again.held.file is not None
    assert again.held.file.generation == 2


def test_a_path_that_leaves_no_room_for_the_prefix_cannot_be_held() -> None:
    longest = "/".join(["x" * 100] * 10) + "y" * (PATH_BYTES_MAX - len(HELD_PREFIX) - 1009)
    assert holds.hold(FRESH, replace(WISH, path=FilePath(longest)), {}, now_ns=1).facts
    with pytest.raises(InvalidNameError):
        holds.hold(FRESH, replace(WISH, path=FilePath(longest + "z")), {}, now_ns=1)


DIGESTS = [Digest(bytes([number]) * 32) for number in range(3)]
WISHES = st.builds(
    Wish,
    path=st.just(WISH.path),
    size_bytes=st.just(1),
    sha256=st.sampled_from(DIGESTS),
    media_type=st.sampled_from(["text/plain", "text/html"]),
    tags=st.sampled_from([(), (Tag("old"),)]),
    pieces=st.just(WISH.pieces),
    checksums=st.just(WISH.checksums),
    access=st.just(WISH.access),
    named_channels=st.none(),
)


def after(steps: list[tuple[bool, Wish]]) -> PathState:
    state = FRESH
    for is_held, wish in steps:
        state = held(state, wish) if is_held else published(state, wish)
    return state


STEPS = st.lists(st.tuples(st.booleans(), WISHES), max_size=5)


@given(STEPS, WISHES)
def test_holding_and_releasing_ends_where_publishing_would(steps: list[tuple[bool, Wish]], wish: Wish) -> None:
    state = after(steps)
    released = holds.release(held(state, wish), FILTERS, now_ns=1).after
    assert released.standing == published(state, wish).standing
    assert released.held.file is None


@given(STEPS, WISHES)
def test_the_content_of_a_released_file_is_wanted_in_its_channels_all_the_time(
    steps: list[tuple[bool, Wish]], wish: Wish
) -> None:
    state = held(after(steps), wish)
    if state.held.file is None:
        return  # it stands already
    sha256, turn = state.held.file.sha256, holds.release(state, FILTERS, now_ns=1)
    for channel in turn.after.standing.channels:
        live = {
            standing.file.path
            for standing in (state.standing, state.held)
            if standing.file is not None and standing.file.sha256 == sha256 and channel in standing.channels
        }
        for fact in turn.facts:
            if fact.channel == channel and fact.file.sha256 == sha256:
                live = live - {fact.file.path} if isinstance(fact, Left) else live | {fact.file.path}
                assert live


@pytest.mark.parametrize(
    ("text", "condition"),
    [("3", AtLeast(3)), ("50%", ShareOf(50)), ("all", ShareOf(100)), ("100%", ShareOf(100))],
)
def test_a_condition_is_read(text: str, condition: Condition) -> None:
    assert parse_condition(text) == condition
    assert parse_condition(str(condition)) == condition


@pytest.mark.parametrize("text", ["", "0", "0%", "101%", "-1", "all%", "%", "3 ", "٣", "1" * 10, "10001", "most"])
def test_what_is_no_condition_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequestError):
        parse_condition(text)


@pytest.mark.parametrize(
    ("condition", "followers", "needed"),
    [
        (AtLeast(3), 2, 3), (ShareOf(50), 4, 2), (ShareOf(50), 5, 3), (ShareOf(1), 1000, 10), (ShareOf(100), 7, 7),
        (ShareOf(100), 0, 1),
    ],
)  # fmt: skip
def test_so_many_mirrors_are_needed(condition: Condition, followers: int, needed: int) -> None:
    assert condition.needed(followers) == needed


def test_without_any_mirror_no_share_of_them_is_met() -> None:
    nobody, one = Tally(followers=(), complete=()), (MirrorName("ana"),)
    assert not nobody.meets(ShareOf(50))
    assert Tally(followers=one, complete=one).meets(ShareOf(100))
