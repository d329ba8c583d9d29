"""Text of others on a terminal: what it could command the terminal with is shown instead of sent. Pure."""

from __future__ import annotations

import re
from typing import Final

# In JSON these may stand as they are, and a terminal obeys some of them (C1) or Python cannot write them (surrogates).
_UNSAFE_IN_JSON: Final = re.compile("[\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str) -> str:
    """Escape what is not printable, line breaks included: for names, which take one line at most."""
    return text if text.isprintable() else "".join(map(_escaped, text))


def printable_lines(text: str) -> str:
    """Escape what is not printable but line breaks: for whole sentences, some of which have several lines."""
    return text if text.isprintable() else "\n".join(printable(line) for line in text.split("\n"))


def printable_json(document: str) -> str:
    """Escape within a JSON document, whose meaning stays the same."""
    return _UNSAFE_IN_JSON.sub(lambda found: f"\\u{ord(found[0]):04x}", document)


def _escaped(character: str) -> str:
    return character if character.isprintable() else character.encode("unicode_escape").decode("ascii")
