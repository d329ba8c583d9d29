"""Many events at once make the view that they make one by one."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from events.codec import encode
from events.envelope import MASTER_SOURCE
from events.names import FilePath, MirrorName
from events.proven import ProvenReader
from events.schemas import EVENT_TYPES, CatalogueRestated, DeclineReason, MirrorInvited, ReplicaDeclined
from selection.view.differences import differences
from selection.view.fleet import FleetView
from selection.view.folding import EXCERPTS, FOLDED, SAYS_NOTHING, TOGETHER_MIN, Folding
from selection.view.snapshot import dump, load

if TYPE_CHECKING:
    from conftest import Kit, Story

READER = ProvenReader(FOLDED, EXCERPTS)
NAMES = ("ana", "bob", "cat")
LOSSES_MAX = 3


def told(story: Story, rng: Random, turns: int) -> None:
    """Let mirrors fetch, lose and list copies of files that come and go."""
    for name in NAMES:
        story.serving(name, [])
    for turn in range(turns):
        name, body = rng.choice(NAMES), f"{rng.randrange(12)}.iso"
        match rng.randrange(12):
            case 0:
                story.published(body, channels=["iso"], generation=turn + 1)
            case 1 | 3 | 4:
                story.lost(name, body)
            case 2:
                story.inventory(name, [f"{rng.randrange(12)}.iso" for _ in range(5)], page_size=3)
            case 5:
                story.online(name)
            case _:
                story.ready(name, body)


def marks(view: FleetView) -> list[int]:
    """By what a view knows an inventory that changes nothing, mirror by mirror."""
    replicas = view.parts.replicas
    mark_of = replicas._mark_of  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - no answer shows it
    return [mark_of(replicas.of(number)) for number in sorted(replicas.told)]


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
    together = FleetView()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("selection.view.replicas.LOSSES_MAX", LOSSES_MAX)
        singly = kit.view_of(said)
        for start in range(0, len(said), size):
            together.apply_all(READER.decode_all([encode(each) for each in said[start : start + size]]))
            marks(together)  # one that was never asked for is not kept up
    assert list(differences(singly, together)) == []
    for mirror in singly.mirrors():
        assert together.copies(together.mirror(mirror.name)) == singly.copies(mirror)
    assert together.missing_events() == singly.missing_events()
    assert marks(together) == marks(load(dump(together))), "a sum that was kept up is the one that is made anew"


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


def test_reasons_of_losses_are_those_of_single_events_where_old_ones_go(
    kit: Kit, story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("selection.view.replicas.LOSSES_MAX", LOSSES_MAX)
    story.serving("ana", [])
    for name in ("one", "two", "three"):
        story.lost("ana", name)
    story.ready("ana", "two")
    story.lost("ana", "four")  # there is room for it: of "two" no reason is kept any more
    view = kit.view_of(story.said[:-5])
    view.apply_all(story.said[-5:])
    assert list(differences(kit.view_of(story.said), view)) == []
    ana = view.mirror(MirrorName("ana"))
    names = ("one", "two", "three", "four")
    assert [name for name in names if view.loss(ana, kit.content(name))] == ["one", "three", "four"]


def test_copy_that_is_told_of_while_the_catalogue_drops_its_content_is_held(kit: Kit, story: Story) -> None:
    story.serving("ana", [])
    story.published("a.iso", body="old")
    view = story.view()
    heard = len(story.said)
    for name in ("old", "one", "two", "three"):
        story.ready("ana", name)
    story.published("a.iso", generation=2, body="new")
    view.apply_all(story.said[heard:])
    assert [name for name in ("old", "new") if view.holders(kit.content(name))] == ["old"]
    assert view.copies(view.mirror(MirrorName("ana"))) == len(("old", "one", "two", "three"))


def test_run_after_a_fact_that_comes_late_is_not_undone_by_it(kit: Kit, story: Story) -> None:
    story.serving("ana", [])
    view = story.view()
    story.ready("ana", "lost")
    late = story.said[-1]
    story.ready("ana", "one")
    view.apply_all(story.said[-1:])
    heard = len(story.said)
    story.lost("ana", "lost")
    for name in ("two", "three", "four"):
        story.ready("ana", name)
    view.apply_all(story.said[heard:])
    view.apply_all([late])
    assert not view.holders(kit.content("lost"))
    assert list(differences(story.view(), view)) == []


def test_run_of_copies_ends_what_was_said_of_why_they_could_not_be_fetched(kit: Kit, story: Story) -> None:
    story.serving("ana", [])
    declined = ReplicaDeclined(
        mirror=MirrorName("ana"),
        sha256=kit.content("one"),
        path=FilePath("one.iso"),
        generation=1,
        reason=DeclineReason.DISK_FULL,
        detail="",
        retry_after_s=60,
    )
    story.mirror("ana", declined)
    view = story.view()
    heard = len(story.said)
    for name in ("one", "two", "three", "four"):
        story.ready("ana", name)
    ana = view.mirror(MirrorName("ana"))
    assert view.declined(ana, kit.content("one")) == declined
    view.apply_all(story.said[heard:])
    assert view.declined(ana, kit.content("one")) is None


def test_run_of_an_older_epoch_that_bears_the_next_numbers_is_none_of_this_one(story: Story) -> None:
    for path in ("one.iso", "two.iso"):
        story.published(path)
    heard = len(story.said)
    for path in ("three.iso", "four.iso", "five.iso", "six.iso"):
        story.published(path)
    late = story.said[heard:]
    story.epochs[MASTER_SOURCE] += 1
    heard = len(story.said)
    for path in ("one.iso", "two.iso"):
        story.published(path, generation=2)
    view = FleetView()
    view.apply_all(story.said[heard:])
    assert late[0].sequence == story.said[-1].sequence + 1
    view.apply_all(late)
    assert sorted(file.path for file in view.catalogue.files()) == ["one.iso", "two.iso"]


def test_run_of_publications_forgets_withdrawals_that_nothing_older_can_follow(story: Story) -> None:
    story.published("a.iso")
    story.joined("ana", channels=[])
    late = story.said[-1]
    story.withdrawn("a.iso")
    view = FleetView()
    view.apply_all(each for each in story.said if each is not late)
    heard = len(story.said)
    view.apply(late, heard_s=0.0)
    assert view.catalogue.withdrawn
    story.published("b.iso")
    story.published("c.iso")
    view.apply_all(story.said[heard:])
    assert not view.catalogue.withdrawn


def test_run_that_says_nothing_of_the_view_was_heard(story: Story) -> None:
    story.joined("ana")
    view = story.view()
    heard = len(story.said)
    for _ in range(TOGETHER_MIN):
        story.master(MirrorInvited(mirror=MirrorName("bob"), channels=(), expires_at_ns=1))
    view.apply_all(story.said[heard:])
    story.published("a.iso")
    view.apply_all(story.said[-2:])
    assert view.missing_events() == {}


def test_what_a_restatement_makes_void_ahead_of_it_is_void_in_a_run(story: Story) -> None:
    """No master says such a thing; whatever one says means the same in a batch."""
    story.joined("ana")
    view = story.view()
    heard = len(story.said)
    restated = len(story.said) + 1
    story.master(CatalogueRestated(generation=1, since=restated + 5))
    story.joined("bob")
    story.published("void.iso")
    story.published("a.iso")
    view.apply_all(story.said[heard:])
    assert [file.path for file in view.catalogue.files()] == ["a.iso"]
    assert view.mirrors() == ()
    assert list(differences(story.view(), view)) == []


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
