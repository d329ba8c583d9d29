"""Files that tell where addresses are, and what happens when they are replaced."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path

import netaddr
import pytest
from mmdb_writer import MMDBWriter
from structlog.testing import capture_logs

from selection.places.database import GeoFileError
from selection.places.files import PlaceFiles, open_places
from selection.places.place import NOWHERE

VISITOR = ip_address("203.0.113.9")


def write_database(path: Path, country: str, *, network: str = "203.0.113.0/24", kind: str = "GeoLite2-City") -> None:
    """Write a database as most tools do: aside, and then into its place."""
    writer = MMDBWriter(ip_version=6, ipv4_compatible=True, database_type=kind)
    writer.insert_network(netaddr.IPSet([network]), {"country": {"iso_code": country}})
    writer.to_db_file(str(path) + ".new")
    Path(str(path) + ".new").replace(path)


def country_of(files: PlaceFiles) -> str:
    return files.places.place_of(VISITOR).country


def overwrite(path: Path, content: bytes) -> None:
    """Write into the file itself, as cp does."""
    path.write_bytes(content)


def content_of(path: Path) -> bytes:
    return path.read_bytes()


def move(path: Path, to: Path) -> None:
    path.replace(to)


async def settle(files: PlaceFiles) -> None:
    """Look twice: a file is read when it has not changed between two looks."""
    await files.look()
    await files.look()


@pytest.fixture
def city(tmp_path: Path) -> Path:
    write_database(tmp_path / "city.mmdb", "PT")
    return tmp_path / "city.mmdb"


def test_place_is_put_together_from_all_files_and_the_registries(city: Path, tmp_path: Path) -> None:
    writer = MMDBWriter(ip_version=4, database_type="GeoLite2-ASN")
    writer.insert_network(netaddr.IPSet(["203.0.113.0/24", "193.136.0.0/15"]), {"autonomous_system_number": 64500})
    writer.to_db_file(str(tmp_path / "asn.mmdb"))
    table = tmp_path / "places.txt"
    table.write_text("203.0.113.0/25 41.15,-8.61\n")
    with open_places([city, tmp_path / "asn.mmdb"], table) as files:
        corrected, by_city, by_registry, ipv6 = (
            files.places.place_of(ip_address(each))
            for each in ("203.0.113.9", "203.0.113.200", "193.136.1.1", "2001:690::1")
        )
        assert (corrected.country, corrected.latitude, corrected.precise) == ("PT", 41.15, True)
        assert (by_city.country, by_city.precise, by_city.asn) == ("PT", False, 64500)
        assert (by_registry.country, by_registry.asn) == ("PT", 64500)
        assert (ipv6.country, ipv6.asn) == ("PT", 0)  # an IPv6 address in a database of IPv4 ones
        assert files.places.database.startswith("1 overrides; city.mmdb (GeoLite2-City, 2")


def test_without_files_the_registries_are_asked() -> None:
    with open_places() as files:
        assert files.places.database.startswith("iptocc 3")
        assert files.places.place_of(VISITOR) == NOWHERE


@pytest.mark.parametrize("content", [b"", b"no such thing"], ids=["empty", "something else"])
def test_file_that_is_no_database_is_refused_at_the_start(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "city.mmdb"
    path.write_bytes(content)
    with pytest.raises(GeoFileError, match=r"city\.mmdb"), open_places([path]):
        pass


def damage(path: Path) -> None:
    """Let the records be nonsense, while the tree above them and the description behind stay as they are."""
    whole = path.read_bytes()
    begin, end = whole.index(b"\x47country") - 1, whole.index(b"\xab\xcd\xefMaxMind.com")
    path.write_bytes(whole[:begin] + b"\xff" * (end - begin) + whole[end:])


def test_database_whose_records_are_damaged_is_refused_at_the_start(city: Path) -> None:
    damage(city)
    with pytest.raises(GeoFileError, match=r"city\.mmdb"), open_places([city]):
        pass


def test_damage_that_shows_later_is_said_once_and_the_visitor_is_placed_by_others(tmp_path: Path) -> None:
    write_database(tmp_path / "city.mmdb", "NO", network="193.136.0.0/15")
    damage(tmp_path / "city.mmdb")
    with open_places([tmp_path / "city.mmdb"]) as files, capture_logs() as logs:
        places = [files.places.place_of(ip_address(each)) for each in ("193.136.1.1", "193.136.2.1")]
    assert [place.country for place in places] == ["PT", "PT"]
    assert [each["event"] for each in logs] == ["places.damaged"]


def test_missing_file_and_unreadable_table_are_refused_at_the_start(city: Path, tmp_path: Path) -> None:
    with pytest.raises(GeoFileError, match=r"none\.mmdb"), open_places([city, tmp_path / "none.mmdb"]):
        pass
    (tmp_path / "places.txt").write_text("203.0.113.0/24\n")
    with (
        pytest.raises(GeoFileError, match=r"places\.txt: line 1: says nothing"),
        open_places([], tmp_path / "places.txt"),
    ):
        pass


async def test_replaced_database_is_used_once_it_has_settled(city: Path) -> None:
    with open_places([city]) as files:
        assert country_of(files) == "PT"
        write_database(city, "NO")
        await files.look()
        assert country_of(files) == "PT"  # it may still be being written
        await files.look()
        assert country_of(files) == "NO"
        assert all(check.ok for check in files.checks())


async def test_database_written_over_in_place_is_used_too_and_harms_nothing_meanwhile(
    city: Path, tmp_path: Path
) -> None:
    write_database(tmp_path / "other.mmdb", "NO")
    with open_places([city]) as files:
        overwrite(city, b"")  # a mapped file that shrinks would end the process
        assert country_of(files) == "PT"  # asked for the first time
        overwrite(city, content_of(tmp_path / "other.mmdb"))
        await settle(files)
        assert country_of(files) == "NO"


async def test_bad_new_file_is_refused_and_said_and_the_old_one_stays_until_a_good_one_comes(city: Path) -> None:
    with open_places([city]) as files:
        overwrite(city, b"<html>Sign in to download</html>")
        await settle(files)
        assert country_of(files) == "PT"
        (check,) = files.checks()
        assert (check.ok, check.vital) == (False, False)
        assert check.name == "places:city.mmdb"
        assert "not a whole database" in check.detail
        await settle(files)
        write_database(city, "NO")
        await settle(files)
        assert country_of(files) == "NO"
        assert all(check.ok for check in files.checks())


async def test_truncated_database_is_refused(city: Path) -> None:
    whole = content_of(city)
    with open_places([city]) as files:
        overwrite(city, whole[: len(whole) // 2])
        await settle(files)
        assert country_of(files) == "PT"
        assert not all(check.ok for check in files.checks())


async def test_vanished_file_is_said_and_what_was_read_stays(city: Path) -> None:
    aside = city.with_name("aside")
    with open_places([city]) as files:
        move(city, aside)
        await files.look()
        assert country_of(files) == "PT"
        (check,) = files.checks()
        assert "No such file" in check.detail
        move(aside, city)
        await files.look()
        assert all(check.ok for check in files.checks())


async def test_replaced_table_is_used(tmp_path: Path) -> None:
    table = tmp_path / "places.txt"
    table.write_text("203.0.113.0/24 PT\n")
    with open_places([], table) as files:
        assert country_of(files) == "PT"
        overwrite(table, b"203.0.113.0/24 NO # moved\n")
        await settle(files)
        assert country_of(files) == "NO"
        overwrite(table, b"203.0.113.0/24 nowhere\n")
        await settle(files)
        assert country_of(files) == "NO"
        (check,) = files.checks()
        assert "line 1: 'nowhere'" in check.detail


def test_no_copy_of_a_database_is_left_behind(city: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "scratch").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "scratch"))
    with open_places([city]) as files:
        assert country_of(files) == "PT"
        assert list((tmp_path / "scratch").iterdir()) == []
