"""What a visitor's request asks for: parsed once, here. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import unquote_to_bytes

from events.errors import InvalidNameError
from events.names import ORIGIN, FilePath, MirrorName, parse_mirror, parse_path


def path_of(raw_path: str) -> FilePath:
    """Read the path of a request target, still percent-encoded, with its first slash. It is decoded exactly once.

    Raises:
        InvalidNameError: no file can have this path; answer as for an unknown one.
    """
    try:
        text = unquote_to_bytes(raw_path.removeprefix("/")).decode()
    except UnicodeError:  # bytes that are no UTF-8, encoded or not
        raise InvalidNameError("path", raw_path, "not UTF-8") from None
    return parse_path(text)


def asked_not_of(values: Sequence[str], *, hops_max: int) -> tuple[MirrorName, ...]:
    """Read the mirrors that are to be left out, each once; what is no mirror's name is left out itself.

    The master names itself ``origin`` when it could not serve the visitor. It is no hop, so it comes last and is never
    one too many.
    """
    found: dict[MirrorName, None] = {}
    for value in values:
        try:
            found[parse_mirror(value)] = None
        except InvalidNameError:
            continue
    return tuple(found)[:hops_max] + ((ORIGIN,) if ORIGIN in values else ())
