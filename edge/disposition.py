"""The ``Content-Disposition`` of a download (RFC 6266), safe for every name that a ``FilePath`` can have. Pure."""

from __future__ import annotations

import re
import unicodedata
from typing import Final
from urllib.parse import quote

_ATTR_CHARS: Final = "!#$&+-.^_`|~"  # RFC 8187 §3.2.1, besides letters and digits
# '%' too: some browsers decode it in the plain form. ';' and ',' end the value for careless parsers.
_UNSAFE_IN_QUOTES = re.compile(r'[^\x20-\x7e]|["\\%;,/]')


def attachment(file_name: str) -> str:
    """Say that a file is to be saved under this name: plainly for old tools, and exactly for all others."""
    return f"attachment; filename=\"{_plain(file_name)}\"; filename*=UTF-8''{quote(file_name, safe=_ATTR_CHARS)}"


def _plain(file_name: str) -> str:
    """Give a name in ASCII: letters lose their marks, everything else that could be misread becomes ``_``."""
    decomposed = unicodedata.normalize("NFKD", file_name)
    bare = "".join(character for character in decomposed if not unicodedata.combining(character))
    return _UNSAFE_IN_QUOTES.sub("_", bare)
