"""Many events at once make the view that they make one by one."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from events.codec import encode
from events.names import FilePath, MirrorName
from events.proven import ProvenReader
from events.schemas import EVENT_TYPES
from selection.view.differences import differences
from selection.view.fleet import FleetView
from selection.view.folding import FOLDED, SAYS_NOTHING, Folding

if TYPE_CHECKING:
    from conftest import Kit, Story

READER = ProvenReader(FOLDED)
NAMES = ("ana", "bob", "cat")


def told(story: Story, rng: Random, turns: int) -> None:
    """Let mirrors fetch, lose and list copies of files that come and go."""
    for name in NAMES:
        story.serving(name, [])
    for turn in range(turns):
        name, body = rng.choice(NAMES), f"{rng.randrange(12)}.iso"
        match rng.randrange(12):
            case 0:
                story.published(body, channels=["iso"], generation=turn + 1)
            case 1:
                story.lost(name, body)
            case 2:
                story.inventory(name, [f"{rng.randrange(12)}.iso" for _ in range(5)], page_size=3)
            case _:
                story.ready(name, body)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32), size=st.integers(1, 120), is_shuffled=st.booleans(), is_repeated=st.booleans())
def test_batches_make_the_view_that_single_events_make(
    kit: Kit, seed: int, size: int, is_shuffled: bool, is_repeated: bool
) -> None:
    rng = Random(seed)  # noqa: S311 - dice of a test
    story = kit.Story()
    told(story, rng, 150)
    said = [*story.said, *rng.choices(story.said, k=20)] if is_repeated else [*story.said]
    if is_shuffled:
        rng.shuffle(said)
    singly, together = kit.view_of(said), FleetView()
    for start in range(0, len(said), size):
        together.apply_all(READER.decode_all([encode(each) for each in said[start : start + size]]))
    assert list(differences(singly, together)) == []
    for mirror in singly.mirrors():
        assert together.copies(together.mirror(mirror.name)) == singly.copies(mirror)
    assert together.missing_events() == singly.missing_events()


def test_every_kind_of_event_is_folded_or_known_to_say_nothing_of_the_fleet() -> None:
    assert set(EVENT_TYPES) == FOLDED | SAYS_NOTHING
    assert not FOLDED & SAYS_NOTHING
    with pytest.raises(TypeError, match="no event"):
        Folding()._learn(int)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - no envelope can hold one


def test_last_word_on_a_content_holds_among_copies_that_are_told_of_together(kit: Kit, story: Story) -> None:
    story.serving("ana", [])
    view = story.view()
    heard = len(story.said)
    for name in ("kept", "lost", "regained"):
        story.ready("ana", name)
    for name in ("lost", "regained"):
        story.lost("ana", name)
    story.ready("ana", "regained")
    view.apply_all(story.said[heard:])
    ana = view.mirror(MirrorName("ana"))
    names = ("kept", "lost", "regained")
    assert [name for name in names if view.holders(kit.content(name))] == ["kept", "regained"]
    assert [name for name in names if view.loss(ana, kit.content(name))] == ["lost"]
    assert view.copies(ana) == 2


def test_inventory_that_lists_other_contents_of_the_same_number_is_not_taken_for_the_same(
    kit: Kit, story: Story
) -> None:
    story.serving("ana", ["one", "two"])
    story.inventory("ana", ["one", "two"])
    story.inventory("ana", ["one", "three"])
    view = FleetView()
    view.apply_all(story.said)
    held = [name for name in ("one", "two", "three") if view.holders(kit.content(name))]
    assert held == ["one", "three"]
    assert view.copies(view.mirror(MirrorName("ana"))) == 2
    assert view.file(FilePath("one")) is None
