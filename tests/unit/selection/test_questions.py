"""Who asks the same is given the same question, until anybody else can be sent to him."""

from __future__ import annotations

import tracemalloc
from typing import TYPE_CHECKING

import pytest

from events.envelope import Envelope
from events.names import ChannelName, FilePath, MirrorName
from events.schemas import Availability, SubscriptionRevoked
from selection.policy import questions as questions_module
from selection.policy.answers import Question
from selection.policy.drawing import FEW
from selection.policy.eligible import Eligible
from selection.policy.questions import PLAIN_BYTES, QUESTION_BYTES, Questions
from selection.policy.reservations import Reservations
from selection.policy.rules import Rules
from selection.policy.shares import Shares
from selection.policy.terrain import Terrain
from selection.view.file import PublishedFile

if TYPE_CHECKING:
    from conftest import Story

RULES = Rules(silent_after_s=10.0, load_threshold=1.0, near_km=200.0, hops_max=3)


class Asked:
    """Questions about a fleet that is told on."""

    def __init__(self, story: Story) -> None:
        self.story, self.view = story, story.view()
        self.told = len(story.said)
        terrain = Terrain(RULES, Shares())
        self.eligible = Eligible(self.view, Reservations(), RULES, terrain)
        self.questions = Questions(self.view, self.eligible, terrain)

    def plain(self, path: str, wanted: int = 5, *, secure: bool | None = None) -> Question:
        self.hear()
        self.eligible.catch_up(0.0)
        return self.questions.plain(self.story.file(path), wanted, secure=secure)

    def file(self, path: str) -> PublishedFile:
        self.hear()
        found = self.view.file(FilePath(path))
        assert found is not None
        return found

    def hear(self) -> None:
        said: list[Envelope] = self.story.said[self.told :]
        self.told = len(self.story.said)
        for envelope in said:
            self.view.apply(envelope, heard_s=0.0)

    def names(self, question: Question) -> list[list[str]]:
        numbers_in = self.eligible.weights.numbers_in
        return [sorted(self.view.by_number(number).name for number in numbers_in(pool)) for pool in question.pools]


@pytest.fixture
def asked(story: Story) -> Asked:
    for path in ("a.iso", "b.iso", "c.iso"):
        story.published(path)
    for name in ("ana", "bob"):
        story.serving(name, ("a.iso", "b.iso", "c.iso"))
    return Asked(story)


def test_files_that_the_same_mirrors_hold_are_one_question(asked: Asked) -> None:
    question = asked.plain("a.iso")
    assert asked.names(question) == [["ana", "bob"], []]
    assert asked.plain("a.iso") is asked.plain("b.iso") is question
    assert asked.plain("a.iso", wanted=2) is not question


def test_question_follows_who_has_room_and_who_holds_the_file(asked: Asked) -> None:
    first = asked.plain("a.iso")
    asked.story.load("ana", slots=10, active=10)
    assert asked.names(asked.plain("a.iso")) == [["bob"], []]
    asked.story.load("ana", slots=10, active=0)
    assert asked.plain("a.iso") is first
    asked.story.lost("bob", "b.iso")
    assert asked.names(asked.plain("b.iso")) == [["ana"], []]
    assert asked.plain("a.iso") is first
    asked.story.available("bob", Availability.PAUSED)
    assert asked.names(asked.plain("a.iso")) == [["ana"], []]


def test_file_that_somebody_has_had_for_long_is_found_by_its_digest(asked: Asked) -> None:
    asked.story.published("d.iso")
    asked.story.ready("ana", "d.iso")
    old = asked.file("d.iso")
    asked.story.lost("ana", "d.iso")
    asked.story.withdrawn("d.iso")
    asked.story.published("e.iso")
    asked.story.ready("bob", "e.iso")
    new = asked.file("e.iso")
    asked.eligible.catch_up(0.0)
    assert new.content == old.content, "else this shows nothing"
    assert asked.names(asked.questions.plain(old, 5)) == [[], []]
    assert asked.names(asked.questions.plain(new, 5)) == [["bob"], []]


def test_file_that_somebody_has_had_for_long_is_found_where_it_came_back_to(asked: Asked) -> None:
    for name in ("d.iso", "e.iso"):
        asked.story.published(name)
        asked.story.ready("ana", name)
    old = asked.file("d.iso")
    for name in ("d.iso", "e.iso"):
        asked.story.lost("ana", name)
        asked.story.withdrawn(name)
    asked.story.published("d.iso", generation=2)
    asked.story.ready("bob", "d.iso")
    asked.story.followed("bob")
    assert asked.file("d.iso").content != old.content, "else this shows nothing"
    asked.eligible.catch_up(0.0)
    assert asked.names(asked.questions.plain(old, 5)) == [["bob"], []]


def test_question_leaves_out_whose_quota_is_too_short_for_the_file(asked: Asked) -> None:
    assert asked.names(asked.plain("a.iso")) == [["ana", "bob"], []]
    asked.story.load("ana", slots=10, quota_left_bytes=1)
    assert asked.names(asked.plain("a.iso")) == [["bob"], []]


def test_few_are_told_by_name_and_many_are_not(asked: Asked) -> None:
    for number in range(FEW):
        asked.story.serving(f"m{FEW - number}")
    everybody = asked.plain("a.iso")
    assert everybody.few == ()
    names = [asked.view.by_number(number).name for number in asked.questions.of((0b1111,), 0, 5).few[0].numbers]
    assert names == sorted(names)
    assert asked.questions.of((0b1111,), 1, 5).few == ()


