"""What the first criterion says of one visitor and one file. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from http import HTTPStatus
from typing import Final

RETRY_AFTER_S: Final = 5  # a site that restarts is back within seconds


class Outcome(Enum):
    """Each way that asking for a file can end, with a stable code, the status that answers it, and what is told."""

    ADMITTED = ("admitted", HTTPStatus.OK, "")
    OTHER_NETWORK = ("no_access", HTTPStatus.FORBIDDEN, "this file is not for your network")
    TICKET_MISSING = ("ticket_missing", HTTPStatus.FORBIDDEN, "this file needs a link that the site makes for you")
    TICKET_WRONG = ("ticket_wrong", HTTPStatus.FORBIDDEN, "this link was not made by the site for this file and you")
    TICKET_EXPIRED = ("ticket_expired", HTTPStatus.FORBIDDEN, "this link has expired: get a new one from the site")
    LOGIN_NEEDED = ("login_needed", HTTPStatus.UNAUTHORIZED, "the site wants to know who you are")
    SENT_ON = ("login_needed", HTTPStatus.FOUND, "the site wants to know who you are")
    REFUSED = ("no_access", HTTPStatus.FORBIDDEN, "the site does not let you have this file")
    SITE_SILENT = (
        "access_unknown",
        HTTPStatus.SERVICE_UNAVAILABLE,
        "whether you may have this file cannot be found out just now: come again in a minute",
    )

    def __init__(self, code: str, status: HTTPStatus, text: str) -> None:
        self.code, self.status, self.text = code, status, text


@dataclass(frozen=True, slots=True)
class Verdict:
    """An outcome with what the site says to go with it: ``Location`` or ``WWW-Authenticate``.

    ``ticket`` is what the admitted visitor takes along, so that he is admitted again when a mirror sends him back.
    """

    outcome: Outcome
    headers: tuple[tuple[str, str], ...] = ()
    ticket: str = ""

    @property
    def admitted(self) -> bool:
        """Tell whether the visitor may have the file."""
        return self.outcome is Outcome.ADMITTED


ADMITTED: Final = Verdict(Outcome.ADMITTED)
SITE_SILENT: Final = Verdict(Outcome.SITE_SILENT, (("Retry-After", str(RETRY_AFTER_S)),))
