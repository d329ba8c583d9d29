"""What a redirect's head says, as bytes: where to, where else, and what the file is. Pure.

The fields are those of MirrorBrain and mirrorbits, so that their users' scripts and download tools go on working: up to
``LINKS_MAX`` other mirrors (RFC 6249 §3), the metalink (§4), the digest in both spellings (RFC 3230; RFC 9530), and an
``ETag`` that is the content's. A ``Link`` to another mirror is an address on the site that leads there and stays good;
nobody is given leave until he follows it.
"""

from __future__ import annotations

from binascii import b2a_base64
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

from selection.answering.links import is_plain
from selection.view.file import PublishedFile
from selection.view.roster import Mirror

LINKS_MAX: Final = 5  # what MirrorBrain names; tools use no more servers for one file
ENDS_KEPT: Final = LINKS_MAX * 10_000  # of links to each mirror of the largest fleet, at each rank; 150 bytes each

_ALWAYS: Final = (
    "Cache-Control: no-store\r\n"  # the link is this visitor's alone
    "Referrer-Policy: no-referrer\r\n"
    "X-Content-Type-Options: nosniff\r\n"
    "Vary: Accept\r\n"
)
_DESCRIBED: Final = '; rel=describedby; type="application/metalink4+xml"\r\n'


@dataclass(frozen=True, slots=True)
class Redirect:
    r"""A 302 without a body. ``fields`` are those of its head, each ``name: value\r\n``."""

    fields: bytes

    def pairs(self) -> Iterator[tuple[str, str]]:
        """Give the fields by name and value."""
        for line in self.fields.decode("ascii").removesuffix("\r\n").split("\r\n"):
            name, _, value = line.partition(": ")
            yield name, value


class Heads:
    """Writes heads. ``site_url`` is the site's own, for links that lead back to it; None: relative to the request."""

    def __init__(self, site_url: str | None) -> None:
        self._site_url = (site_url or "").rstrip("/")
        self._ends: dict[tuple[int, int], tuple[Mirror, bytes]] = {}

    def redirect(
        self, file: PublishedFile, location: str, others: Sequence[Mirror], *, mirror: str, query: str = ""
    ) -> Redirect:
        """Write a redirect.

        Args:
            file: what is asked for.
            location: the link, in ASCII.
            others: where else the file is to be had, best first.
            mirror: who is to serve it; empty: the master.
            query: what a visitor must say to be given the file at all.
        """
        digest = b2a_base64(file.sha256, newline=False).decode("ascii")
        served_by = f"X-MirrorBrain-Mirror: {mirror}\r\n" if mirror else ""
        own = (
            f"Location: {location}\r\n{_ALWAYS}"
            f'ETag: "{file.sha256.hex()}"\r\nDigest: SHA-256={digest}\r\nRepr-Digest: sha-256=:{digest}:\r\n{served_by}'
        )
        path = file.path if is_plain(file.path) else quote(file.path)
        described = f"Link: <{self._site_url}/{path}.meta4{f'?{query}' if query else ''}>{_DESCRIBED}"
        link = f"Link: <{self._site_url}/{path}?{f'{query}&' if query else ''}mirror="
        return Redirect((own + described).encode("ascii") + link.encode("ascii").join(self._ends_of(others)))

    def _ends_of(self, others: Sequence[Mirror]) -> list[bytes]:
        """Give what follows the address in the link to each mirror, after nothing: it is the same for all files."""
        ends = [b""]
        for rank, mirror in enumerate(others, 1):
            known = self._ends.get((mirror.number, rank))
            ends.append(known[1] if known is not None and known[0] is mirror else self._end(mirror, rank))
        return ends

    def _end(self, mirror: Mirror, rank: int) -> bytes:
        if len(self._ends) >= ENDS_KEPT:
            self._ends.clear()
        end = _link_end(mirror, rank).encode("ascii")
        self._ends[mirror.number, rank] = mirror, end
        return end


def _link_end(mirror: Mirror, rank: int) -> str:
    location = mirror.profile.location if mirror.profile else None
    geo = f"; geo={location.country.lower()}" if location and location.country else ""
    return f"{mirror.name}>; rel=duplicate; pri={rank}{geo}\r\n"
