"""Where visitors are, and how far that is from a mirror."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from events.grants import IPAddress
from selection.places.blocks import block_of, first_of
from selection.places.countries import country_of
from selection.places.findings import Finding, place_from
from selection.places.geo import Places
from selection.places.overrides import OverrideError, read_overrides
from selection.places.place import NOWHERE, Place, cell_centre, cell_of, great_circle_km
from selection.places.records import finding_in
from selection.places.registry import Registry


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


def test_places_of_one_key_are_in_one_cell_country_and_network() -> None:
    porto = Place(latitude=41.15, longitude=-8.61, country="PT", continent="EU", asn=64500)
    nearby = Place(latitude=41.19, longitude=-8.63, country="PT", continent="EU", asn=64500)
    others = [
        Place(latitude=38.72, longitude=-9.14, country="PT", continent="EU", asn=64500),
        Place(latitude=41.15, longitude=-8.61, country="ES", continent="EU", asn=64500),
        Place(latitude=41.15, longitude=-8.61, country="PT", continent="EU", asn=64501),
        Place(latitude=41.15, longitude=-8.61, country="PT", continent="EU", asn=64500, precise=False),
        Place(country="PT", continent="EU", asn=64500),
        NOWHERE,
    ]
    assert nearby.key == porto.key
    assert len({porto.key, *(other.key for other in others)}) == 1 + len(others)


ROUNDING_DEGREES = 1e-9  # a tenth of a millimetre; a position at an edge is rounded into either cell


@given(st.floats(-90, 90), st.floats(-180, 180))
@example(-2.2e-16, 0.0)
def test_cell_holds_its_position_no_farther_from_the_middle_than_its_corners(latitude: float, longitude: float) -> None:
    middle_latitude, middle_longitude = cell_centre(cell_of(latitude, longitude))
    assert abs(latitude - middle_latitude) <= 1 + ROUNDING_DEGREES
    assert abs((longitude - middle_longitude + 180) % 360 - 180) <= 1 + ROUNDING_DEGREES


def test_country_stands_where_its_people_live() -> None:
    canada = country_of("CA")
    assert canada is not None
    assert canada.continent == "NA"
    assert great_circle_km(canada.latitude, canada.longitude, 43.65, -79.38) < 1000  # Toronto
    assert country_of("ZZ") is None


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        pytest.param(
            {
                "country": {"iso_code": "PT"},
                "continent": {"code": "EU"},
                "location": {"latitude": 41.15, "longitude": -8.61, "accuracy_radius": 20},
            },
            Finding(latitude=41.15, longitude=-8.61, country="PT", continent="EU"),
            id="GeoLite2 city",
        ),
        pytest.param(
            {"country_code": "no", "latitude": "59.91", "longitude": "10.75", "asn": "AS64500"},
            Finding(latitude=59.91, longitude=10.75, country="NO", asn=64500),
            id="flat",
        ),
        pytest.param({"autonomous_system_number": 64500}, Finding(asn=64500), id="GeoLite2 ASN"),
        pytest.param({"country": "PT", "continent": "EU"}, Finding(country="PT", continent="EU"), id="flat country"),
        pytest.param(
            {
                "country": {"iso_code": "US"},
                "location": {"latitude": 37.75, "longitude": -97.82, "accuracy_radius": 1000},
            },
            Finding(country="US"),
            id="the middle of a country is nobody's position",
        ),
    ],
)
def test_record_is_read_in_both_spellings(record: object, expected: Finding) -> None:
    assert finding_in(record) == expected


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
        {"country": "Portugal", "continent": "Europe"},
        {"country": "1\n", "continent_code": "XX"},
        {"asn": "AS4294967296"},
        {"asn": -1},
    ],
)
def test_record_that_makes_no_sense_says_nothing(record: object) -> None:
    assert finding_in(record) == Finding()


def test_country_alone_puts_a_visitor_where_its_people_live() -> None:
    place = place_from([Finding(country="PT")])
    assert (place.country, place.continent, place.precise) == ("PT", "EU", False)
    assert place.latitude == pytest.approx(39.4, abs=1)


def test_first_source_that_knows_is_believed_and_the_others_fill_in() -> None:
    table, network = Finding(country="PT"), Finding(asn=64500)
    city = Finding(latitude=41.1, longitude=-8.6, country="PT", continent="EU")
    place = place_from([table, city, network])
    assert place == Place(latitude=41.1, longitude=-8.6, country="PT", continent="EU", asn=64500)


def test_corrected_country_takes_no_position_of_the_wrong_one() -> None:
    city = Finding(latitude=40.4, longitude=-3.7, country="ES", continent="EU")
    place = place_from([Finding(country="PT"), city])
    assert (place.country, place.precise) == ("PT", False)
    assert place.longitude == pytest.approx(-9, abs=1)


def test_corrected_position_keeps_the_country() -> None:
    city = Finding(latitude=40.4, longitude=-3.7, country="ES", continent="EU")
    place = place_from([Finding(latitude=41.1, longitude=-8.6), city])
    assert place == Place(latitude=41.1, longitude=-8.6, country="ES", continent="EU")


@pytest.mark.parametrize(
    ("address", "country", "continent"),
    [
        pytest.param("193.136.1.1", "PT", "EU", id="IPv4"),
        pytest.param("2001:690::1", "PT", "EU", id="IPv6"),
        pytest.param("10.0.0.1", "", "", id="private"),
        pytest.param("127.0.0.1", "", "", id="loopback"),
        pytest.param("203.0.113.9", "", "", id="for examples"),
        pytest.param("fd00::1", "", "", id="private IPv6"),
    ],
)
def test_without_any_file_the_registries_know_the_country(address: str, country: str, continent: str) -> None:
    place = Places([Registry()]).place_of(ip_address(address))
    assert (place.country, place.continent) == (country, continent)
    assert place == NOWHERE or not place.precise


def test_without_a_source_nobody_is_anywhere() -> None:
    assert Places().place_of(ip_address("193.136.1.1")) == NOWHERE


TABLE = """
# where our friends are
203.0.113.0/24   PT 41.15,-8.61
203.0.113.64/26  ES   # the branch
10.0.0.0/8       de AS64500
2001:db8::/32    -33.9,151.2
"""


@pytest.mark.parametrize(
    ("address", "country", "asn"),
    [
        pytest.param("203.0.113.9", "PT", 0, id="network"),
        pytest.param("203.0.113.65", "ES", 0, id="the longest network counts"),
        pytest.param("203.0.113.128", "PT", 0, id="behind it"),
        pytest.param("10.9.9.9", "DE", 64500, id="number of a network"),
        pytest.param("203.0.114.1", "", 0, id="not in the table"),
    ],
)
@pytest.mark.parametrize("first_asked", ["203.0.113.9", "203.0.113.65", "198.51.100.1"])
def test_table_is_believed_whoever_asked_first(address: str, country: str, asn: int, first_asked: str) -> None:
    places = Places([read_overrides(TABLE.splitlines())])
    places.place_of(ip_address(first_asked))
    place = places.place_of(ip_address(address))
    assert (place.country, place.asn) == (country, asn)


def test_table_gives_positions_of_ipv6_networks() -> None:
    place = Places([read_overrides(TABLE.splitlines())]).place_of(ip_address("2001:db8:9::1"))
    assert (place.latitude, place.longitude, place.precise) == (-33.9, 151.2, True)


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        pytest.param("203.0.113.9/24 PT", "host bits", id="bits after the prefix"),
        pytest.param("here PT", "here", id="no network"),
        pytest.param("10.0.0.0/8", "says nothing", id="nothing known"),
        pytest.param("10.0.0.0/8 QQ", "'QQ'", id="no country"),
        pytest.param("10.0.0.0/8 91,0", "'91,0'", id="off the globe"),
        pytest.param("10.0.0.0/8 AS4294967296", "AS4294967296", id="no number of a network"),
        pytest.param("203.0.113.0/24 PT", "already", id="twice"),
    ],
)
def test_line_that_cannot_be_read_is_told_by_its_number(line: str, problem: str) -> None:
    with pytest.raises(OverrideError, match=problem) as refused:
        read_overrides(["203.0.113.0/24 NO", "", line])
    assert refused.value.line == 3


def test_table_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("selection.places.overrides.OVERRIDES_MAX", 2)
    assert read_overrides(["10.0.0.0/8 PT", "11.0.0.0/8 PT"]).name == "2 overrides"
    with pytest.raises(OverrideError, match="more than 2"):
        read_overrides(["10.0.0.0/8 PT", "11.0.0.0/8 PT", "12.0.0.0/8 PT"])


ADDRESSES = st.ip_addresses()


@given(ADDRESSES)
def test_block_begins_with_its_first_address(address: IPAddress) -> None:
    first = first_of(block_of(address))
    assert first.version == address.version
    assert first <= address  # pyright: ignore[reportOperatorIssue] - of one version
    assert block_of(first) == block_of(address)


class Counting:
    """A source that says one thing and counts the questions."""

    name = "counting"

    def __init__(self, finding: Finding, prefix_bits: int) -> None:
        self.found = finding, prefix_bits
        self.asked = 0

    def find(self, address: IPAddress) -> tuple[Finding, int]:
        del address
        self.asked += 1
        return self.found


@pytest.mark.parametrize(
    ("one", "other", "elsewhere", "prefix_bits"),
    [
        ("203.0.113.9", "203.0.113.10", "203.0.114.9", 24),
        ("2001:db8:1::1", "2001:db8:1:ffff::1", "2001:db8:2::1", 48),
    ],
)
def test_source_is_asked_once_for_a_block_and_equal_places_are_one_object(
    one: str, other: str, elsewhere: str, prefix_bits: int
) -> None:
    source = Counting(Finding(country="PT"), prefix_bits)
    places = Places([source])
    first = places.place_of(ip_address(one))
    assert places.place_of(ip_address(other)) is first
    assert source.asked == 1
    assert places.place_of(ip_address(elsewhere)) is first
    assert source.asked == 2


def test_block_that_a_source_divides_is_asked_about_by_address() -> None:
    source = Counting(Finding(country="PT"), 25)
    places = Places([source])
    for address in ("203.0.113.9", "203.0.113.9", "203.0.113.200"):
        places.place_of(ip_address(address))
    assert source.asked == 3  # the block, and two addresses


def test_new_sources_are_asked_at_once() -> None:
    places = Places([Counting(Finding(country="PT"), 24)])
    assert places.place_of(ip_address("203.0.113.9")).country == "PT"
    places.use([Counting(Finding(country="NO"), 24)])
    assert places.place_of(ip_address("203.0.113.9")).country == "NO"
