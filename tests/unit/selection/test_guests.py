"""Who a simple request comes from, and what is kept of it."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from edge.simple import SimpleRequest, read_simple
from edge.visitors import ForwardedForError, Proxies, parse_proxies
from events.grants import Bound, IPAddress, bind
from selection.answering.guests import Guests
from selection.answering.visit import guest_of
from selection.places.findings import Finding
from selection.places.geo import Places
from selection.policy.visitor import Visitor

PROXY = "127.0.0.1"


class Everywhere:
    """A source that has everybody in one country."""

    def __init__(self, country: str) -> None:
        self.name, self._country = "everywhere", country

    def find(self, address: IPAddress) -> tuple[Finding, int]:  # noqa: ARG002 - the signature of a source
        return Finding(country=self._country), 0


def asking(*fields: str, peer: str = PROXY) -> SimpleRequest:
    lines = "".join(f"{field}\r\n" for field in ("Host: x", *fields))
    found = read_simple(f"GET /a HTTP/1.1\r\n{lines}\r\n".encode(), 0, peer)
    assert found is not None
    return found[0]


@pytest.fixture
def places() -> Places:
    return Places([Everywhere("PT")])


@pytest.fixture
def guests(places: Places) -> Guests:
    return Guests(places, Proxies(parse_proxies(["127.0.0.0/8"])))


@pytest.mark.parametrize("address", ["203.0.113.9", "2001:db8::1", "::1"])
def test_grant_says_of_a_guest_what_it_is_bound_to(address: str) -> None:
    bound, prefix_bits = bind(ip_address(address))
    guest = guest_of(Visitor(ip_address(address)))
    assert guest.bound == Bound(bound.packed, prefix_bits)
    assert (guest.claimant, guest.address) == (int(bound), address)


def test_visitor_is_whom_our_proxy_names_and_comes_as_it_says(guests: Guests) -> None:
    guest = guests.of(asking("X-Forwarded-For: 198.51.100.7", "X-Forwarded-Proto: https"))
    assert guest is not None
    assert (guest.address, guest.visitor.secure, guest.visitor.place.country) == ("198.51.100.7", True, "PT")
    plain = guests.of(asking("X-Forwarded-For: 198.51.100.7"))
    assert plain is not None
    assert plain.visitor.secure is None


def test_who_is_no_proxy_of_ours_is_the_visitor_whatever_he_says(guests: Guests) -> None:
    stranger = asking("X-Forwarded-For: 198.51.100.7", "X-Forwarded-Proto: https", peer="192.0.2.1")
    guest = guests.of(stranger)
    assert guest is not None
    assert (guest.address, guest.visitor.secure) == ("192.0.2.1", None)


def test_fields_that_were_written_twice_are_left_to_others(guests: Guests) -> None:
    assert guests.of(asking("X-Forwarded-For: 198.51.100.7", "x-forwarded-for: 198.51.100.8")) is None


def test_proxy_that_writes_nonsense_is_noticed_each_time(guests: Guests) -> None:
    for _ in range(2):
        with pytest.raises(ForwardedForError):
            guests.of(asking("X-Forwarded-For: unknown"))


def test_guest_stays_the_same_until_places_are_others(guests: Guests, places: Places) -> None:
    request = asking("X-Forwarded-For: 198.51.100.7")
    first = guests.of(request)
    assert guests.of(request) is first
    places.use([Everywhere("ES")])
    second = guests.of(request)
    assert second is not None
    assert second.visitor.place.country == "ES"