def test_members_of_a_question_reach_to_the_last_mirror_that_there_is_by_now(asked: Asked) -> None:
    asked.hear()
    pool = (1 << FEW + 1) - 1
    for mirrors in (FEW + 1, 4 * FEW):
        asked.eligible.weights.grow(mirrors)
        asked.eligible.weights.order = [*range(mirrors)]
        question = asked.questions.of((pool, 0), 0, 5)
        members = [number for number in range(mirrors) if question.members[number // 8] >> number % 8 & 1]
        assert members == [*range(FEW + 1)]
        assert asked.questions.of((pool, 0), 0, 5) is question
    assert asked.questions.of((pool, 0), 1, 5).members == b""
    assert asked.questions.of((1, 0), 0, 5).members == b""


@pytest.fixture
def looked_for(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> list[FilePath]:
    """The files of which it was worked out whom a visitor may be sent to."""
    found: list[FilePath] = []
    servers = asked.view.servers

    def look(file: PublishedFile) -> int:
        found.append(file.path)
        return servers(file)

    monkeypatch.setattr(asked.view, "servers", look)
    return found


def test_who_asks_in_turns_for_others_and_for_none_asks_nothing_new(asked: Asked, looked_for: list[FilePath]) -> None:
    for wanted in (5, 0, 5, 0, 5):
        asked.plain("a.iso", wanted)
    assert looked_for == ["a.iso", "a.iso"]


def test_size_of_a_file_matters_only_where_a_mirror_is_short_of_quota_for_it(
    asked: Asked, looked_for: list[FilePath]
) -> None:
    asked.story.published("large.iso", size_bytes=1 << 30, body="a.iso")
    assert asked.plain("large.iso") is asked.plain("a.iso")
    assert looked_for == ["large.iso"]
    asked.story.load("ana", slots=10, quota_left_bytes=1 << 20)
    for _ in range(3):
        assert asked.names(asked.plain("large.iso")) == [["bob"], []]
        assert asked.names(asked.plain("a.iso")) == [["ana", "bob"], []]
    assert looked_for == ["large.iso"] * 2
    asked.story.load("bob", slots=10, quota_left_bytes=1 << 20)
    assert asked.names(asked.plain("large.iso")) == [[], []]


def test_who_came_by_https_asks_a_plain_question_and_it_follows_the_urls(
    asked: Asked, looked_for: list[FilePath]
) -> None:
    assert asked.names(asked.plain("a.iso", secure=True)) == [[], []]
    asked.story.online("bob", url="https://bob.example")
    asked.story.inventory("bob", ("a.iso", "b.iso", "c.iso"))
    for _ in range(3):
        assert asked.names(asked.plain("a.iso", secure=True)) == [["bob"], []]
        assert asked.names(asked.plain("a.iso", secure=False)) == [["ana"], []]
        assert asked.names(asked.plain("a.iso")) == [["ana", "bob"], []]
    assert len(looked_for) == 1 + 3


def test_question_leaves_out_who_may_follow_the_channel_no_longer(asked: Asked) -> None:
    assert asked.names(asked.plain("a.iso")) == [["ana", "bob"], []]
    before = asked.eligible.version
    asked.story.master(SubscriptionRevoked(mirror=MirrorName("ana"), channel=ChannelName("iso")))
    assert asked.names(asked.plain("a.iso")) == [["bob"], []]
    assert asked.eligible.version == before


def test_question_is_of_who_holds_a_file_now_where_an_id_of_a_set_is_that_of_another(story: Story) -> None:
    story.published("a.iso")
    story.serving("ana")
    story.serving("bob")
    story.serving("cat", ())
    asked = Asked(story)
    ids = asked.view.parts.contents.held.cells
    before = [*ids]
    assert asked.names(asked.plain("a.iso")) == [["ana", "bob"], []]
    story.lost("bob", "a.iso")
    asked.hear()
    asked.view.dump()  # lets go of sets that nobody is in
    story.ready("cat", "a.iso")
    asked.hear()
    assert [*ids] == before
    assert asked.names(asked.plain("a.iso")) == [["ana", "cat"], []]


def test_all_questions_are_forgotten_before_they_take_too_much_memory(
    asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = asked.plain("a.iso")
    assert asked.questions.of(first.pools, 0, 5) is first
    size_bytes = asked.questions.size_bytes
    assert size_bytes == QUESTION_BYTES + PLAIN_BYTES
    monkeypatch.setattr(questions_module, "QUESTIONS_BYTES_MAX", 4 * size_bytes)
    for wanted in range(6, 20):
        asked.questions.of(first.pools, 0, wanted)
        assert asked.questions.size_bytes <= 5 * size_bytes
    assert asked.plain("a.iso") is not first
    assert asked.questions.size_bytes > 0


def test_memory_that_questions_of_large_sets_take_is_reckoned(asked: Asked) -> None:
    tracemalloc.start()
    try:
        for number in range(500):
            asked.questions.of(((1 << 10_000) - number, (1 << 9_000) - 1), 0, 5)
        taken_bytes, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert taken_bytes <= asked.questions.size_bytes <= 2 * taken_bytes
