"""Where each key stands in a TOML file, so that a problem can be shown by line. ``tomllib`` keeps no positions.

Pure. It knows the flat form that our files have: ``[section]`` headers and ``key = value`` lines. The first match
counts, so a line of a multi-line string that looks like a key can only mislead where no such key is set.
"""

from __future__ import annotations

import re
from typing import Final, TypeAlias

Lines: TypeAlias = dict[tuple[str, str], int]
"""(section, key) to its line, from 1; a section's own header has the key ``""``."""

_HEADER: Final = re.compile(r"\s*\[\[?\s*(?P<name>[^\]]+?)\s*\]")
_KEY: Final = re.compile(r"\s*(?P<name>[A-Za-z0-9_-]+|\"[^\"]*\"|'[^']*')\s*(?:\.|=)")


def key_lines(text: str) -> Lines:
    """Find the line of each section and key."""
    lines: Lines = {}
    section = ""
    for number, line in enumerate(text.splitlines(), start=1):
        if header := _HEADER.match(line):
            section = _bare(header["name"])
            lines.setdefault((section, ""), number)
        elif key := _KEY.match(line):
            lines.setdefault((section, _bare(key["name"])), number)
    return lines


def _bare(name: str) -> str:
    return name.strip("\"'")
