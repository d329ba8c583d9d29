"""A mirror's configuration is refused as a whole, with every problem named."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from events.names import MirrorName
from events.schemas import Location, Reach
from mirror.config import Family, FetchLimits, MirrorConfig, MirrorCredentials, Serving, url_problem
from selection.answering.links import is_base_url

GOOD = MirrorConfig(
    name=MirrorName("ana"),
    data_folder=Path("ana"),
    credentials=MirrorCredentials(
        mirror=MirrorName("ana"),
        broker_url="amqp://ana:secret-password@broker/site",
        token="secret-token",
        grant_keys={1: bytes(32)},
        master_url="https://master.example",
        site_url="https://site.example",
    ),
)


def place(country: str, *, latitude: float = 41.1) -> Location:
    return Location(latitude=latitude, longitude=-8.6, country=country)


def test_a_good_configuration_has_no_problems() -> None:
    assert GOOD.problems() == []


def test_a_mirror_that_nginx_sends_for_says_so() -> None:
    assert not GOOD.profile("http://ana.example").external
    assert replace(GOOD, serve=Serving.EXTERNAL).profile("http://ana.example").external


def test_a_mirror_that_gives_other_mirrors_no_share_is_no_source() -> None:
    assert GOOD.profile("http://ana.example").peers
    assert not replace(GOOD, peer_share=0).profile("http://ana.example").peers


def test_whom_a_mirror_takes_and_who_comes_first_is_in_its_profile() -> None:
    reach = Reach(countries_excluded=("US",), networks_only=("192.0.2.0/24",))
    profile = replace(GOOD, reach=reach, networks=("192.0.2.0/24",), asn=64500).profile("http://ana.example")
    assert (profile.reach, profile.networks, profile.asn) == (reach, ("192.0.2.0/24",), 64500)


@pytest.mark.parametrize(
    ("url", "families"),
    [
        ("http://192.0.2.7:8082", (True, False)),
        ("http://[2001:db8::7]", (False, True)),
        ("https://ana.example", (True, True)),
    ],
)
def test_the_families_of_a_mirror_are_those_of_its_address_unless_it_says_others(
    url: str, families: tuple[bool, bool]
) -> None:
    profile = GOOD.profile(url)
    assert (profile.ipv4, profile.ipv6) == families
    said = replace(GOOD, families=frozenset({Family.IPV6})).profile(url)
    assert (said.ipv4, said.ipv6) == (False, True)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        pytest.param({"slots": 0}, "slots", id="no slots"),
        pytest.param({"fetches_max": 0}, "fetches_max", id="no fetches"),
        pytest.param({"monthly_bytes": -1}, "monthly_bytes", id="negative quota"),
        pytest.param({"daily_bytes": -1}, "daily_bytes", id="negative quota of a day"),
        pytest.param({"rate_bytes_per_second": 0}, "rate_bytes_per_second", id="no rate"),
        pytest.param({"soft_limit": 0.0}, "soft_limit", id="soft limit at nothing"),
        pytest.param({"reset_day": 32}, "reset_day", id="a month's 32nd"),
        pytest.param({"time_zone": "Lisbon"}, "time_zone: 'Lisbon'", id="no time zone"),
        pytest.param({"hours": "22-7"}, "hours: '22-7'", id="no hours"),
        pytest.param({"peer_share": 1.5}, "peer_share", id="more than all for peers"),
        pytest.param({"peer_slots": -1}, "peer_slots", id="negative slots for peers"),
        pytest.param({"connections_per_address": 0}, "connections_per_address", id="no connections"),
        pytest.param({"disk_bytes_max": -1}, "disk_bytes_max", id="negative disk"),
        pytest.param({"disk_low": 0.95}, "disk_low and disk_high", id="no room between the watermarks"),
        pytest.param({"disk_high": 1.1}, "disk_low and disk_high", id="more disk than there is"),
        pytest.param({"scrub_bytes_per_second": 0}, "scrub_bytes_per_second", id="no scrub rate"),
        pytest.param({"scrub_every_s": 0}, "scrub_every_s", id="scrub without end"),
        pytest.param({"listen_port": 70_000}, "listen_port", id="port out of range"),
        pytest.param({"report_every_s": 0.0}, "report_every_s", id="no heartbeat"),
        pytest.param({"url": "https://a.example/"}, "url", id="slash at the end"),
        pytest.param({"url": "ftp://a.example"}, "url", id="other scheme"),
        pytest.param({"url": "https://u:p@a.example"}, "url", id="user in the URL"),
        pytest.param({"url": "https://münchen.example"}, "url: write its host in ASCII", id="umlaut in the URL"),
        pytest.param({"url": "http://a b.example"}, "url: write it like", id="blank in the URL"),
        pytest.param({"url": "http://a.example:99999"}, "url: write it like", id="port out of range in the URL"),
        pytest.param({"url": "http://a.example?"}, "url: write it without", id="empty query"),
        pytest.param({"url": "http://a.example/" + "x" * 2000}, "the mirror could not announce", id="endless URL"),
        pytest.param({"location": place("pt")}, "country: 'pt': write two capital letters", id="small country"),
        pytest.param({"location": place("PT", latitude=91)}, "the mirror could not announce", id="beyond the pole"),
        pytest.param({"name": MirrorName("bob")}, "name", id="other mirror's credentials"),
        pytest.param({"trusted_proxies": ("10.0.0.1/8",)}, "trusted_proxies", id="bits after the prefix"),
        pytest.param({"networks": ("10.0.0.1/8",)}, "networks", id="bits after the prefix of its own network"),
        pytest.param({"families": frozenset[Family]()}, "families", id="reached by no family"),
        pytest.param({"reach": Reach(countries_only=("de",))}, "countries_only: 'de'", id="small country to take"),
        pytest.param({"reach": Reach(countries_excluded=("X",))}, "countries_excluded: 'X'", id="short country"),
        pytest.param({"reach": Reach(continents_only=("EUR",))}, "continents_only: 'EUR'", id="no continent"),
        pytest.param({"asn": -1}, "the mirror could not announce", id="negative autonomous system"),
        pytest.param({"limits": FetchLimits(retry_first_s=9, retry_max_s=1)}, "limits", id="retries out of order"),
    ],
)
def test_each_problem_names_its_field(changes: dict[str, object], field: str) -> None:
    (problem,) = replace(GOOD, **changes).problems()  # pyright: ignore[reportArgumentType] - the cases name fields
    assert problem.startswith(field)


def test_all_problems_are_named_at_once() -> None:
    assert len(replace(GOOD, slots=0, listen_port=-1, credentials=replace(GOOD.credentials, token="")).problems()) == 3


def test_secrets_are_not_shown() -> None:
    assert "secret" not in repr(GOOD)


@pytest.mark.parametrize("url", ["https://a.example", "http://10.0.0.1:8080/files", "http://[::1]:8080"])
def test_an_address_that_is_taken_is_one_that_visitors_can_be_sent_to(url: str) -> None:
    assert url_problem(url) is None
    assert is_base_url(url)
