"""Tickets open exactly one file, until their time, for whom they were made."""

from __future__ import annotations

import base64
import hashlib
import hmac
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from events.names import FilePath
from selection.access.tickets import bound_text, bound_to, is_written_so, judge, sign
from selection.access.verdicts import Outcome

KEY = b"k" * 32
PATH = FilePath("videos/a|1 ü.mp4")
EXPIRES_S = 1_800_000_000
VISITOR = ip_address("203.0.113.9")
VISITOR_6 = ip_address("2001:db8:1:2:aaaa::1")


def outcome(ticket: str, path: FilePath = PATH, address: str = "203.0.113.9", now_s: float = EXPIRES_S - 1) -> Outcome:
    return judge(ticket, path, ip_address(address), key=KEY, now_s=now_s)


def test_ticket_is_the_hmac_that_the_page_describes() -> None:
    digest = hmac.new(KEY, f"distributary-ticket/1|{PATH}|{EXPIRES_S}|".encode(), hashlib.sha256).digest()
    signature = base64.urlsafe_b64encode(digest).decode().rstrip("=")
    assert sign(PATH, expires_s=EXPIRES_S, key=KEY) == f"{EXPIRES_S}-{signature}"


@pytest.mark.parametrize("address", ["203.0.113.9", "198.51.100.1", "2001:db8::1"])
def test_ticket_for_anybody_admits_anybody_until_its_time(address: str) -> None:
    ticket = sign(PATH, expires_s=EXPIRES_S, key=KEY)
    assert outcome(ticket, address=address, now_s=EXPIRES_S - 0.5) is Outcome.ADMITTED
    assert outcome(ticket, address=address, now_s=EXPIRES_S) is Outcome.TICKET_EXPIRED


def test_ticket_for_an_address_admits_that_one_alone() -> None:
    ticket = sign(PATH, expires_s=EXPIRES_S, key=KEY, address=VISITOR)
    assert outcome(ticket) is Outcome.ADMITTED
    assert outcome(ticket, address="203.0.113.10") is Outcome.TICKET_WRONG
    assert outcome(ticket, address="2001:db8::1") is Outcome.TICKET_WRONG


def test_ticket_for_an_ipv6_address_admits_its_network_since_temporary_addresses_change() -> None:
    ticket = sign(PATH, expires_s=EXPIRES_S, key=KEY, address=VISITOR_6)
    assert outcome(ticket, address="2001:db8:1:2::7") is Outcome.ADMITTED
    assert outcome(ticket, address="2001:db8:1:3::7") is Outcome.TICKET_WRONG
    assert bound_text(VISITOR_6) == "2001:db8:1:2::"


def test_ticket_that_a_visitor_takes_along_to_a_mirror_opens_nothing_to_others() -> None:
    carried = bound_to(sign(PATH, expires_s=EXPIRES_S, key=KEY), PATH, VISITOR, key=KEY)
    assert outcome(carried) is Outcome.ADMITTED
    assert outcome(carried, now_s=EXPIRES_S) is Outcome.TICKET_EXPIRED
    assert outcome(carried, address="198.51.100.1") is Outcome.TICKET_WRONG
    assert bound_to(carried, PATH, VISITOR, key=KEY) == carried


@given(st.text(max_size=80))
def test_only_what_is_written_as_a_ticket_may_stand_in_a_url(text: str) -> None:
    assert not is_written_so(text)
    assert is_written_so(sign(FilePath("a"), expires_s=len(text), key=KEY))


def test_ticket_for_another_file_opens_nothing() -> None:
    ticket = sign(FilePath("videos/a"), expires_s=EXPIRES_S, key=KEY)
    assert outcome(ticket) is Outcome.TICKET_WRONG


def test_path_with_a_bar_cannot_pass_for_another_time_or_address() -> None:
    bound = sign(FilePath("a"), expires_s=5, key=KEY, address=VISITOR)
    forged = f"{EXPIRES_S}-{bound.partition('-')[2]}"
    assert outcome(forged, FilePath("a|5")) is Outcome.TICKET_WRONG


def test_ticket_under_another_key_opens_nothing() -> None:
    assert outcome(sign(PATH, expires_s=EXPIRES_S, key=b"x" * 32)) is Outcome.TICKET_WRONG


def test_without_a_ticket_the_visitor_is_told_that_he_needs_one() -> None:
    assert outcome("") is Outcome.TICKET_MISSING


@given(st.data())
def test_ticket_altered_in_any_character_opens_nothing(data: st.DataObject) -> None:
    ticket = sign(PATH, expires_s=EXPIRES_S, key=KEY)
    at = data.draw(st.integers(0, len(ticket) - 1))
    instead = data.draw(st.characters().filter(lambda character: character != ticket[at]))
    assert outcome(ticket[:at] + instead + ticket[at + 1 :]) is Outcome.TICKET_WRONG


@pytest.mark.parametrize(
    "spelling",
    [
        pytest.param("0{}", id="leading zero"),
        pytest.param(" {}", id="leading space"),
        pytest.param("{}=", id="padding"),
        pytest.param("{}\n", id="newline"),
        pytest.param("+{}", id="sign"),
        pytest.param("٣{}", id="another script's digit"),
        pytest.param("99999999999{}", id="beyond all time"),
    ],
)
def test_ticket_spelt_otherwise_opens_nothing(spelling: str) -> None:
    assert outcome(spelling.format(sign(PATH, expires_s=EXPIRES_S, key=KEY))) is Outcome.TICKET_WRONG


@given(st.text(max_size=80))
def test_no_text_from_a_stranger_is_a_ticket(text: str) -> None:
    assert outcome(text) in {Outcome.TICKET_WRONG, Outcome.TICKET_MISSING}
