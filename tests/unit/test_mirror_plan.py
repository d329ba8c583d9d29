"""What a mirror has to hold, whatever the order in which it is told."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from events.names import ChannelName, Digest, FilePath, held_path
from events.schemas import FilePublished, FileWithdrawn, LossReason
from mirror.state.plan import Catalogue, Drop, Entry, Fetch, Journal, Resync, Snapshot, Standing, owed, plan

ISO, DOCS = ChannelName("iso"), ChannelName("docs")


def sha(text: str) -> Digest:
    return Digest(hashlib.sha256(text.encode()).digest())


def published(sequence: int, path: str = "a", content: str = "A", channel: ChannelName = ISO) -> FilePublished:
    return FilePublished(
        channel=channel,
        channel_sequence=sequence,
        path=FilePath(path),
        generation=sequence,
        size_bytes=len(content),
        sha256=sha(content),
        media_type="application/zip",
    )


def withdrawn(sequence: int, path: str = "a", content: str = "A", channel: ChannelName = ISO) -> FileWithdrawn:
    return FileWithdrawn(
        channel=channel,
        channel_sequence=sequence,
        path=FilePath(path),
        generation=sequence,
        sha256=sha(content),
        reason="test",
    )


def following(*channels: ChannelName) -> Catalogue:
    catalogue = Catalogue()
    catalogue.enter(1, Journal())
    for channel in channels:
        catalogue.follow(channel, Journal())
    return catalogue


def wanted(catalogue: Catalogue) -> set[Digest]:
    return set(catalogue.wanted_digests())


def test_a_published_file_is_to_be_fetched() -> None:
    catalogue, journal = following(ISO), Journal()
    assert catalogue.apply(published(1), journal) is Standing.NEXT
    (action,) = plan(catalogue, journal, held=())
    assert isinstance(action, Fetch)
    assert action.entry.sha256 == sha("A")


def test_content_that_is_held_already_is_not_fetched_again() -> None:
    catalogue, journal = following(ISO), Journal()
    catalogue.apply(published(1), journal)
    assert plan(catalogue, journal, held={sha("A")}) == []


def test_content_in_two_channels_is_dropped_with_the_last_of_them() -> None:
    catalogue = following(ISO, DOCS)
    catalogue.apply(published(1), Journal())
    catalogue.apply(published(1, "b", channel=DOCS), Journal())
    first, second = Journal(), Journal()
    catalogue.apply(withdrawn(2), first)
    assert plan(catalogue, first, held={sha("A")}) == []
    catalogue.apply(withdrawn(2, "b", channel=DOCS), second)
    assert plan(catalogue, second, held={sha("A")}) == [Drop(sha("A"), FilePath("b"), LossReason.WITHDRAWN)]


def test_content_under_two_paths_of_one_channel_is_fetched_once() -> None:
    catalogue, journal = following(ISO), Journal()
    catalogue.apply(published(1, "a"), journal)
    catalogue.apply(published(2, "b"), journal)
    assert len(plan(catalogue, journal, held=())) == 1


def test_new_content_under_a_path_drops_the_old_one() -> None:
    catalogue, journal = following(ISO), Journal()
    catalogue.apply(published(1, content="old"), Journal())
    catalogue.apply(published(2, content="new"), journal)
    actions = plan(catalogue, journal, held={sha("old")})
    assert {type(action) for action in actions} == {Fetch, Drop}
    assert wanted(catalogue) == {sha("new")}


def test_a_release_leaves_content_wanted_at_every_step_whichever_channels_are_followed() -> None:
    catalogue, held = following(ISO, DOCS), held_path(FilePath("a"))
    for channel in (ISO, DOCS):
        catalogue.apply(published(1, held, channel=channel), Journal())
    for event in (
        published(2, channel=DOCS), published(2, channel=ISO),
        withdrawn(3, held, channel=ISO), withdrawn(3, held, channel=DOCS),
    ):  # fmt: skip
        journal = Journal()
        assert catalogue.apply(event, journal) is Standing.NEXT
        assert plan(catalogue, journal, held={sha("A")}) == [], "it is neither fetched nor removed"
    assert owed(catalogue, journal) == {DOCS: set()}, "and the withdrawal waits for nothing"
    assert catalogue.wanted(sha("A")) == catalogue.entry((DOCS, FilePath("a")))


def test_a_revoked_channel_takes_its_files_along() -> None:
    catalogue, journal = following(ISO), Journal()
    catalogue.apply(published(1), Journal())
    catalogue.unfollow(ISO, journal)
    assert plan(catalogue, journal, held={sha("A")}) == [Drop(sha("A"), FilePath("a"), LossReason.UNSUBSCRIBED)]


def test_a_new_channel_is_read_from_its_snapshot() -> None:
    catalogue, journal = Catalogue(), Journal()
    catalogue.follow(ISO, journal)
    assert plan(catalogue, journal, held=()) == [Resync(ISO)]


def test_a_gap_is_noticed_and_what_lies_beyond_it_is_wanted_at_once() -> None:
    catalogue, journal = following(ISO), Journal()
    assert catalogue.apply(published(3), journal) is Standing.AHEAD
    resync, fetch = plan(catalogue, journal, held=())
    assert resync == Resync(ISO)
    assert isinstance(fetch, Fetch)


@pytest.mark.parametrize("first", [1, 2], ids=["repeated", "late"])
def test_what_is_known_already_changes_nothing(first: int) -> None:
    catalogue, journal = following(ISO), Journal()
    catalogue.apply(published(1), Journal())
    catalogue.apply(withdrawn(2), Journal())
    assert catalogue.apply(published(first), journal) is Standing.KNOWN
    assert journal == Journal()
    assert wanted(catalogue) == set()


def test_a_withdrawal_beats_the_publication_that_arrives_after_it() -> None:
    catalogue = following(ISO)
    catalogue.apply(withdrawn(2), Journal())
    assert catalogue.apply(published(1), Journal()) is Standing.NEXT
    assert wanted(catalogue) == set()


def test_events_of_a_channel_that_is_not_followed_are_ignored() -> None:
    catalogue, journal = Catalogue(), Journal()
    assert catalogue.apply(published(1), journal) is Standing.FOREIGN
    assert journal == Journal()


def test_a_snapshot_does_not_undo_what_is_newer_than_it() -> None:
    catalogue = following(ISO)
    for sequence in range(1, 4):
        catalogue.apply(published(sequence, path=str(sequence), content=str(sequence)), Journal())
    catalogue.replace(Snapshot(channel=ISO, epoch=1, sequence=2, entries=()), Journal())
    assert wanted(catalogue) == {sha("3")}
    assert catalogue.positions[ISO] == 3


def test_a_master_that_lost_its_numbers_is_followed_from_its_new_beginning() -> None:
    catalogue = following(ISO, DOCS)
    assert catalogue.enter(1, Journal())
    for sequence in (1, 2, 3):
        catalogue.apply(published(sequence, f"file-{sequence}", str(sequence)), Journal())
    journal = Journal()
    assert catalogue.enter(2, journal)
    catalogue.apply(published(1, "file-1", "new"), journal)
    kept = {sha("2"), sha("3")}
    assert wanted(catalogue) == kept | {sha("new")}, "what the channel holds stays until its snapshot was read"
    actions = plan(catalogue, journal, held={sha("1"), *kept})
    assert [action.channel for action in actions if isinstance(action, Resync)] == [DOCS, ISO]
    assert [action.sha256 for action in actions if isinstance(action, Drop)] == [sha("1")]
    fresh = Entry(channel=ISO, path=FilePath("file-1"), sequence=1, generation=1, sha256=sha("new"))
    catalogue.replace(Snapshot(channel=ISO, epoch=2, sequence=1, entries=(fresh,)), Journal())
    assert (wanted(catalogue), catalogue.positions[ISO]) == ({sha("new")}, 1)


def test_what_is_of_an_earlier_epoch_does_not_count() -> None:
    catalogue = following(ISO)
    catalogue.enter(2, Journal())
    catalogue.apply(published(1), Journal())
    assert not catalogue.enter(1, Journal())
    catalogue.replace(Snapshot(channel=ISO, epoch=1, sequence=9, entries=()), Journal())
    assert (catalogue.epoch, wanted(catalogue), catalogue.positions[ISO]) == (2, {sha("A")}, 1)


def test_a_snapshot_of_a_higher_epoch_is_taken_over_whole() -> None:
    catalogue, journal = following(ISO, DOCS), Journal()
    catalogue.enter(1, Journal())
    for sequence in (1, 2, 3):
        catalogue.apply(published(sequence, f"file-{sequence}", str(sequence)), Journal())
    catalogue.replace(Snapshot(channel=ISO, epoch=2, sequence=1, entries=()), journal)
    assert (wanted(catalogue), catalogue.positions[ISO]) == (set(), 1)
    assert journal.gaps == {DOCS}, "the other channel is read anew, too"


def test_a_failed_transaction_takes_the_epoch_back() -> None:
    catalogue, journal = following(ISO), Journal()
    catalogue.enter(1, Journal())
    catalogue.apply(published(1), Journal())
    catalogue.enter(2, journal)
    catalogue.enter(3, journal)
    catalogue.roll_back(journal)
    assert (catalogue.epoch, catalogue.positions[ISO]) == (1, 1)
    assert catalogue.apply(published(1), Journal()) is Standing.KNOWN


def test_a_name_picks_among_the_paths_of_one_content() -> None:
    catalogue = following(ISO)
    catalogue.apply(published(1, "latest.iso"), Journal())
    catalogue.apply(published(2, "v1/one.iso"), Journal())
    assert [catalogue.wanted(sha("A"), name=name).path for name in ("one.iso", "latest.iso", "other")] == [  # pyright: ignore[reportOptionalMemberAccess] - it was just published
        "v1/one.iso",
        "latest.iso",
        "latest.iso",
    ]


# The law: however facts are repeated, reordered and lost, a mirror that reads the snapshots it asks for ends up
# wanting exactly what the channel holds.


@dataclass
class Channel:
    """The truth, as the master keeps it."""

    facts: list[FilePublished | FileWithdrawn] = field(default_factory=list[FilePublished | FileWithdrawn])
    files: dict[str, FilePublished] = field(default_factory=dict[str, FilePublished])

    def snapshot(self) -> Snapshot:
        entries = tuple(
            Entry(
                channel=ISO,
                path=file.path,
                sequence=file.channel_sequence,
                generation=file.generation,
                sha256=file.sha256,
                size_bytes=file.size_bytes,
                media_type=file.media_type,
            )
            for file in self.files.values()
        )
        return Snapshot(channel=ISO, epoch=1, sequence=len(self.facts), entries=entries)


def history(steps: list[tuple[str, str]]) -> Channel:
    """Publish content at a path, or withdraw the path where the content is empty."""
    channel = Channel()
    for path, content in steps:
        sequence = len(channel.facts) + 1
        if content:
            channel.files[path] = published(sequence, path, content)
            channel.facts.append(channel.files[path])
        elif (gone := channel.files.pop(path, None)) is not None:
            channel.facts.append(withdrawn(sequence, path, ""))
            assert gone.channel_sequence < sequence
    return channel


steps = st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["", "X", "Y", "Z"])), max_size=12)


@given(steps, st.data())
def test_order_repetition_and_loss_of_events_do_not_change_what_is_wanted(
    story: list[tuple[str, str]], data: st.DataObject
) -> None:
    channel = history(story)
    told = data.draw(st.lists(st.sampled_from(channel.facts), max_size=20)) if channel.facts else []
    catalogue = following(ISO)
    gap = len(told) == 0 or told[-1].channel_sequence < len(channel.facts)
    held: set[Digest] = set()
    for fact in told:
        journal = Journal()
        catalogue.apply(fact, journal)
        for action in plan(catalogue, journal, held):
            match action:
                case Fetch():
                    held.add(action.entry.sha256)
                case Drop():
                    held.discard(action.sha256)
                case Resync():
                    gap = True
    if gap or catalogue.positions[ISO] < len(channel.facts):
        catalogue.replace(channel.snapshot(), Journal())
    assert wanted(catalogue) == {file.sha256 for file in channel.files.values()}
    assert catalogue.positions[ISO] == len(channel.facts)


@given(steps, st.data())
def test_all_events_in_any_order_lead_to_the_right_files_without_any_snapshot_of_withdrawn_ones(
    story: list[tuple[str, str]], data: st.DataObject
) -> None:
    channel = history(story)
    catalogue = following(ISO)
    for fact in data.draw(st.permutations(channel.facts)):
        catalogue.apply(fact, Journal())
    newest = {fact.path: fact for fact in channel.facts}
    live = {fact.sha256 for fact in newest.values() if isinstance(fact, FilePublished)}
    assert wanted(catalogue) <= live
    catalogue.replace(channel.snapshot(), Journal())
    assert wanted(catalogue) == live


@given(steps)
def test_a_failed_transaction_leaves_no_trace(story: list[tuple[str, str]]) -> None:
    channel = history(story)
    half = len(channel.facts) // 2
    catalogue, untouched = following(ISO), following(ISO)
    for fact in channel.facts[:half]:
        catalogue.apply(fact, Journal())
        untouched.apply(fact, Journal())
    journal = Journal()
    for fact in channel.facts[half:]:
        catalogue.apply(fact, journal)
    catalogue.unfollow(ISO, journal)
    catalogue.roll_back(journal)
    assert dict(catalogue.positions) == dict(untouched.positions)
    assert {key: catalogue.entry(key) for key in journal.entries} == {
        key: untouched.entry(key) for key in journal.entries
    }
    assert wanted(catalogue) == wanted(untouched)
