"""A view as bytes, and the view again from them: a start reads these and the log's tail, and not the whole log. Pure.

``load(dump(view))`` is the view: all events that may follow make the same of it. Load reports alone are left out; they
are of the moment. The bytes are a mark with the version of the format, a SHA-256 of what follows it, and the columns as
they are in memory. Nothing is converted from one version to the next: the log has it all.
"""

from __future__ import annotations

import hashlib
import sys
from typing import Final

import msgspec

from selection.view.fleet import FleetDump, FleetView

MARK: Final = f"distributary-view/1/{sys.byteorder}\n".encode()
_DIGEST_BYTES: Final = hashlib.sha256().digest_size

_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final = msgspec.msgpack.Decoder(FleetDump)


class SnapshotUnusableError(ValueError):
    """These bytes are no snapshot of this version, or not a whole one. Read the whole log; the message says why."""


def dump(view: FleetView) -> bytes:
    """Write a view."""
    return packed(view.dump())


def packed(dumped: FleetDump) -> bytes:
    """Write what a view gave."""
    body = _encoder.encode(dumped)
    return b"".join((MARK, hashlib.sha256(body).digest(), body))


def load(data: bytes) -> FleetView:
    """Read a view.

    Raises:
        SnapshotUnusableError: another version wrote this, another kind of machine, or a part is missing or changed.
    """
    if not data.startswith(MARK):
        raise SnapshotUnusableError(f"it begins with {data[: len(MARK)]!r} instead of {MARK!r}")
    body = memoryview(data)[len(MARK) + _DIGEST_BYTES :]
    if hashlib.sha256(body).digest() != data[len(MARK) : len(MARK) + _DIGEST_BYTES]:
        raise SnapshotUnusableError(f"its {len(body)} bytes are not those that were written")
    try:
        return FleetView.load(_decoder.decode(body))
    except (msgspec.DecodeError, ValueError, LookupError) as error:
        raise SnapshotUnusableError(f"another version wrote it: {error}") from error
