"""Tickets: leave that the site signs for one file until a moment, for whoever has the link or for one address. Pure.

``https://files.example.org/<path>?ticket=<expires_s>-<signature>``. The signature is the HMAC-SHA256 of

    distributary-ticket/1|<path>|<expires_s>|<address>

in URL-safe base64 (RFC 4648 §5) without padding, under the bytes that the ticket secret's file names in hexadecimal
digits. ``path`` is as in the catalogue: not encoded, without a first slash. ``expires_s`` is Unix time. ``address`` is
empty, or the visitor's: an IPv4 address, or the first address of an IPv6 one's /64, as RFC 5952 writes it, since
temporary addresses change inside a /64. A ``|`` in a path is no ambiguity: what stands behind it has none.

A site makes tickets in any language with a few lines (docs/access.md).
"""

from __future__ import annotations

import base64
import hmac
import re
from ipaddress import IPv4Address, IPv6Address
from typing import Final

from events.grants import IPAddress
from events.names import FilePath
from selection.access.verdicts import Outcome

EXPIRES_S_MAX: Final = 99_999_999_999  # eleven digits: the year 5138
TICKET_KEY_BYTES_MIN: Final = 32  # as long as what HMAC-SHA256 gives; shorter keys are guessed sooner

_WRITTEN: Final = re.compile(r"(?P<expires_s>0|[1-9][0-9]{0,10})-[A-Za-z0-9_-]{43}", re.ASCII)
_HOST_BITS: Final = 64
_ANYBODY: Final = ""


def sign(path: FilePath, *, expires_s: int, key: bytes, address: IPAddress | None = None) -> str:
    """Make a ticket; without an address it holds for anybody who has it."""
    return _signed(path, str(expires_s), _ANYBODY if address is None else bound_text(address), key)


def judge(ticket: str, path: FilePath, address: IPAddress, *, key: bytes, now_s: float) -> Outcome:
    """Tell whether a ticket lets a visitor have a file now. One that is not exactly as signed is wrong."""
    if not ticket:
        return Outcome.TICKET_MISSING
    written = _WRITTEN.fullmatch(ticket)
    if written is None:
        return Outcome.TICKET_WRONG
    expires_s = written["expires_s"]
    signed = (_signed(path, expires_s, bound, key) for bound in (_ANYBODY, bound_text(address)))
    # Both are compared whatever the first gives, so that the time taken tells nothing.
    if not any([hmac.compare_digest(ticket, each) for each in signed]):  # noqa: C419 - any() would stop at the first
        return Outcome.TICKET_WRONG
    return Outcome.ADMITTED if now_s < int(expires_s) else Outcome.TICKET_EXPIRED


def bound_to(ticket: str, path: FilePath, address: IPAddress, *, key: bytes) -> str:
    """Give a ticket that opens the same for as long, to this address alone. The one given must have been judged.

    It is what a visitor takes along to a mirror, which sends him back with it when it cannot serve: whoever reads the
    mirror's log gains nothing by it.
    """
    return sign(path, expires_s=int(ticket.partition("-")[0]), key=key, address=address)


def is_written_so(text: str) -> bool:
    """Tell whether this could be a ticket: such text stands in a URL as it is."""
    return _WRITTEN.fullmatch(text) is not None


def bound_text(address: IPAddress) -> str:
    """Write what a ticket for an address is bound to."""
    if isinstance(address, IPv4Address):
        return str(address)
    return str(IPv6Address(int(address) >> _HOST_BITS << _HOST_BITS))


def _signed(path: FilePath, expires_s: str, bound: str, key: bytes) -> str:
    message = f"distributary-ticket/1|{path}|{expires_s}|{bound}".encode()
    signature = base64.urlsafe_b64encode(hmac.digest(key, message, "sha256")).rstrip(b"=")
    return f"{expires_s}-{signature.decode()}"
