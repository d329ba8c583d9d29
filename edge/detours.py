"""What a visitor takes along when a mirror, or the master, sends him back to the site. Pure.

``not`` names who could not serve him. ``ticket`` is his leave to ask at all (``--access ticket``): the selector puts
one that holds for his address alone into the link, and whoever sends him back passes it on unread.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

TICKET: Final = "ticket"

_WRITTEN: Final = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)  # a ticket's letters, with room to spare


def ticket_query(values: Sequence[str]) -> str:
    """Give what is added to the query of the URL that a visitor is sent back to; nothing without a ticket."""
    return f"&{TICKET}={values[0]}" if values and _WRITTEN.fullmatch(values[0]) else ""
