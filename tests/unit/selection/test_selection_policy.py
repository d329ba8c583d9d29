"""The six criteria, one by one and in their order."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from events.names import ChannelName, MirrorName, SelectorName
from events.schemas import (
    Access,
    DeclineReason,
    Location,
    MirrorCameOnline,
    MirrorLeft,
    MirrorWentOffline,
    Profile,
    ReplicaDeclined,
    SubscriptionRevoked,
)
from selection.places.place import Place
from selection.policy.choice import RejectReason

if TYPE_CHECKING:
    from conftest import Kit, Story

HTTP_API = Path(__file__).parents[3] / "docs" / "http-api.md"
SELECTOR = SelectorName("sel")
ANA, BOB, CAT = MirrorName("ana"), MirrorName("bob"), MirrorName("cat")
PORTO = Location(latitude=41.15, longitude=-8.61, country="PT")
VIGO = Location(latitude=42.24, longitude=-8.72, country="ES")
MADRID = Location(latitude=40.42, longitude=-3.70, country="ES")
OSLO = Location(latitude=59.91, longitude=10.75, country="NO")
IN_PORTO = Place(latitude=41.15, longitude=-8.61, country="PT")


def test_mirror_that_lacks_nothing_is_chosen(kit: Kit, story: Story) -> None:
    file = story.published("a.iso")
    story.serving("ana")
    choice = kit.Question(story.view(), file).choice()
    assert choice.best is not None
    assert choice.best.mirror == ANA
    assert not choice.fallback
    assert choice.rejected == {}


def test_without_mirrors_the_master_serves(kit: Kit, story: Story) -> None:
    file = story.published("a.iso")
    choice = kit.Question(story.view(), file).choice()
    assert choice.fallback


def test_visitor_outside_the_files_networks_has_no_access_whatever_the_mirror(kit: Kit, story: Story) -> None:
    file = story.published("a.iso", access=Access(networks=("198.51.100.0/24", "2001:db8::/32")))
    story.serving("ana")
    choice = kit.Question(story.view(), file, address="203.0.113.9").choice()
    assert not choice.access
    assert not choice.fallback
    assert choice.rejected[ANA].reason is RejectReason.NO_ACCESS


@pytest.mark.parametrize("address", ["198.51.100.77", "2001:db8::1"])
def test_visitor_inside_the_files_networks_has_access(kit: Kit, story: Story, address: str) -> None:
    file = story.published("a.iso", access=Access(networks=("198.51.100.0/24", "2001:db8::/32")))
    story.serving("ana")
    assert kit.Question(story.view(), file, address=address).choice().ranked[0].mirror == ANA


def test_mirror_that_follows_no_channel_of_the_file_is_rejected(kit: Kit, story: Story) -> None:
    file = story.published("a.iso", channels=["beta"])
    story.serving("ana")
    rejection = kit.Question(story.view(), file).choice().rejected[ANA]
    assert rejection.reason is RejectReason.NOT_SUBSCRIBED
    assert "beta" in rejection.detail


def test_revoked_subscription_ends_the_leave_to_serve(kit: Kit, story: Story) -> None:
    file = story.published("a.iso")
    story.serving("ana")
    story.master(SubscriptionRevoked(mirror=ANA, channel=ChannelName("iso")))
    assert kit.Question(story.view(), file).reason("ana") == "not_subscribed"


def test_channel_that_still_holds_the_old_generation_gives_no_leave_for_the_new_one(kit: Kit, story: Story) -> None:
    story.published("a.iso", body="old")
    file = story.published("a.iso", channels=[], generation=2, body="new")
    story.serving("ana", ["old", "new"])
    assert kit.Question(story.view(), file).reason("ana") == "not_subscribed"


def test_mirror_without_a_copy_is_rejected(kit: Kit, story: Story) -> None:
    file = story.published("a.iso")
    story.serving("ana", bodies=[])
    assert kit.Question(story.view(), file).reason("ana") == "no_copy"


def test_lost_copy_is_told_with_its_reason(kit: Kit, story: Story) -> None:
    file = story.published("a.iso")
    story.serving("ana")
    story.lost("ana", "a.iso")
    rejection = kit.Question(story.view(), file).choice().rejected[ANA]
    assert rejection.reason is RejectReason.NO_COPY
    assert "corrupt" in rejection.detail


def test_declined_fetch_is_told_with_its_reason(kit: Kit, story: Story) -> None:
    file = story.published("a.iso")
    story.serving("ana", bodies=[])
    declined = ReplicaDeclined(
        mirror=ANA,
        sha256=file.sha256,
        path=file.path,
        generation=1,
        reason=DeclineReason.DISK_FULL,
        detail="0 of 1000 bytes are free",
        retry_after_s=30,
    )
    story.mirror("ana", declined)
    rejection = kit.Question(story.view(), file).choice().rejected[ANA]
    assert rejection.reason is RejectReason.FETCH_DECLINED
    assert "disk is full: 0 of 1000 bytes are free" in rejection.detail


def test_mirror_that_has_never_come_online_is_rejected(kit: Kit, story: Story) -> None:
    file = story.published("a.iso")
    story.joined("ana")
    story.ready("ana", "a.iso")
    story.load("ana")
    assert kit.Question(story.view(), file).reason("ana") == "never_online"


def test_mirror_that_went_offline_is_rejected(kit: Kit, story: Story) -> None:
    file = story.published("a.iso")
    story.serving("ana")
    story.mirror("ana", MirrorWentOffline(mirror=ANA, reason="stopped"))
    rejection = kit.Question(story.view(), file).choice().rejected[ANA]
    assert rejection.reason is RejectReason.OFFLINE
    assert rejection.detail == "stopped"


def test_mirror_that_came_back_is_rejected_until_its_inventory_is_complete(kit: Kit, story: Story) -> None:
    file = story.published("a.iso")
    story.serving("ana")
    story.online("ana")
    assert kit.Question(story.view(), file).reason("ana") == "inventory_incomplete"
    story.inventory("ana", ["a.iso", "b.iso"], page_size=1, skip_page=2)
    assert kit.Question(story.view(), file).reason("ana") == "inventory_incomplete"
    story.inventory("ana", ["a.iso", "b.iso"], page_size=1)
    assert kit.Question(story.view(), file).choice().ranked[0].mirror == ANA


def test_mirror_that_never_reported_its_load_is_rejected(kit: Kit, story: Story) -> None:
    file = story.published("a.iso")
    story.joined("ana")
    story.online("ana")
    story.inventory("ana", ["a.iso"])
    assert kit.Question(story.view(), file).reason("ana") == "silent"


@pytest.mark.parametrize(("now_s", "rejected"), [(10.0, False), (10.1, True)])
def test_mirror_is_silent_when_its_last_report_is_too_old(
    kit: Kit, story: Story, now_s: float, *, rejected: bool
) -> None:
    file = story.published("a.iso")
    story.serving("ana")
    choice = kit.Question(story.view(), file, now_s=now_s).choice()
    assert (ANA in choice.rejected) is rejected


@pytest.mark.parametrize(
    "url",
    ["http://ana.example/\r\nSet-Cookie: x", "javascript:alert(1)", "", "http://", "http://a:b@c/", "http://x:99999/"],
)
def test_mirror_whose_url_no_visitor_can_follow_is_rejected(kit: Kit, story: Story, url: str) -> None:
    file = story.published("a.iso")
    story.joined("ana")
    story.mirror("ana", MirrorCameOnline(mirror=ANA, profile=Profile(url=url, slots=1)))
    story.inventory("ana", ["a.iso"])
    story.load("ana")
    assert kit.Question(story.view(), file).reason("ana") == "url_unusable"


@pytest.mark.parametrize(
    ("active", "reserved", "granted", "full"),
    [
        pytest.param(10, 0, 0, True, id="all active"),
        pytest.param(6, 4, 0, True, id="reserved count"),
        pytest.param(5, 3, 2, True, id="own grants count"),
        pytest.param(5, 3, 1, False, id="one is free"),
    ],
)
def test_mirror_without_a_free_slot_is_rejected(
    kit: Kit, story: Story, active: int, reserved: int, granted: int, *, full: bool
) -> None:
    file = story.published("a.iso")
    story.serving("ana")
    story.load("ana", slots=10, active=active, reserved=reserved)
    question = kit.Question(story.view(), file)
    for sequence in range(granted):
        question.reservations.add(ANA, selector=SELECTOR, sequence=sequence, size_bytes=1, expires_s=1)
    choice = question.choice()
    if full:
        assert choice.rejected[ANA].reason is RejectReason.FULL
        assert f"{active} active, {reserved} reserved, {granted} granted" in choice.rejected[ANA].detail
    else:
        assert choice.ranked[0].free_slots == 1


@pytest.mark.parametrize(("slots", "active", "full"), [(10, 7, False), (10, 8, True), (1, 0, False), (1, 1, True)])
def test_threshold_leaves_its_share_of_the_slots_unused(
    kit: Kit, story: Story, slots: int, active: int, *, full: bool
) -> None:
    file = story.published("a.iso")
    story.serving("ana")
    story.load("ana", slots=slots, active=active)
    question = kit.Question(story.view(), file)
    question.rules = type(question.rules)(silent_after_s=10, load_threshold=0.8, near_km=200, hops_max=3)
    assert (ANA in question.choice().rejected) is full


@pytest.mark.parametrize(
    ("left_bytes", "granted_bytes", "spent"),
    [
        pytest.param(1000, 0, False, id="just enough"),
        pytest.param(999, 0, True, id="a byte too little"),
        pytest.param(1500, 501, True, id="own grants count"),
        pytest.param(None, 10**12, False, id="no limit"),
    ],
)
def test_mirror_with_too_little_quota_for_the_file_is_rejected(
    kit: Kit, story: Story, left_bytes: int | None, granted_bytes: int, *, spent: bool
) -> None:
    file = story.published("a.iso", size_bytes=1000)
    story.serving("ana")
    story.load("ana", quota_left_bytes=left_bytes)
    question = kit.Question(story.view(), file)
    question.reservations.add(ANA, selector=SELECTOR, sequence=1, size_bytes=granted_bytes, expires_s=1)
    choice = question.choice()
    assert (ANA in choice.rejected) is spent
    if spent:
        assert choice.rejected[ANA].reason is RejectReason.QUOTA_SPENT


def test_nearest_mirror_is_chosen_and_farther_ones_are_told_how_far(kit: Kit, story: Story) -> None:
    file = story.published("a.iso")
    story.serving("ana", location=PORTO)
    story.serving("bob", location=OSLO, slots=1000)
    story.serving("cat", location=MADRID, slots=1000)
    choice = kit.Question(story.view(), file, place=IN_PORTO).choice()
    assert [candidate.mirror for candidate in choice.ranked] == [ANA, CAT, BOB]
    assert choice.rejected[BOB].reason is RejectReason.FARTHER
    assert choice.rejected[CAT].detail == "421 km away, in ES and not in PT"


def test_near_equals_share_by_free_slots(kit: Kit, story: Story) -> None:
    file = story.published("a.iso")
    story.serving("ana", location=PORTO, slots=30)
    story.serving("bob", location=PORTO, slots=10)
    view = story.view()
    choices = [kit.Question(view, file, place=IN_PORTO, seed=seed).choice() for seed in range(2000)]
    chosen = Counter(choice.ranked[0].mirror for choice in choices)
    assert 2.5 < chosen[ANA] / chosen[BOB] < 3.6
    assert {choice.rejected[choice.ranked[1].mirror].reason for choice in choices} == {RejectReason.NEAR_EQUAL}


def test_among_near_ones_the_visitors_own_country_comes_first(kit: Kit, story: Story) -> None:
    file = story.published("a.iso")
    story.serving("ana", location=PORTO, slots=1)
    story.serving("bob", location=VIGO, slots=1000)
    near_braga = Place(latitude=41.7, longitude=-8.4, country="PT")
    choice = kit.Question(story.view(), file, place=near_braga).choice()
    assert choice.ranked[0].mirror == ANA
    assert choice.rejected[BOB].reason is RejectReason.FARTHER


def test_own_country_does_not_beat_a_mirror_that_is_much_nearer(kit: Kit, story: Story) -> None:
    file = story.published("a.iso")
    story.serving("ana", location=Location(latitude=37.02, longitude=-7.93, country="PT"))
    story.serving("bob", location=VIGO)
    in_valenca = Place(latitude=42.03, longitude=-8.64, country="PT")
    assert kit.Question(story.view(), file, place=in_valenca).choice().ranked[0].mirror == BOB


def test_visitor_of_known_country_and_unknown_position_gets_that_country_first(kit: Kit, story: Story) -> None:
    file = story.published("a.iso")
    story.serving("ana", location=PORTO, slots=1)
    story.serving("bob", location=MADRID, slots=1000)
    choice = kit.Question(story.view(), file, place=Place(country="PT")).choice()
    assert choice.ranked[0].mirror == ANA
    assert choice.ranked[0].distance_km is None


def test_visitor_of_unknown_place_draws_among_all(kit: Kit, story: Story) -> None:
    file = story.published("a.iso")
    story.serving("ana", location=PORTO)
    story.serving("bob", location=OSLO)
    view = story.view()
    chosen = {kit.Question(view, file, seed=seed).choice().ranked[0].mirror for seed in range(50)}
    assert chosen == {ANA, BOB}


def test_mirror_of_unknown_place_comes_after_all_others(kit: Kit, story: Story) -> None:
    file = story.published("a.iso")
    story.serving("ana", slots=1000)
    story.serving("bob", location=OSLO, slots=1)
    choice = kit.Question(story.view(), file, place=IN_PORTO).choice()
    assert [candidate.mirror for candidate in choice.ranked] == [BOB, ANA]


def test_mirror_that_sent_the_visitor_back_is_left_out(kit: Kit, story: Story) -> None:
    file = story.published("a.iso")
    story.serving("ana")
    story.serving("bob")
    choice = kit.Question(story.view(), file, asked_not=frozenset({ANA})).choice()
    assert choice.ranked[0].mirror == BOB
    assert choice.rejected[ANA].reason is RejectReason.ASKED_NOT


def test_after_three_mirrors_sent_the_visitor_back_the_master_serves(kit: Kit, story: Story) -> None:
    file = story.published("a.iso")
    story.serving("ana")
    gone = frozenset({MirrorName("x"), MirrorName("y"), MirrorName("z")})
    choice = kit.Question(story.view(), file, asked_not=gone).choice()
    assert choice.fallback
    assert choice.rejected[ANA].reason is RejectReason.HOPS_SPENT


def test_first_criterion_that_fails_is_the_reason(kit: Kit, story: Story) -> None:
    file = story.published("a.iso", access=Access(networks=("198.51.100.0/24",)))
    story.joined("ana", channels=[])
    reasons: list[str] = []

    def ask(address: str = "198.51.100.1") -> None:
        reasons.append(kit.Question(story.view(), file, address=address).reason("ana"))

    ask("203.0.113.9")
    ask()
    story.joined("ana")
    ask()
    story.ready("ana", "a.iso")
    ask()
    story.online("ana")
    ask()
    story.inventory("ana", ["a.iso"])
    ask()
    story.load("ana", slots=1, active=1, quota_left_bytes=0)
    ask()
    story.load("ana", slots=1, quota_left_bytes=0)
    ask()
    assert reasons == [
        "no_access",
        "not_subscribed",
        "no_copy",
        "never_online",
        "inventory_incomplete",
        "silent",
        "full",
        "quota_spent",
    ]
    by_code = {reason.code: reason.criterion for reason in RejectReason}
    assert [by_code[code] for code in reasons] == [1, 2, 2, 3, 3, 3, 4, 5]


def test_mirror_that_left_is_no_part_of_the_choice(kit: Kit, story: Story) -> None:
    file = story.published("a.iso")
    story.serving("ana")
    story.master(MirrorLeft(mirror=ANA, reason="moved"))
    choice = kit.Question(story.view(), file).choice()
    assert choice.fallback
    assert choice.rejected == {}


@pytest.mark.parametrize("reason", RejectReason, ids=lambda reason: reason.code)
def test_reason_is_documented_with_its_criterion_and_sentence(reason: RejectReason) -> None:
    assert f"| `{reason.code}` | {reason.criterion} | {reason.text} |" in HTTP_API.read_text()


def test_reasons_are_in_the_order_of_their_criteria() -> None:
    criteria = [reason.criterion for reason in RejectReason]
    assert criteria == sorted(criteria)


def test_every_reason_has_a_code_of_its_own_and_a_sentence() -> None:
    assert len({reason.code for reason in RejectReason}) == len(RejectReason)
    assert all(reason.text and 0 <= reason.criterion <= 6 for reason in RejectReason)
