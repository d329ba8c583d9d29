"""Where visitors are, and how far that is from a mirror."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path

import netaddr
import pytest
from mmdb_writer import MMDBWriter

from selection.places.geo import GeoFileError, open_places, place_in
from selection.places.place import NOWHERE, Place, great_circle_km


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
