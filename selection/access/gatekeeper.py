"""The first criterion for one visitor and one file: its networks, and then what its mode asks for.

A public file takes no waiting, nor does a ticket; only a file whose site wants to be asked does.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol, assert_never

from aiohttp import hdrs, web

from edge.detours import TICKET
from events.grants import IPAddress
from events.names import FilePath
from events.schemas import Access, AccessMode
from selection.access.asker import Asker
from selection.access.networks import has_access
from selection.access.site import SiteAsker
from selection.access.tickets import bound_to, judge
from selection.access.verdicts import ADMITTED, SITE_SILENT, Outcome, Verdict

_OTHER_NETWORK = Verdict(Outcome.OTHER_NETWORK)


class Guarded(Protocol):
    """A file, as far as access to it goes."""

    @property
    def path(self) -> FilePath:
        """Where it stands in the catalogue."""
        ...

    @property
    def access(self) -> Access:
        """Who may have it."""
        ...


class Gatekeeper:
    """Decides who may have a file.

    Without a ticket key nobody has a ticket, and without the site's URL nobody is let in by it: both fail closed.
    """

    def __init__(
        self,
        *,
        ticket_key: bytes | None = None,
        site: SiteAsker | None = None,
        clock_s: Callable[[], float] = time.time,
    ) -> None:
        self._ticket_key = ticket_key
        self._site = site
        self._clock_s = clock_s

    async def admits(self, file: Guarded, asker: Asker) -> Verdict:
        """Decide about one asker; a public file is decided about without waiting."""
        if not has_access(file.access, asker.address):
            return _OTHER_NETWORK
        match file.access.mode:
            case AccessMode.PUBLIC:
                return ADMITTED
            case AccessMode.TICKET:
                return self._judged(file.path, asker)
            case AccessMode.SITE:
                return await self._site.ask(file.path, asker) if self._site is not None else SITE_SILENT
            case _:
                assert_never(file.access.mode)

    def _judged(self, path: FilePath, asker: Asker) -> Verdict:
        key, ticket, address = self._ticket_key, asker.ticket, asker.address
        if key is None:
            return Verdict(Outcome.TICKET_WRONG if ticket else Outcome.TICKET_MISSING)
        outcome = judge(ticket, path, address, key=key, now_s=self._clock_s())
        if outcome is not Outcome.ADMITTED:
            return Verdict(outcome)
        return Verdict(outcome, ticket=bound_to(ticket, path, address, key=key))


def asker_of(request: web.BaseRequest, address: IPAddress) -> Asker:
    """Read who asks from a request; ``address`` is the visitor's, behind whatever proxies.

    What has other bytes than text is left out: no site made it, and a header field could not carry it on.
    """
    return Asker(
        address=address,
        query=_plain(request.rel_url.raw_query_string),
        ticket=request.query.get(TICKET, ""),
        # HTTP/2 lets a browser split its cookies into several fields, and a proxy may leave them so (RFC 9113 §8.2.3).
        cookie=_plain("; ".join(request.headers.getall(hdrs.COOKIE, []))),
        authorization=_plain(request.headers.get(hdrs.AUTHORIZATION, "")),
    )


def _plain(value: str) -> str:
    return value if value.isprintable() else ""
