"""The smaller parts of the selector, each by itself."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any

import netaddr
import pytest
from mmdb_writer import MMDBWriter

from broker.config import BrokerConfig
from broker.port import Delivery
from events.errors import InvalidNameError
from events.grants import check, derive_key, read
from events.names import ORIGIN, Digest, FilePath, MirrorName, SelectorName
from events.schemas.fields import TIMESTAMP_S_MAX
from selection.claims import CLAIMS_PER_VISITOR_MAX, Claims
from selection.config import SelectorConfig
from selection.geo import GeoFileError, open_places, place_in
from selection.granting import Keys, Terms, grant_for, notice_of, token_for
from selection.hearing import HearingClock
from selection.links import download_url, is_base_url
from selection.place import NOWHERE, Place, great_circle_km
from selection.requests import asked_not_of, path_of
from selection.reservations import NOTHING, Reservations, Reserved
from selection.sequences import SequenceTrack
from selection.unreadables import RENEWED_EVERY_S, REPORTS_PER_SPEAKER_MAX, Unreadables

if TYPE_CHECKING:
    from conftest import Kit, Story

ANA, BOB = MirrorName("ana"), MirrorName("bob")
TERMS = Terms(start_by_s=60, finish_within_s=3600, finish_bytes_per_second=50_000)
SECRET = b"s" * 32


# Distance


@pytest.mark.parametrize(
    ("other", "expected_km"),
    [
        pytest.param((41.15, -8.61), 0, id="the same point"),
        pytest.param((40.42, -3.70), 421, id="Porto to Madrid"),
        pytest.param((-41.15, 171.39), 20015, id="the antipodes"),
    ],
)
def test_distance_is_the_great_circle(other: tuple[float, float], expected_km: float) -> None:
    assert great_circle_km(41.15, -8.61, *other) == pytest.approx(expected_km, abs=1)


def test_distance_crosses_the_date_line_the_short_way() -> None:
    assert great_circle_km(0, 179.5, 0, -179.5) == pytest.approx(111.2, abs=0.1)


# Places


@pytest.fixture
def city_file(tmp_path: Path) -> Path:
    writer = MMDBWriter(ip_version=6, ipv4_compatible=True, database_type="GeoLite2-City")
    nested = {"country": {"iso_code": "PT"}, "location": {"latitude": 41.15, "longitude": -8.61}}
    flat = {"country_code": "no", "latitude": 59.91, "longitude": 10.75}
    writer.insert_network(netaddr.IPSet(["203.0.113.0/24"]), nested)
    writer.insert_network(netaddr.IPSet(["198.51.100.0/24", "2001:db8::/32"]), flat)
    writer.insert_network(netaddr.IPSet(["192.0.2.0/24"]), {"country": {"iso_code": "ES"}})
    writer.to_db_file(str(tmp_path / "city.mmdb"))
    return tmp_path / "city.mmdb"


@pytest.mark.parametrize(
    ("address", "place"),
    [
        pytest.param("203.0.113.9", Place(latitude=41.15, longitude=-8.61, country="PT"), id="nested record"),
        pytest.param("198.51.100.1", Place(latitude=59.91, longitude=10.75, country="NO"), id="flat record"),
        pytest.param("2001:db8::1", Place(latitude=59.91, longitude=10.75, country="NO"), id="IPv6"),
        pytest.param("192.0.2.1", Place(country="ES"), id="country alone"),
        pytest.param("10.0.0.1", NOWHERE, id="private"),
        pytest.param("127.0.0.1", NOWHERE, id="loopback"),
        pytest.param("fd00::1", NOWHERE, id="private IPv6"),
    ],
)
def test_place_is_read_from_a_database_file(city_file: Path, address: str, place: Place) -> None:
    with open_places(city_file) as places:
        assert places.place_of(ip_address(address)) == place
        assert places.place_of(ip_address(address)) == place  # from the cache
        assert places.database.startswith("GeoLite2-City")


def test_ipv6_visitor_is_nowhere_in_a_database_of_ipv4(tmp_path: Path) -> None:
    writer = MMDBWriter(ip_version=4)
    writer.insert_network(netaddr.IPSet(["203.0.113.0/24"]), {"country_code": "PT"})
    writer.to_db_file(str(tmp_path / "v4.mmdb"))
    with open_places(tmp_path / "v4.mmdb") as places:
        assert places.place_of(ip_address("203.0.113.1")) == Place(country="PT")
        assert places.place_of(ip_address("2001:db8::1")) == NOWHERE


def test_without_a_database_nobody_is_anywhere() -> None:
    with open_places(None) as places:
        assert places.place_of(ip_address("203.0.113.9")) == NOWHERE
        assert not places.database


def test_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "city.mmdb"
    path.write_bytes(b"no such thing")
    with pytest.raises(GeoFileError, match=r"city\.mmdb"), open_places(path):
        pass


@pytest.mark.parametrize(
    "record",
    [
        None,
        "Porto",
        {"location": {"latitude": 41.0}},
        {"latitude": float("nan"), "longitude": 0.0},
        {"latitude": 91.0, "longitude": 0.0},
        {"latitude": "north", "longitude": "west"},
        {"country": {"iso_code": 7}, "location": []},
        {"country": "Portugal"},
    ],
)
def test_record_without_a_sound_place_is_nowhere(record: object) -> None:
    assert place_in(record) == NOWHERE


# Reservations


def test_reservations_count_until_a_report_counts_them() -> None:
    reservations = Reservations()
    for sequence in (5, 6, 7):
        reservations.add(ANA, sequence=sequence, size_bytes=100, expires_s=60)
    assert reservations.of(ANA) == Reserved(3, 300)
    reservations.counted(ANA, 6)
    assert reservations.of(ANA) == Reserved(1, 100)
    reservations.counted(ANA, 4)
    assert reservations.of(ANA) == Reserved(1, 100)
    assert reservations.of(BOB) == NOTHING


def test_reservation_ends_when_its_visitor_can_no_longer_come() -> None:
    reservations = Reservations()
    reservations.add(ANA, sequence=1, size_bytes=100, expires_s=60)
    reservations.add(ANA, sequence=2, size_bytes=200, expires_s=61)
    reservations.expire(59.9)
    assert reservations.of(ANA).grants == 2
    reservations.expire(60)
    assert reservations.of(ANA) == Reserved(1, 200)


# Claims


def claim(claims: Claims, address: str, body: bytes, mirror: MirrorName = ANA, *, now_s: float = 0.0) -> bool:
    digest = Digest(body * 32)
    return claims.claim(ip_address(address), digest, mirror, now_s=now_s, expires_s=now_s + 90)


def test_visitor_has_one_place_for_a_content_at_a_mirror_until_it_expires() -> None:
    claims = Claims()
    assert claim(claims, "203.0.113.9", b"a")
    assert not claim(claims, "203.0.113.9", b"a", now_s=89.9)
    assert claim(claims, "203.0.113.10", b"a")
    assert claim(claims, "203.0.113.9", b"b")
    assert claim(claims, "203.0.113.9", b"a", now_s=90)


def test_addresses_of_one_ipv6_network_are_one_visitor() -> None:
    claims = Claims()
    assert claim(claims, "2001:db8::1", b"a")
    assert not claim(claims, "2001:db8::2", b"a")
    assert claim(claims, "2001:db8:0:1::1", b"a")


def test_visitors_places_are_limited_and_free_again_when_they_expire() -> None:
    claims = Claims()
    made = [claim(claims, "203.0.113.9", bytes([number])) for number in range(CLAIMS_PER_VISITOR_MAX + 1)]
    assert made == [True] * CLAIMS_PER_VISITOR_MAX + [False]
    assert claim(claims, "203.0.113.10", b"a")
    assert claim(claims, "203.0.113.9", b"a", now_s=90)


# The hearing clock


def test_clock_stands_still_while_nobody_can_be_heard() -> None:
    clock = HearingClock()
    clock.tick(0.5, hearing=True)
    heard_s = clock.heard()
    for _ in range(100):
        clock.tick(0.5, hearing=False)
    assert clock.now_s - heard_s == 0
    clock.tick(0.5, hearing=True)
    assert clock.now_s - heard_s == 0.5


def test_seconds_before_a_loss_was_noticed_are_taken_back() -> None:
    clock = HearingClock()
    clock.tick(1.0, hearing=True)
    heard_s = clock.heard()
    for _ in range(15):
        clock.tick(1.0, hearing=True)
    assert clock.now_s - heard_s == 15
    clock.tick(1.0, hearing=False)
    assert clock.now_s - heard_s == 0


def test_pause_of_our_own_does_not_make_mirrors_silent() -> None:
    clock = HearingClock()
    clock.tick(3600.0, hearing=True)
    assert clock.now_s == 1.0


# Sequence numbers


def test_gaps_open_and_close_in_any_order() -> None:
    track = SequenceTrack(epoch=0, first=5, last=5)
    for sequence in (9, 2, 7):
        track.note(sequence)
    assert track.gaps == [(3, 4), (6, 6), (8, 8)]
    assert track.missing == 4
    for sequence in (8, 8, 3, 6, 4, 7):
        track.note(sequence)
    assert track.gaps == []


def test_gap_as_wide_as_the_numbers_go_costs_one_entry() -> None:
    track = SequenceTrack(epoch=0, first=1, last=1)
    track.note(2**62)
    track.note(2**61)
    assert len(track.gaps) == 2


# Requests


@pytest.mark.parametrize(
    ("raw", "path"),
    [
        ("/a.iso", "a.iso"),
        ("/dir/a%20b.iso", "dir/a b.iso"),
        ("/%C3%A9.iso", "é.iso"),
        ("/a%252Fb", "a%2Fb"),
        ("/100%25", "100%"),
        ("/a+b", "a+b"),
        ("/a%2Fb", "a/b"),
    ],
)
def test_path_is_decoded_once(raw: str, path: str) -> None:
    assert path_of(raw) == path


@pytest.mark.parametrize(
    "raw",
    [
        "/",
        "//a",
        "/a/",
        "/../etc/passwd",
        "/a/%2e%2e/b",
        "/a/..%2fb",
        "/a%00b",
        "/a%0d%0ab",
        "/a%5cb",
        "/%ff%fe",
        "/%ed%a0%80",
        "/e%CC%81",
        "/-/api/v1/nothing",
        "/" + "a" * 2000,
    ],
)
def test_path_that_no_file_can_have_is_refused(raw: str) -> None:
    with pytest.raises(InvalidNameError):
        path_of(raw)


def test_mirrors_to_leave_out_are_read_once_each_and_nonsense_not_at_all() -> None:
    values = ["ana", "ana", "../x", "", "bob", "cat", "dia"]
    assert asked_not_of(values, hops_max=3) == ("ana", "bob", "cat")


def test_master_may_be_among_those_who_sent_a_visitor_back_and_is_no_hop() -> None:
    assert asked_not_of(["origin", "ana", "bob", "cat"], hops_max=3) == ("ana", "bob", "cat", "origin")


# Links and grants


@pytest.mark.parametrize(
    ("url", "usable"),
    [
        ("https://m.example", True),
        ("http://[2001:db8::1]:8080/base", True),
        ("http://m.example/a?b", False),
        ("http://m.example/#a", False),
        ("http://user:secret@m.example", False),
        ("ftp://m.example", False),
        ("http://m.example:port", False),
        ("http:///path", False),
        ("http://m.example/\r\nX: y", False),
    ],
)
def test_base_url_is_one_that_can_stand_in_a_header(url: str, *, usable: bool) -> None:
    assert is_base_url(url) is usable


def test_link_ends_in_the_files_name_and_carries_the_mirrors_tried() -> None:
    url = download_url("https://m.example/base/", "TOKEN", FilePath("dir/é a?.iso"), (ANA, BOB))
    assert url == "https://m.example/base/d/TOKEN/%C3%A9%20a%3F.iso?not=ana&not=bob"


@pytest.mark.parametrize("mirror", [ANA, ORIGIN])
def test_token_is_for_one_mirror_one_content_and_one_visitor(story: Story, mirror: MirrorName) -> None:
    file = story.published("a.iso", size_bytes=100_000_000)
    visitor = ip_address("203.0.113.9")
    grant = grant_for(file, visitor, TERMS, now_s=1000.9, grant_id=b"g" * 16)
    token = token_for(grant, mirror, Keys(SECRET))
    proven = read(token, mirror=mirror, keys={1: derive_key(SECRET, mirror, 1)})
    assert proven == grant
    assert (proven.start_by_s, proven.finish_by_s) == (1060, 1060 + 3600 + 2000)
    assert proven.sha256 == file.sha256
    check(proven, address=visitor, now_s=1050, started=False)


def test_enormous_file_is_granted_as_long_as_a_token_can_say(story: Story) -> None:
    file = story.published("a.iso", size_bytes=2**62)
    grant = grant_for(file, ip_address("2001:db8::1"), TERMS, now_s=1000, grant_id=b"g" * 16)
    assert grant.finish_by_s == TIMESTAMP_S_MAX
    token_for(grant, ANA, Keys(SECRET))


def test_notice_says_why_each_other_mirror_was_not_chosen(kit: Kit, story: Story) -> None:
    file = story.published("a.iso")
    story.serving("ana")
    story.serving("bob", bodies=[])
    visitor = ip_address("203.0.113.9")
    grant = grant_for(file, visitor, TERMS, now_s=1000, grant_id=b"g" * 16)
    choice = kit.Question(story.view(), file).choice()
    notice = notice_of(grant, file, choice, selector=SelectorName("s"), mirror=ANA, address=visitor)
    assert notice.rejected == {"bob": "no_copy"}
    assert notice.address == "203.0.113.9"


# What could not be read


def delivery(message_id: str) -> Delivery:
    return Delivery(
        exchange="fleet", routing_key="mirror.ana.ready", message_id=message_id, type="x", user_id="ana", body=b""
    )


def test_unusable_message_is_reported_once() -> None:
    unreadables = Unreadables("selector/s")
    for _ in range(3):
        unreadables.note(delivery("m1"), "no event")
    assert [event.message_id for event in unreadables.due(0)] == ["m1"]
    assert unreadables.due(0) == []
    assert unreadables.unreadable == 3


def test_what_the_log_shows_as_reported_is_not_reported_again() -> None:
    first = Unreadables("selector/one")
    first.note(delivery("m1"), "no event")
    (report,) = first.due(0)
    second = Unreadables("selector/two")
    second.note(delivery("m1"), "no event")
    second.note(delivery("m2"), "no event")
    second.reported(report)
    assert [event.message_id for event in second.due(0)] == ["m2"]


def test_mirrors_report_does_not_silence_a_selectors() -> None:
    unreadables = Unreadables("selector/s")
    by_mirror = Unreadables("mirror/ana")
    by_mirror.note(delivery("m1"), "no event")
    unreadables.reported(*by_mirror.due(0))
    unreadables.note(delivery("m1"), "no event")
    assert len(unreadables.due(0)) == 1


def test_flood_of_one_speaker_is_reported_so_often_an_hour_and_hides_nobody_else() -> None:
    unreadables = Unreadables("selector/s")
    for number in range(3 * REPORTS_PER_SPEAKER_MAX):
        unreadables.note(delivery(f"m{number}"), "no event")
    unreadables.note(replace(delivery("by bob"), user_id="bob"), "no event")
    reported = [event.user_id for event in unreadables.due(0)]
    assert (reported.count("ana"), reported.count("bob")) == (REPORTS_PER_SPEAKER_MAX, 1)
    unreadables.note(delivery("too many"), "no event")
    assert unreadables.due(RENEWED_EVERY_S - 1) == []
    unreadables.note(delivery("an hour later"), "no event")
    assert [event.message_id for event in unreadables.due(RENEWED_EVERY_S)] == ["an hour later"]
    assert unreadables.unreadable == 3 * REPORTS_PER_SPEAKER_MAX + 3


# Configuration


def config() -> SelectorConfig:
    return SelectorConfig(
        name=SelectorName("s"),
        master_url="http://127.0.0.1:8081",
        broker=BrokerConfig(url="amqp://guest:guest@127.0.0.1"),
        secret=SECRET,
    )


def test_sound_configuration_has_no_problems() -> None:
    assert config().problems() == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        pytest.param("name", "No!", id="name outside the grammar"),
        pytest.param("secret", b"short", id="short secret"),
        pytest.param("master_url", "", id="no master"),
        pytest.param("master_url", "m.example", id="master without a scheme"),
        pytest.param("site_url", "ftp://m.example", id="site of another scheme"),
        pytest.param("listen_port", 70_000, id="no such port"),
        pytest.param("geoip_file", Path("nowhere.mmdb"), id="missing database"),
        pytest.param("trusted_proxies", ("10.0.0.1/8",), id="no CIDR block"),
        pytest.param("load_threshold", 0.0, id="threshold of nothing"),
        pytest.param("load_threshold", 1.1, id="threshold above all"),
        pytest.param("silent_after_s", 0.0, id="always silent"),
        pytest.param("near_km", -1.0, id="negative ring"),
        pytest.param("finish_within_s", 5, id="finish before start"),
        pytest.param("hops_max", 0, id="no hop"),
    ],
)
def test_each_wrong_value_is_told_by_name(name: str, value: object) -> None:
    fields: dict[str, Any] = {name: value}
    (found,) = replace(config(), **fields).problems()
    assert found.startswith(f"{name}: ")


def test_secret_does_not_show() -> None:
    assert "ssss" not in repr(config())
    assert "guest" not in repr(config())
