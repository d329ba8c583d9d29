"""A selector's state on disk: what it holds, and how it is told from a damaged, a foreign and an older one. Pure.

A snapshot is the view and the statistics as the log up to one entry makes them (``Mark``), and the load reports of that
moment. Each part has a digest of its own: where the view cannot be used, the statistics may be, and they reach back
further than the log does.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from enum import Enum
from hashlib import blake2b
from typing import Final, NamedTuple

import msgspec
from msgspec import Struct

_PREFIX: Final = b"distributary selector snapshot "
MAGIC: Final = _PREFIX + b"1\n"  # another number for another layout of what follows
SITE_BYTES: Final = 16
_DIGEST_BYTES: Final = 16
_LENGTH_BYTES: Final = 4
_HEADER_BYTES_MAX: Final = 4096  # a dozen numbers, and a message's id


class UnusableSnapshotError(Exception):
    """Nothing can be read from it. Read the log from its first entry."""


class Mark(Struct, frozen=True, kw_only=True, array_like=True):
    """How far the log was read.

    Attributes:
        generation: of the log.
        offset: of the last entry that was read.
        message_id: that entry's, to prove that it still stands there.
        master_epoch: the master's numbering in which the catalogue was last said whole.
        master_first: its first number in this log.
        heard_s: the moment on the hearing clock.
        taken_at_s: the Unix time.
    """

    generation: int
    offset: int
    message_id: str
    master_epoch: int
    master_first: int
    heard_s: float
    taken_at_s: float


class Part(Enum):
    """What a snapshot consists of, in this order."""

    VIEW = "view"
    LOADS = "load reports"
    STATISTICS = "statistics"


class Found(NamedTuple):
    """What was found in a snapshot: its whole parts. ``damage`` names the others; empty where there are none."""

    mark: Mark
    parts: Mapping[Part, bytes]
    damage: str


class _Header(Struct, frozen=True, array_like=True):
    site: bytes
    byteorder: str
    mark: Mark
    parts: list[tuple[int, bytes]]  # size and digest of each


def site_of(secret: bytes) -> bytes:
    """Name a site by its secret without telling it: another site's snapshot must never be taken for ours."""
    return blake2b(secret, digest_size=SITE_BYTES, person=b"snapshot").digest()


def written(mark: Mark, parts: Mapping[Part, bytes], *, site: bytes) -> list[bytes]:
    """Write a snapshot; join what this gives, or write it one after the other."""
    bodies = [parts[part] for part in Part]
    sizes = [(len(body), _digest(body)) for body in bodies]
    header = msgspec.msgpack.encode(_Header(site, sys.byteorder, mark, sizes))
    return [MAGIC, len(header).to_bytes(_LENGTH_BYTES, "big"), header, _digest(header), *bodies]


def read(data: bytes, *, site: bytes) -> Found:
    """Read a snapshot.

    Raises:
        UnusableSnapshotError: it is cut off, damaged, of another version or of another site.
    """
    header, start = _header(data)
    if header.site != site:
        raise UnusableSnapshotError("it is another site's")
    if header.byteorder != sys.byteorder:
        raise UnusableSnapshotError(f"it was written by a machine of the other kind ({header.byteorder} endian)")
    parts: dict[Part, bytes] = {}
    for part, (size_bytes, digest) in zip(Part, header.parts, strict=True):
        body = data[start : start + size_bytes]
        start += size_bytes
        if _digest(body) == digest:
            parts[part] = body
    damaged = [part.value for part in Part if part not in parts]
    return Found(header.mark, parts, f"damaged: {', '.join(damaged)}" if damaged else "")


def _header(data: bytes) -> tuple[_Header, int]:
    """Give the header, and where it ends."""
    if not data.startswith(MAGIC):
        is_ours = data.startswith(_PREFIX)
        raise UnusableSnapshotError("it is of another version" if is_ours else "it is no snapshot, or damaged")
    start = len(MAGIC) + _LENGTH_BYTES
    end = start + int.from_bytes(data[len(MAGIC) : start], "big")
    header, digest = data[start:end], data[end : end + _DIGEST_BYTES]
    if end - start > _HEADER_BYTES_MAX or digest != _digest(header):
        raise UnusableSnapshotError("its beginning is damaged")
    try:
        return _decoder.decode(header), end + _DIGEST_BYTES
    except msgspec.DecodeError as error:
        raise UnusableSnapshotError(f"its beginning cannot be read: {error}") from error


def _digest(data: bytes) -> bytes:
    return blake2b(data, digest_size=_DIGEST_BYTES).digest()


_decoder = msgspec.msgpack.Decoder(_Header)
