"""What a redirect's head says, as bytes: where to, where else, and what the file is. Pure.

The fields are those of MirrorBrain and mirrorbits, so that their users' scripts and download tools go on working: up to
``LINKS_MAX`` other mirrors (RFC 6249 §3), the metalink (§4), the digest in both spellings (RFC 3230; RFC 9530), and an
``ETag`` that is the content's. A ``Link`` to another mirror is an address on the site that leads there and stays good;
nobody is given leave until he follows it.
"""

from __future__ import annotations

from binascii import b2a_base64, hexlify
from collections.abc import Iterator, Sequence
from typing import Final
from urllib.parse import quote

from msgspec import Struct

from events.names import FilePath
from selection.view.file import PublishedFile
from selection.view.roster import Mirror

LINKS_MAX: Final = 5  # what MirrorBrain names; tools use no more servers for one file
ENDS_KEPT: Final = 16_384  # some for each place that many ask from; 1 kB each

_ALWAYS: Final = (
    b"\r\nCache-Control: no-store\r\n"  # the link is this visitor's alone
    b"Referrer-Policy: no-referrer\r\n"
    b"X-Content-Type-Options: nosniff\r\n"
    b'Vary: Accept\r\nETag: "'
)
_DESCRIBED: Final = '; rel=describedby; type="application/metalink4+xml"\r\n'
_PLAIN: Final = (
    b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~/"  # unreserved (RFC 3986 §2.3), and the slash
)
_MARKED: Final = bytes(byte if byte in _PLAIN else _PLAIN[0] for byte in range(256))  # what is not plain is another


class Sheet(Struct, frozen=True, gc=False):
    """What of a redirect's head is the same for all who ask for a file: parts of fields.

    Few are kept where there are many files, so they are made of little, and fast.

    Attributes:
        file: the file.
        tail: how the address of each download of it ends: a slash, and its name.
        digests: its ``ETag``, from within the quotes on, and the digests after it.
        link: each ``Link``, up to the end of the file's path.
        query: what a visitor must say to be given the file at all; each ``Link`` says it.
    """

    file: PublishedFile
    tail: bytes
    digests: bytes
    link: bytes
    query: str


def pairs(fields: bytes) -> Iterator[tuple[str, str]]:
    r"""Give fields, each ``name: value\r\n``, by name and value."""
    for line in fields.decode("ascii").removesuffix("\r\n").split("\r\n"):
        name, _, value = line.partition(": ")
        yield name, value


class Heads:
    """Writes heads. ``site_url`` is the site's own, for links that lead back to it; None: relative to the request."""

    def __init__(self, site_url: str | None) -> None:
        self._link = f"Link: <{(site_url or '').rstrip('/')}".encode("ascii")
        self._ends: dict[int, tuple[Sequence[Mirror], list[bytes]]] = {}

    def sheet(self, file: PublishedFile, query: str = "") -> Sheet:
        """Write what is the same for all; for ``query`` see there."""
        path = _in_url(file.path)
        digest = b2a_base64(file.sha256, newline=False)
        digests = b'%b"\r\nDigest: SHA-256=%b\r\nRepr-Digest: sha-256=:%b:\r\n' % (hexlify(file.sha256), digest, digest)
        return Sheet(file, path[path.rindex(b"/") :], digests, self._link + path, query)

    def redirect(self, sheet: Sheet, location: bytes, others: Sequence[Mirror], *, served_by: bytes) -> bytes:
        """Write the fields of a redirect: a 302 without a body.

        Args:
            sheet: of the file that is asked for.
            location: the link.
            others: where else the file is to be had, best first; whoever gives the same again is written sooner.
            served_by: the field that names who is to serve it, if that is to be named.
        """
        links = sheet.link.join(_ends(others, sheet.query) if sheet.query else self._ends_of(others))
        return b"".join((b"Location: ", location, _ALWAYS, sheet.digests, served_by, links))

    def _ends_of(self, others: Sequence[Mirror]) -> list[bytes]:
        """Give the ends of links where no query is needed: they are the same for all files."""
        known = self._ends.get(id(others))
        if known is not None and known[0] is others:
            return known[1]
        if len(self._ends) >= ENDS_KEPT:
            self._ends.clear()
        ends = _ends(others)
        self._ends[id(others)] = others, ends  # it is kept, so that its identity stays its own
        return ends


def _in_url(path: FilePath) -> bytes:
    """Write a path as it stands in a URL, with its first slash; to encode one takes longer than to look."""
    written = b"/" + path.encode()
    return written if written.translate(_MARKED) == written else quote(written).encode("ascii")


def _ends(others: Sequence[Mirror], query: str = "") -> list[bytes]:
    """Give nothing, and then what follows the file's path in the links to its metalink and to each mirror."""
    described = f".meta4{f'?{query}' if query else ''}>{_DESCRIBED}".encode("ascii")
    return [b"", described, *(_link_end(mirror, rank, query) for rank, mirror in enumerate(others, 1))]


def _link_end(mirror: Mirror, rank: int, query: str) -> bytes:
    asked = f"{query}&" if query else ""
    location = mirror.profile.location if mirror.profile else None
    geo = f"; geo={location.country.lower()}" if location and location.country else ""
    return f"?{asked}mirror={mirror.name}>; rel=duplicate; pri={rank}{geo}\r\n".encode("ascii")
