"""Metalinks: one file with its hashes and all the servers that a visitor is offered for it. Pure.

Version 4 is RFC 5854, version 3 what went before it (metalinker.org), which old clients ask for. Clients fetch from
several servers at once, leave those that fail, and verify piece by piece where the pieces are known.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Final
from xml.sax.saxutils import escape, quoteattr

from events.names import SHA256_BYTES, Digest
from selection.answering.surface.offers import Offer
from selection.view.file import Digests, Pieces

GENERATOR: Final = "distributary"
_PREFERENCE_MAX: Final = 100  # version 3 counts down from here
_PRIORITY_MAX: Final = 999_999  # RFC 5854 §4.2.16
# Noncharacters may stand in a file's name and in no XML.
_NO_XML: Final[dict[int, int]] = dict.fromkeys((0xFFFE, 0xFFFF), 0xFFFD)


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """What a metalink says. ``origin_url`` is where it can be fetched anew; ``name`` is what the file is saved as."""

    name: str
    size_bytes: int
    sha256: Digest
    digests: Digests
    pieces: Pieces
    published_at: datetime
    origin_url: str
    offers: Sequence[Offer]


def metalink4(document: Document) -> str:
    """Write version 4."""
    digests = document.digests
    hashes = [("sha-256", document.sha256), ("sha-1", digests.sha1), ("md5", digests.md5)]
    lines = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        '<metalink xmlns="urn:ietf:params:xml:ns:metalink">',
        f"  <generator>{GENERATOR}</generator>",
        f'  <origin dynamic="true">{_text(document.origin_url)}</origin>',
        f"  <published>{document.published_at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}</published>",
        f"  <file name={_value(document.name)}>",
        f"    <size>{document.size_bytes}</size>",
        *(f'    <hash type="{kind}">{digest.hex()}</hash>' for kind, digest in hashes if digest),
        *_pieces4(document.pieces),
        *(_url4(offer, priority) for priority, offer in enumerate(document.offers, start=1)),
        "  </file>",
        "</metalink>",
    ]
    return "\n".join(lines) + "\n"


def metalink3(document: Document) -> str:
    """Write version 3."""
    digests = document.digests
    hashes = [("sha256", document.sha256), ("sha1", digests.sha1), ("md5", digests.md5)]
    published = format_datetime(document.published_at.astimezone(UTC), usegmt=True)
    lines = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        '<metalink version="3.0" xmlns="http://www.metalinker.org/" type="dynamic"',
        f'  generator="{GENERATOR}" origin={_value(document.origin_url)} pubdate="{published}">',
        "  <files>",
        f"    <file name={_value(document.name)}>",
        f"      <size>{document.size_bytes}</size>",
        "      <verification>",
        *(f'        <hash type="{kind}">{digest.hex()}</hash>' for kind, digest in hashes if digest),
        *_pieces3(document.pieces),
        "      </verification>",
        "      <resources>",
        *(_url3(offer, rank) for rank, offer in enumerate(document.offers)),
        "      </resources>",
        "    </file>",
        "  </files>",
        "</metalink>",
    ]
    return "\n".join(lines) + "\n"


def _pieces4(pieces: Pieces) -> Iterable[str]:
    if pieces.piece_digests:
        yield f'    <pieces length="{pieces.piece_bytes}" type="sha-256">'
        yield from (f"      <hash>{digest.hex()}</hash>" for digest in _each(pieces.piece_digests))
        yield "    </pieces>"


def _pieces3(pieces: Pieces) -> Iterable[str]:
    if pieces.piece_digests:
        yield f'        <pieces length="{pieces.piece_bytes}" type="sha256">'
        for number, digest in enumerate(_each(pieces.piece_digests)):
            yield f'          <hash piece="{number}">{digest.hex()}</hash>'
        yield "        </pieces>"


def _each(digests: bytes) -> Iterable[bytes]:
    return (digests[start : start + SHA256_BYTES] for start in range(0, len(digests), SHA256_BYTES))


def _url4(offer: Offer, priority: int) -> str:
    location = f' location="{offer.country.lower()}"' if offer.country else ""
    return f'    <url priority="{min(priority, _PRIORITY_MAX)}"{location}>{_text(offer.url)}</url>'


def _url3(offer: Offer, rank: int) -> str:
    scheme = offer.url.partition(":")[0]
    location = f' location="{offer.country.lower()}"' if offer.country else ""
    preference = max(1, _PREFERENCE_MAX - rank)
    return f'        <url type="{scheme}"{location} preference="{preference}">{_text(offer.url)}</url>'


def _text(text: str) -> str:
    return escape(text.translate(_NO_XML))


def _value(text: str) -> str:
    return quoteattr(text.translate(_NO_XML))
