"""The unique URL on a mirror that a visitor is sent to, and what may be its base. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Final
from urllib.parse import quote, urlsplit

from events.names import FilePath, MirrorName, file_name

_URLS_KEPT: Final = 4096  # each mirror's is looked at for every visitor
_MISPLACED: Final = frozenset(' "<>\\^`{|}?#@')  # no part of a base: unsafe, a query, a fragment or a password


@lru_cache(maxsize=_URLS_KEPT)
def is_base_url(url: str) -> bool:
    """Tell whether a mirror's word for its URL may stand at the beginning of a Location header."""
    if not (url.isascii() and url.isprintable()) or set(url) & _MISPLACED:
        return False
    try:
        parts = urlsplit(url)
        _ = parts.port  # a wrong one is noticed only when it is asked for
    except ValueError:
        return False
    return parts.scheme in {"http", "https"} and bool(parts.hostname)


@lru_cache(maxsize=_URLS_KEPT)
def downloads_at(base_url: str) -> str:
    """Write how the URLs of all downloads from a server begin: the token follows."""
    return f"{base_url.rstrip('/')}/d/"


def file_in_url(path: FilePath) -> str:
    """Write the name of a file as the end of a URL's path."""
    return quote(file_name(path), safe="")


def carried(asked_not: Sequence[MirrorName], query: str) -> str:
    """Write what a download's URL carries, so that a mirror that has to send the visitor back sends it along.

    ``asked_not`` travels with it: a mirror adds itself to the list, and he does not go to and fro between two.
    """
    parts = [f"not={mirror}" for mirror in asked_not]
    if query:
        parts.append(query)
    return f"?{'&'.join(parts)}" if parts else ""
