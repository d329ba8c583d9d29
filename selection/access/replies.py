"""What the site's answer about a visitor means, and for how long it counts. Pure.

As with nginx's ``auth_request``: 2xx is yes, 401 and 403 are no. A redirect with a ``Location`` is no as well, since
that is how most sites say "log in first"; the visitor is sent there. Anything else says nothing of the visitor, and
then nobody is let in.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from http import HTTPStatus
from typing import Final
from urllib.parse import urlsplit

from selection.access.verdicts import ADMITTED, SITE_SILENT, Outcome, Verdict

LOCATION: Final = "Location"
WWW_AUTHENTICATE: Final = "WWW-Authenticate"
REPLIES_KEPT_MAX: Final = 10_000  # some 3 MB; so many visitors of one site within seconds
REFUSAL_KEPT_S: Final = 1.0  # who has just logged in comes back at once; a flood is still kept from the site

_SUCCESS: Final = range(200, 300)
_SENT_ON: Final = frozenset({301, 302, 303, 307, 308})


def verdict_of(status: int, headers: Mapping[str, str]) -> Verdict:
    """Read the site's answer. ``headers`` are looked up by the names above."""
    if status in _SUCCESS:
        return ADMITTED
    location = headers.get(LOCATION, "")
    refuses = status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}
    if (refuses or status in _SENT_ON) and _is_web_address(location):
        return Verdict(Outcome.SENT_ON, ((LOCATION, location),))
    if not refuses:
        return SITE_SILENT
    challenge = headers.get(WWW_AUTHENTICATE, "")
    passed_on = ((WWW_AUTHENTICATE, challenge),) if challenge and challenge.isprintable() else ()
    return Verdict(Outcome.LOGIN_NEEDED if status == HTTPStatus.UNAUTHORIZED else Outcome.REFUSED, passed_on)


def _is_web_address(location: str) -> bool:
    """Tell whether a browser may be sent there: to a page by HTTP, whole or from the root of the files' own site."""
    if not location.isascii() or not location.isprintable() or "\\" in location:  # browsers take it for a slash
        return False
    try:
        parts = urlsplit(location)
    except ValueError:
        return False
    return parts.scheme in {"http", "https"} if parts.scheme or parts.netloc else location.startswith("/")


class Replies:
    """Remembers the site's verdicts for seconds, a bounded number of them. Times are on one monotonic clock."""

    def __init__(self, *, kept_s: float, kept_max: int = REPLIES_KEPT_MAX) -> None:
        self._kept_s = kept_s
        self._kept_max = kept_max
        self._kept: OrderedDict[bytes, tuple[Verdict, float]] = OrderedDict()

    def find(self, identity: bytes, *, now_s: float) -> Verdict | None:
        """Give the verdict that still counts for an asker, if there is one."""
        verdict, until_s = self._kept.get(identity, (None, 0.0))
        return verdict if now_s < until_s else None

    def keep(self, identity: bytes, verdict: Verdict, *, now_s: float) -> None:
        """Remember a verdict; that the site was silent is none."""
        if verdict.outcome is Outcome.SITE_SILENT:
            return
        kept_s = self._kept_s if verdict.admitted else min(REFUSAL_KEPT_S, self._kept_s)
        self._kept.pop(identity, None)
        self._kept[identity] = verdict, now_s + kept_s
        if len(self._kept) > self._kept_max:
            self._kept.popitem(last=False)  # the oldest
