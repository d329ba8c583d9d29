"""Who asks for a file, and what he asks for besides. Pure."""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from typing import Final

from msgspec import Struct

from events.grants import IPAddress
from events.names import MirrorName
from selection.places.place import NOWHERE, Place

NOBODY: Final[AbstractSet[MirrorName]] = frozenset()


class Visitor(Struct, frozen=True, gc=False):
    """A visitor. One is made for most redirects, and a struct in a fifth of the time of a named tuple.

    ``place`` is where mirrors are to be near to. ``secure``: by https alone (True), by plain http alone (False), or as
    it comes. ``asked_not``: the mirrors that have just sent him back. ``only``: the one mirror that he asks for.
    ``home`` is where he is, when he asks as if he were elsewhere: who takes no visitors from there takes not him.
    """

    address: IPAddress
    place: Place = NOWHERE
    secure: bool | None = None
    asked_not: AbstractSet[MirrorName] = NOBODY
    only: MirrorName | None = None
    home: Place | None = None

    @property
    def whereabouts(self) -> Place:
        """Where he is, whatever he asks as."""
        return self.place if self.home is None else self.home
