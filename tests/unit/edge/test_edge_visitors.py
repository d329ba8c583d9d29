"""Who is asking: only our own proxies are believed."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.visitors import ForwardedForError, Proxies, came_by_https, parse_proxies, visitor_address

PROXIES = parse_proxies(["10.0.0.0/8", "2001:db8:ffff::/48"])

CASES: dict[str, tuple[str, list[str], str]] = {
    "direct": ("203.0.113.9", [], "203.0.113.9"),
    "direct, IPv6": ("2001:db8::9", [], "2001:db8::9"),
    "direct, mapped": ("::ffff:203.0.113.9", [], "203.0.113.9"),
    "direct, with a zone": ("fe80::1%eth0", [], "fe80::1"),
    "stranger with a header of his own": ("203.0.113.9", ["192.0.2.1"], "203.0.113.9"),
    "stranger who claims to be a proxy": ("203.0.113.9", ["192.0.2.1, 10.0.0.1"], "203.0.113.9"),
    "one proxy": ("10.0.0.1", ["203.0.113.9"], "203.0.113.9"),
    "mapped proxy": ("::ffff:10.0.0.1", ["203.0.113.9"], "203.0.113.9"),
    "IPv6 proxy": ("2001:db8:ffff::1", ["2001:db8::9"], "2001:db8::9"),
    "two proxies": ("10.0.0.1", ["203.0.113.9, 10.0.0.2"], "203.0.113.9"),
    "two fields are one list": ("10.0.0.1", ["203.0.113.9", "10.0.0.2"], "203.0.113.9"),
    "spoofed entry on the left": ("10.0.0.1", ["192.0.2.1, 203.0.113.9"], "203.0.113.9"),
    "spoofed proxy on the left": ("10.0.0.1", ["192.0.2.1, 10.0.0.7, 203.0.113.9, 10.0.0.2"], "203.0.113.9"),
    "spoofed nonsense on the left": ("10.0.0.1", ["<script>, 203.0.113.9"], "203.0.113.9"),
    "spoofed field before": ("10.0.0.1", ["192.0.2.1", "203.0.113.9"], "203.0.113.9"),
    "forwarded, mapped": ("10.0.0.1", ["::ffff:203.0.113.9"], "203.0.113.9"),
    "mapped proxy in the list": ("10.0.0.1", ["203.0.113.9, ::ffff:10.0.0.2"], "203.0.113.9"),
    "proxy asking for itself": ("10.0.0.1", [], "10.0.0.1"),
    "proxies alone": ("10.0.0.1", ["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
    "spaces and empty entries": ("10.0.0.1", [" , 203.0.113.9 ,, "], "203.0.113.9"),
}


@pytest.mark.parametrize(("peer", "fields", "expected"), CASES.values(), ids=CASES.keys())
def test_visitor_is_the_first_that_is_no_proxy_of_ours(peer: str, fields: list[str], expected: str) -> None:
    assert visitor_address(peer, fields, PROXIES) == ip_address(expected)


@pytest.mark.parametrize(("peer", "fields", "expected"), CASES.values(), ids=CASES.keys())
def test_who_remembers_his_proxies_finds_the_same_visitor(peer: str, fields: list[str], expected: str) -> None:
    assert Proxies(PROXIES).visitor(peer, fields) == ip_address(expected)


@pytest.mark.parametrize("entry", ["unknown", "10.0.0.2, unknown", "203.0.113.9:4711"])
def test_who_remembers_his_proxies_reports_their_nonsense(entry: str) -> None:
    with pytest.raises(ForwardedForError):
        Proxies(PROXIES).visitor("10.0.0.1", [entry])


def test_without_proxies_no_header_is_believed() -> None:
    assert visitor_address("10.0.0.1", ["203.0.113.9"], ()) == ip_address("10.0.0.1")


@pytest.mark.parametrize("entry", ["unknown", "203.0.113.9:4711", "_hidden", "[2001:db8::1]"])
def test_nonsense_that_a_proxy_appended_is_reported(entry: str) -> None:
    with pytest.raises(ForwardedForError) as caught:
        visitor_address("10.0.0.1", [f"203.0.113.9, {entry}"], PROXIES)
    assert caught.value.entry == entry


@pytest.mark.parametrize("text", ["10.0.0.1/8", "everywhere", ""])
def test_proxy_that_is_no_network_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"network|host bits"):
        parse_proxies([text])


@given(st.ip_addresses(), st.lists(st.text(max_size=60), max_size=3))
def test_stranger_is_known_by_his_own_address_whatever_he_writes(peer: object, fields: list[str]) -> None:
    assert visitor_address(str(peer), fields, ()) == visitor_address(str(peer), [], ())


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=40), max_size=3))
def test_what_a_visitor_writes_before_our_proxies_entries_changes_nothing(written: list[str]) -> None:
    through_two = [*written, "203.0.113.9", "10.0.0.2"]
    assert visitor_address("10.0.0.1", through_two, PROXIES) == ip_address("203.0.113.9")
    assert not came_by_https("10.0.0.1", through_two, [*written, "http", "http"], PROXIES)
    assert came_by_https("10.0.0.1", through_two, [*written, "https", "http"], PROXIES)


@pytest.mark.parametrize(
    ("peer", "forwarded_for", "forwarded_proto", "expected"),
    [
        pytest.param("10.0.0.1", ["203.0.113.9"], ["https"], True, id="our proxy speaks TLS"),
        pytest.param("10.0.0.1", ["203.0.113.9"], ["HTTPS"], True, id="in capitals"),
        pytest.param("10.0.0.1", ["203.0.113.9"], ["http"], False, id="our proxy speaks none"),
        pytest.param("10.0.0.1", ["203.0.113.9"], [], False, id="our proxy says nothing"),
        pytest.param("203.0.113.9", [], ["https"], False, id="a stranger says so himself"),
        pytest.param("203.0.113.9", ["10.0.0.1"], ["https"], False, id="a stranger says so through a proxy he made up"),
        pytest.param("10.0.0.1", ["203.0.113.9"], ["https, http"], False, id="a stranger's word before the proxy's"),
        pytest.param("10.0.0.1", ["203.0.113.9"], ["https", "http"], False, id="in a field of his own"),
        pytest.param("10.0.0.1", ["203.0.113.9, 10.0.0.2"], ["https, http"], True, id="TLS ends at the outer proxy"),
        pytest.param("10.0.0.1", ["203.0.113.9, 10.0.0.2"], ["http, https"], False, id="TLS between proxies alone"),
        pytest.param("10.0.0.1", ["203.0.113.9, 10.0.0.2"], ["https"], True, id="the inner proxy passes it on"),
        pytest.param("10.0.0.1", ["203.0.113.9"], ["gopher"], False, id="nonsense"),
    ],
)
def test_only_our_proxies_tell_that_a_visitor_came_by_https(
    peer: str, forwarded_for: list[str], forwarded_proto: list[str], expected: bool
) -> None:
    assert came_by_https(peer, forwarded_for, forwarded_proto, PROXIES) is expected
