"""The catalogue's law: a file is in a channel exactly while the channel takes it, and every change is said once."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from events.names import ORIGIN_CHANNEL, SHA256_BYTES, ChannelName, Digest, FilePath, Tag
from events.pieces import PIECE_BYTES_MIN
from events.schemas import Access, FilePublished, FileWithdrawn, Filter, WithdrawMode
from master.catalogue import (
    NOTHING,
    Change,
    Entered,
    Left,
    PublishedFile,
    Standing,
    Wish,
    channels_of,
    close_channel,
    event_of,
    publish,
    refilter,
    withdraw,
)
from master.pieces import Pieces

ISO, BIG = ChannelName("iso"), ChannelName("big")
FILTERS = {ISO: Filter(paths_any=("*.iso",)), BIG: Filter(size_bytes_min=100)}
WISH = Wish(path=FilePath("a.iso"), size_bytes=10, sha256=Digest(b"1" * 32), media_type="application/octet-stream")
NOW_NS = 5


def published(wish: Wish, standing: Standing = NOTHING, *, now_ns: int = NOW_NS) -> Change:
    return publish(standing, wish, FILTERS, now_ns=now_ns)


def said(change: Change) -> list[tuple[str, ChannelName, int]]:
    return [(type(fact).__name__, fact.channel, fact.file.generation) for fact in change.facts]


def test_a_new_file_enters_the_catalogue_and_each_channel_that_takes_it() -> None:
    change = published(WISH)
    assert said(change) == [("Entered", ORIGIN_CHANNEL, 1), ("Entered", ISO, 1)]
    assert change.standing.channels == {ORIGIN_CHANNEL, ISO}


def test_publishing_again_what_stands_says_nothing() -> None:
    change = published(WISH)
    assert published(WISH, change.standing, now_ns=NOW_NS + 1) == Change(change.standing, ())


def test_changed_content_is_a_new_generation() -> None:
    other = replace(WISH, sha256=Digest(b"2" * 32), size_bytes=200)
    change = published(other, published(WISH).standing)
    assert said(change) == [("Entered", ORIGIN_CHANNEL, 2), ("Entered", BIG, 2), ("Entered", ISO, 2)]


def test_changed_tags_are_said_anew_under_the_same_generation() -> None:
    before = published(WISH).standing
    change = published(replace(WISH, tags=(Tag("stable"),)), before, now_ns=NOW_NS + 1)
    assert said(change) == [("Entered", ORIGIN_CHANNEL, 1), ("Entered", ISO, 1)]
    assert change.standing.file is not None
    assert change.standing.file.published_at_ns == NOW_NS


def test_changed_access_is_said_anew() -> None:
    change = published(replace(WISH, access=Access(networks=("192.0.2.0/24",))), published(WISH).standing)
    assert said(change) == [("Entered", ORIGIN_CHANNEL, 1), ("Entered", ISO, 1)]


def test_a_file_that_a_channel_takes_no_more_is_withdrawn_from_it_alone() -> None:
    before = published(WISH).standing
    change = refilter(before, FILTERS | {ISO: Filter(paths_any=("*.img",))})
    assert said(change) == [("Left", ISO, 1)]
    assert change.standing.channels == {ORIGIN_CHANNEL}


def test_a_wider_filter_takes_in_what_it_now_matches() -> None:
    change = refilter(published(WISH).standing, FILTERS | {BIG: Filter(size_bytes_min=10)})
    assert said(change) == [("Entered", BIG, 1)]


def test_a_file_published_for_named_channels_enters_no_other() -> None:
    change = published(replace(WISH, named_channels=(BIG,)))
    assert said(change) == [("Entered", ORIGIN_CHANNEL, 1)]


def test_naming_other_channels_moves_a_file_without_saying_the_rest_again() -> None:
    change = published(replace(WISH, named_channels=()), published(WISH).standing)
    assert said(change) == [("Left", ISO, 1)]


def test_a_withdrawn_file_leaves_the_catalogue_last() -> None:
    change = withdraw(published(WISH).standing, reason="a mistake", mode=WithdrawMode.CUT)
    assert said(change) == [("Left", ISO, 1), ("Left", ORIGIN_CHANNEL, 1)]
    assert change.standing.file is None


def test_a_path_that_comes_back_counts_on() -> None:
    gone = withdraw(published(WISH).standing, reason="a mistake", mode=WithdrawMode.CUT).standing
    assert said(published(WISH, gone)) == [("Entered", ORIGIN_CHANNEL, 2), ("Entered", ISO, 2)]


def test_a_removed_channel_loses_its_files_and_the_catalogue_keeps_them() -> None:
    change = close_channel(published(WISH).standing, ISO)
    assert said(change) == [("Left", ISO, 1)]
    assert change.standing.file is not None


def test_what_is_not_there_can_be_neither_withdrawn_nor_filtered() -> None:
    assert withdraw(NOTHING, reason="", mode=WithdrawMode.DRAIN) == refilter(NOTHING, FILTERS) == Change(NOTHING, ())


def test_facts_become_events_with_their_number() -> None:
    pieces = Pieces(PIECE_BYTES_MIN, b"p" * 2 * SHA256_BYTES)
    standing = published(replace(WISH, size_bytes=2 * PIECE_BYTES_MIN, pieces=pieces)).standing
    assert standing.file is not None
    entered = event_of(Entered(ISO, standing.file), channel_sequence=7)
    left = event_of(Left(ISO, standing.file, "why", WithdrawMode.CUT), channel_sequence=8)
    assert isinstance(entered, FilePublished)
    assert (entered.channel, entered.channel_sequence, entered.sha256) == (ISO, 7, WISH.sha256)
    assert (entered.piece_bytes, entered.piece_digests) == (pieces.piece_bytes, pieces.digests)
    assert isinstance(left, FileWithdrawn)
    assert (left.channel, left.channel_sequence, left.reason, left.mode) == (ISO, 8, "why", WithdrawMode.CUT)


_FILTERS = st.builds(
    Filter,
    size_bytes_min=st.none() | st.integers(0, 3),
    tags_none=st.sampled_from([(), (Tag("a"),)]),
    tags_any=st.sampled_from([(), (Tag("b"),)]),
)
_WISHES = st.builds(
    Wish,
    path=st.just(FilePath("x")),
    size_bytes=st.integers(0, 3),
    sha256=st.sampled_from([Digest(b"1" * 32), Digest(b"2" * 32)]),
    media_type=st.just("text/plain"),
    tags=st.sampled_from([(), (Tag("a"),), (Tag("b"),), (Tag("a"), Tag("b"))]),
    named_channels=st.sampled_from([None, (), (ISO,)]),
)
_STEPS = st.lists(
    st.one_of(
        _WISHES,
        st.tuples(st.sampled_from([ISO, BIG]), _FILTERS),
        st.sampled_from([ISO, BIG]),
        st.just("withdraw"),
    ),
    max_size=12,
)


def _step(standing: Standing, step: object, filters: dict[ChannelName, Filter]) -> Change:
    match step:
        case Wish():
            return publish(standing, step, filters, now_ns=NOW_NS)
        case (str() as channel, Filter() as rules):
            filters[ChannelName(channel)] = rules
            return refilter(standing, filters)
        case "withdraw":
            return withdraw(standing, reason="", mode=WithdrawMode.DRAIN)
        case _:
            channel = ChannelName(str(step))
            filters.pop(channel, None)
            return close_channel(standing, channel)


@given(_STEPS)
def test_after_any_changes_a_file_is_where_its_filters_say_and_the_facts_tell_the_same(steps: list[object]) -> None:
    standing, filters = NOTHING, dict[ChannelName, Filter]()
    heard: dict[ChannelName, PublishedFile] = {}
    for step in steps:
        change = _step(standing, step, filters)
        for fact in change.facts:
            if isinstance(fact, Entered):
                heard[fact.channel] = fact.file
            else:
                del heard[fact.channel]  # nothing leaves that was not there
        standing = change.standing
        expected = frozenset[ChannelName]() if standing.file is None else channels_of(standing.file, filters)
        assert standing.channels == expected == heard.keys()
        if standing.file is not None:
            named = standing.file.named_channels
            assert {replace(file, named_channels=named) for file in heard.values()} == {standing.file}


@given(_STEPS, _WISHES)
def test_publishing_twice_is_publishing_once(steps: list[object], wish: Wish) -> None:
    standing, filters = NOTHING, dict[ChannelName, Filter]()
    for step in steps:
        standing = _step(standing, step, filters).standing
    once = publish(standing, wish, filters, now_ns=1)
    assert publish(once.standing, wish, filters, now_ns=2) == Change(once.standing, ())


@pytest.mark.parametrize("generations", [1, 5])
def test_generations_never_go_back(generations: int) -> None:
    standing, seen = NOTHING, list[int]()
    for number in range(generations):
        standing = published(replace(WISH, sha256=Digest(bytes([number]) * 32)), standing).standing
        standing = withdraw(standing, reason="", mode=WithdrawMode.DRAIN).standing
        seen.append(standing.last_generation)
    assert seen == sorted(set(seen))
