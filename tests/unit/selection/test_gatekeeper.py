"""The first criterion for each mode of access, where the site need not be asked."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final

import pytest
from aiohttp.test_utils import make_mocked_request

from events.names import FilePath
from events.schemas import PUBLIC, Access, AccessMode
from selection.access.asker import Asker
from selection.access.gatekeeper import Gatekeeper, asker_of
from selection.access.networks import is_listed
from selection.access.tickets import sign
from selection.access.verdicts import ADMITTED, Outcome

KEY: Final = b"k" * 32
NOW_S: Final = 1_700_000_000
VISITOR: Final = ip_address("203.0.113.9")
PATH: Final = FilePath("a.iso")
BY_TICKET: Final = Access(mode=AccessMode.TICKET)


@dataclass(frozen=True)
class Guarded:
    access: Access
    path: FilePath = PATH


def keeper(key: bytes | None = KEY) -> Gatekeeper:
    return Gatekeeper(ticket_key=key, clock_s=lambda: NOW_S)


def asker(ticket: str = "", address: str = "203.0.113.9") -> Asker:
    return Asker(address=ip_address(address), ticket=ticket)


def decided(access: Access, who: Asker, gatekeeper: Gatekeeper | None = None) -> Outcome:
    """Drive the decision by hand: it must be made without waiting for anything."""
    deciding = (gatekeeper or keeper()).admits(Guarded(access), who)
    with pytest.raises(StopIteration) as done:
        deciding.send(None)
    return done.value.value.outcome


def test_public_file_is_for_everybody_without_waiting() -> None:
    assert decided(PUBLIC, asker()) is ADMITTED.outcome


def test_networks_count_in_every_mode() -> None:
    ticket = sign(PATH, expires_s=NOW_S + 60, key=KEY)
    for mode in AccessMode:
        access = Access(mode=mode, networks=("198.51.100.0/24",))
        assert decided(access, asker(ticket)) is Outcome.OTHER_NETWORK
    here = Access(mode=AccessMode.TICKET, networks=("203.0.113.0/24",))
    assert decided(here, asker(ticket)) is Outcome.ADMITTED
    assert decided(here, asker()) is Outcome.TICKET_MISSING


async def test_admitted_visitor_takes_along_a_ticket_for_himself_alone() -> None:
    ticket = sign(PATH, expires_s=NOW_S + 60, key=KEY)
    verdict = await keeper().admits(Guarded(BY_TICKET), asker(ticket))
    assert verdict.ticket == sign(PATH, expires_s=NOW_S + 60, key=KEY, address=VISITOR)


@pytest.mark.parametrize("ticket", ["", sign(PATH, expires_s=NOW_S + 60, key=KEY)], ids=["without", "with"])
def test_without_a_ticket_secret_no_ticket_opens_anything(ticket: str) -> None:
    outcome = decided(BY_TICKET, asker(ticket), keeper(key=None))
    assert outcome is (Outcome.TICKET_WRONG if ticket else Outcome.TICKET_MISSING)


@pytest.mark.parametrize(
    ("access", "expected"),
    [
        pytest.param(PUBLIC, True, id="public"),
        pytest.param(Access(networks=("203.0.113.0/24",)), True, id="for his network"),
        pytest.param(Access(networks=("198.51.100.0/24",)), False, id="for another network"),
        pytest.param(BY_TICKET, False, id="by ticket"),
        pytest.param(Access(mode=AccessMode.SITE), False, id="by the site"),
    ],
)
def test_lists_show_only_what_a_visitor_may_have_without_being_asked(access: Access, *, expected: bool) -> None:
    assert is_listed(access, VISITOR) is expected


def test_request_tells_who_asks() -> None:
    request = make_mocked_request(
        "GET",
        "/a.iso?ticket=5-x&ticket=6-y&q=1",
        headers=[("Cookie", "a=1"), ("Cookie", "b=2"), ("Authorization", "Bearer t")],
    )
    found = asker_of(request, VISITOR)
    assert found == Asker(
        address=VISITOR,
        query="ticket=5-x&ticket=6-y&q=1",
        ticket="5-x",
        cookie="a=1; b=2",
        authorization="Bearer t",
    )


def test_what_is_no_text_is_left_out() -> None:
    request = make_mocked_request("GET", "/a.iso", headers=[("Cookie", "a=\x02"), ("Authorization", "x\x01")])
    assert asker_of(request, VISITOR) == Asker(address=VISITOR)
