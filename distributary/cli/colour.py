"""Whether to colour: the flag beats the environment, the environment beats what the stream is. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum


class Colour(Enum):
    """What ``--color`` takes."""

    AUTO = "auto"
    ALWAYS = "always"
    NEVER = "never"


def wants_colour(choice: Colour, environ: Mapping[str, str], *, is_tty: bool) -> bool:
    """Decide by ``--color``, then NO_COLOR (no-color.org), then FORCE_COLOR, then TERM, then the stream."""
    if choice is not Colour.AUTO:
        return choice is Colour.ALWAYS
    if environ.get("NO_COLOR"):
        return False
    if environ.get("FORCE_COLOR"):
        return True
    return is_tty and environ.get("TERM") != "dumb"
