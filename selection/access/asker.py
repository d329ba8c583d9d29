"""Who asks for a file, as far as access is decided by it. Pure."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Final

from events.grants import IPAddress

_DIGEST_BYTES: Final = 16  # nobody finds two askers of one digest, and cookies are not kept in memory


@dataclass(frozen=True, slots=True, kw_only=True)
class Asker:
    """What a request says of who sent it.

    ``query`` is as it was sent, without its question mark. ``ticket`` is the one in there, ``cookie`` and
    ``authorization`` are the header fields of those names; what was not sent is empty.
    """

    address: IPAddress
    query: str = ""
    ticket: str = field(default="", repr=False)
    cookie: str = field(default="", repr=False)
    authorization: str = field(default="", repr=False)

    def identity(self, uri: str) -> bytes:
        """Digest all that the site may decide by, so that nobody is given another's answer."""
        facts = "\0".join((uri, str(self.address), self.cookie, self.authorization))
        return hashlib.blake2b(facts.encode(errors="surrogateescape"), digest_size=_DIGEST_BYTES).digest()
