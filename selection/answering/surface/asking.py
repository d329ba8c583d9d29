"""Whom a visitor asks for: himself, or somebody elsewhere, and what he will not have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from aiohttp import web

from edge.detours import TICKET
from edge.errors import ApiError
from edge.visitors import (
    FORWARDED_FOR,
    FORWARDED_PROTO,
    ForwardedForError,
    IPNetwork,
    came_by_https,
    peer_of,
    visitor_of,
)
from events.errors import InvalidNameError
from events.grants import IPAddress, normalise
from events.names import MirrorName, parse_mirror
from selection.access.asker import Asker
from selection.access.gatekeeper import asker_of
from selection.answering.requests import asked_not_of
from selection.answering.surface.wishes import is_on
from selection.places.countries import country_of
from selection.places.findings import Finding, place_from
from selection.places.geo import Places
from selection.places.place import Place
from selection.policy.visitor import Visitor


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a request says of its visitor. Links and access are for the address that he has.

    ``?fromip=`` and ``?country=`` are where he would rather be: they change which mirrors are near, and let nobody have
    what is not for where he is.
    ``ticket`` is what he takes along once he is admitted.
    """

    visitor: Visitor
    asker: Asker
    asked_not: tuple[MirrorName, ...]
    ticket: str = ""

    @property
    def ticket_query(self) -> str:
        """Give the query that another link to the same file needs, too."""
        return f"{TICKET}={self.ticket}" if self.ticket else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reception:
    """Reads who asks."""

    proxies: tuple[IPNetwork, ...]
    places: Places
    hops_max: int

    def address(self, request: web.Request) -> IPAddress:
        """Give the visitor's address."""
        try:
            return visitor_of(request, self.proxies)
        except ForwardedForError as error:
            raise ApiError("forwarded_for_invalid", str(error), "tell the operator of the proxy") from error

    def asked(self, request: web.Request) -> Asked:
        """Read a visitor's request."""
        address = self.address(request)
        asked_not = asked_not_of(request.query.getall("not", []), hops_max=self.hops_max)
        elsewhere = self._elsewhere(request)
        place = self.places.place_of(address)
        visitor = Visitor(
            address=address,
            place=place if elsewhere is None else elsewhere,
            home=None if elsewhere is None else place,
            secure=self._secure(request),
            asked_not=frozenset(asked_not),
            only=_only(request.query.getall("mirror", [])),
        )
        return Asked(visitor=visitor, asker=asker_of(request, address), asked_not=asked_not)

    def _elsewhere(self, request: web.Request) -> Place | None:
        """Give the place that he asks as if he were in, if he does."""
        if country := request.query.get("country"):
            return place_from([Finding(country=_country(country))])
        if address := request.query.get("fromip"):
            return self.places.place_of(_address(address))
        return None

    def _secure(self, request: web.Request) -> bool | None:
        """Tell whether links have to be secure: as he asks, or as he came."""
        if (asked := is_on(request.query, "https")) is not None:
            return asked
        fields = request.headers
        forwarded_for, forwarded_proto = fields.getall(FORWARDED_FOR, []), fields.getall(FORWARDED_PROTO, [])
        return came_by_https(peer_of(request), forwarded_for, forwarded_proto, self.proxies) or None


def _only(values: Sequence[str]) -> MirrorName | None:
    if not values:
        return None
    try:
        return parse_mirror(values[0])
    except InvalidNameError as error:
        raise ApiError("mirror_invalid", str(error), "see /-/api/v1/mirrors") from error


def _country(text: str) -> str:
    code = text.upper()
    if country_of(code) is None:
        raise ApiError("country_invalid", f"{text!r} is no country", "write a code of two letters, such as ?country=pt")
    return code


def _address(text: str) -> IPAddress:
    try:
        return normalise(text)
    except ValueError:
        raise ApiError("address_invalid", f"{text!r} is no IP address", "write ?fromip=203.0.113.9") from None
