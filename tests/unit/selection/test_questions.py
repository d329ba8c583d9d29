"""Who asks the same is given the same question, until anybody else can be sent to him."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from events.envelope import Envelope
from events.schemas import Availability
from selection.policy import questions as questions_module
from selection.policy.answers import Question
from selection.policy.drawing import FEW
from selection.policy.eligible import Eligible
from selection.policy.questions import Questions
from selection.policy.reservations import Reservations
from selection.policy.rules import Rules
from selection.policy.shares import Shares
from selection.policy.terrain import Terrain

if TYPE_CHECKING:
    from conftest import Story

RULES = Rules(silent_after_s=10.0, load_threshold=1.0, near_km=200.0, hops_max=3)


class Asked:
    """Questions about a fleet that is told on."""

    def __init__(self, story: Story) -> None:
        self.story, self.view = story, story.view()
        self.told = len(story.said)
        self.eligible = Eligible(self.view, Reservations(), RULES, Terrain(RULES, Shares()))
        self.questions = Questions(self.view, self.eligible)

    def plain(self, path: str, wanted: int = 5) -> Question:
        said: list[Envelope] = self.story.said[self.told :]
        self.told = len(self.story.said)
        for envelope in said:
            self.view.apply(envelope, heard_s=0.0)
        self.eligible.catch_up(0.0)
        return self.questions.plain(self.story.file(path), wanted)

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


def test_question_leaves_out_whose_quota_is_too_short_for_the_file(asked: Asked) -> None:
    assert asked.names(asked.plain("a.iso")) == [["ana", "bob"], []]
    asked.story.load("ana", slots=10, quota_left_bytes=1)
    assert asked.names(asked.plain("a.iso")) == [["bob"], []]


def test_few_are_told_by_name_and_many_are_not(asked: Asked) -> None:
    for number in range(FEW):
        asked.story.serving(f"m{FEW - number}")
    everybody = asked.plain("a.iso")
    assert everybody.few == ()
    names = [asked.view.by_number(number).name for number in asked.questions.of((0b1111,), 0, 5).few[0]]
    assert names == sorted(names)
    assert asked.questions.of((0b1111,), 1, 5).few == ()


def test_questions_are_forgotten_before_they_are_too_many(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(questions_module, "QUESTIONS_KEPT", 4)
    first = asked.plain("a.iso")
    assert asked.questions.of(first.pools, 0, 5) is first
    for wanted in range(6, 10):
        asked.questions.of(first.pools, 0, wanted)
    assert asked.questions.of(first.pools, 0, 5) is not first
