"""What a mirror is to hold and does not, as the selector tells it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

import msgspec

from events.names import HELD_PREFIX, FilePath, MirrorName
from events.schemas import DeclineReason, ReplicaDeclined
from selection.answering import answers
from selection.answering.surface.shortfalls import FILES_AT_ONCE, Shortfalls, count_all
from selection.policy.reservations import Reservations
from selection.policy.rules import Rules
from selection.policy.standing import Standing

if TYPE_CHECKING:
    from conftest import Kit, Story

RULES = Rules(silent_after_s=10.0, load_threshold=1.0, near_km=200.0, hops_max=3)


def told(story: Story) -> list[dict[str, object]]:
    """Give what is told of each mirror, as far as it is of interest here."""
    view = story.view()
    answer = answers.mirrors(Standing(view, Reservations(), RULES, 0.0), count_all(view))
    mirrors = cast("list[dict[str, object]]", msgspec.to_builtins(answer.mirrors))
    return [{key: each[key] for key in ("wanted", "missing", "declined")} for each in mirrors]


def decline(kit: Kit, story: Story, path: str, *, prefix: str = "") -> None:
    """Let ana say that she cannot fetch a file."""
    event = ReplicaDeclined(
        mirror=MirrorName("ana"), sha256=kit.content(path), path=FilePath(prefix + path), generation=1,
        reason=DeclineReason.DISK_FULL, detail="6 GB are given", retry_after_s=1.0,
    )  # fmt: skip
    story.mirror("ana", event)


def test_mirror_that_holds_all_of_its_channels_lacks_nothing(story: Story) -> None:
    story.published("a.iso")
    story.published("b.iso", body="a.iso")  # the same content: one copy serves both
    story.published("other.iso", channels=("other",))
    story.serving("ana")
    assert told(story) == [{"wanted": 1, "missing": 0, "declined": None}]


def test_what_a_mirror_declined_and_still_lacks_is_told_with_an_example(kit: Kit, story: Story) -> None:
    for path in ("a.iso", "b.iso", "c.iso", "d.iso"):
        story.published(path)
    story.serving("ana")
    for path in ("a.iso", "b.iso", "c.iso"):
        decline(kit, story, path)
    story.ready("ana", "c.iso")
    declined = {"files": 1, "path": "b.iso", "reason": "disk_full", "text": "the mirror's disk is full"}
    assert told(story) == [{"wanted": 4, "missing": 2, "declined": {**declined, "detail": "6 GB are given"}}]


def test_what_was_declined_while_it_was_held_is_told_by_the_path_that_visitors_know(kit: Kit, story: Story) -> None:
    story.published("b.iso")
    story.serving("ana")
    decline(kit, story, "b.iso", prefix=HELD_PREFIX)
    (mirror,) = told(story)
    assert cast("dict[str, object]", mirror["declined"])["path"] == "b.iso"


async def test_count_in_slices_is_the_same_and_serves_all_who_wait_for_it(story: Story) -> None:
    for number in range(2 * FILES_AT_ONCE + 1):
        story.published(f"{number:04}.iso")
    story.serving("ana")
    story.ready("ana", "0000.iso")
    view = story.view()
    shortfalls = Shortfalls(view)
    found, again = await asyncio.gather(shortfalls.now(), shortfalls.now())
    assert found is again
    assert found == count_all(view)
    assert (found[MirrorName("ana")].wanted, found[MirrorName("ana")].missing) == (401, 400)


def test_content_under_two_paths_counts_once_for_each_mirror_that_follows_either(story: Story) -> None:
    story.published("a.iso")
    story.published("b.iso", body="a.iso", channels=("iso", "other"))
    story.serving("ana")
    story.joined("bob", channels=("other",))
    story.joined("cat", channels=("iso", "other"))
    nothing_fetched = {"wanted": 1, "missing": 1, "declined": None}
    assert told(story) == [{"wanted": 1, "missing": 0, "declined": None}, nothing_fetched, nothing_fetched]
