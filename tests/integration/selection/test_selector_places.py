"""A running selector knows where visitors are, and heeds a database that is replaced."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import netaddr
import pytest
from mmdb_writer import MMDBWriter

from selection.places.files import open_places

if TYPE_CHECKING:
    from conftest import Selector, Site


def replace_database(path: Path, country: str) -> None:
    writer = MMDBWriter(ip_version=6, ipv4_compatible=True, database_type="Test-Country")
    writer.insert_network(netaddr.IPSet(["203.0.113.0/24"]), {"country": {"iso_code": country}})
    writer.to_db_file(str(path.with_suffix(".new")))
    path.with_suffix(".new").replace(path)


def spoil(path: Path) -> None:
    path.write_bytes(b"<html>")


async def country_seen(selector: Selector) -> str:
    return (await selector.where("a.iso"))["visitor"]["country"]


async def check_of(selector: Selector, name: str) -> dict[str, Any]:
    checks = (await selector.ask("/-/readyz"))["checks"]
    return next(each for each in checks if each["name"] == name)


async def test_country_is_known_without_any_file(memory_site: Site) -> None:
    await memory_site.said.published("a.iso")
    async with memory_site.selector() as selector:
        answer = await selector.ask("/-/api/v1/where", path="a.iso", ip="193.136.1.1")
        assert answer["visitor"]["country"] == "PT"
        assert (await selector.ask("/-/api/v1/status"))["geoip"].startswith("iptocc 3")


async def test_replaced_database_is_heeded_and_a_bad_one_is_told_by_the_probe(
    memory_site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("selection.places.files.LOOK_EVERY_S", 0.01)
    database = tmp_path / "country.mmdb"
    replace_database(database, "PT")
    await memory_site.said.published("a.iso")
    with open_places([database]) as places:
        async with memory_site.selector(places=places) as selector:
            assert await country_seen(selector) == "PT"

            async def is_in_norway() -> bool:
                return await country_seen(selector) == "NO"

            async def is_refused() -> bool:
                return not (await check_of(selector, "places:country.mmdb"))["ok"]

            replace_database(database, "NO")
            await selector.until(is_in_norway)
            spoil(database)
            await selector.until(is_refused)
            assert await is_in_norway()
            ready = await selector.ask("/-/readyz")
            assert (ready["ready"], ready["degraded"]) == (True, True)
