"""A visitor, and his request for a file at the moment at which it is decided. Pure."""

from __future__ import annotations

from msgspec import Struct

from events.grants import Bound, bound_of, text_of
from events.names import MirrorName
from selection.policy.visitor import Visitor
from selection.view.file import PublishedFile


class Guest(Struct, frozen=True, gc=False):
    """A visitor, and what a grant says of him.

    ``bound`` is what a strict grant is bound to, ``claimant`` its number, by which places are kept for him; ``address``
    is his as text.
    """

    visitor: Visitor
    bound: Bound
    claimant: int
    address: str


def guest_of(visitor: Visitor) -> Guest:
    """Work out what a grant says of a visitor."""
    bound = bound_of(visitor.address)
    return Guest(visitor, bound, int.from_bytes(bound.packed), text_of(visitor.address))


class Visit(Struct, frozen=True, gc=False):
    """Who asks for what, and when.

    Attributes:
        file: what he asks for.
        guest: who he is.
        asked_not: who has sent him back, in that order.
        grant_id: of the link that he is given: the dice.
        at_ns: when.
        now_s: the same, as the very number that whoever reads the record has.
        heard_s: the same on the clock on which load reports are heard.
    """

    file: PublishedFile
    guest: Guest
    asked_not: tuple[MirrorName, ...]
    grant_id: bytes
    at_ns: int
    now_s: float
    heard_s: float
