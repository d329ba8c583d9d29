"""What is said about downloads: granted by a selector, then begun and ended at a mirror or at the master."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from events.grants import normalise
from events.names import parse_path
from events.schemas.fields import (
    MIRRORS_MAX,
    Address,
    Bytes,
    Code,
    Generation,
    GrantId,
    Mirror,
    Path,
    Selector,
    Sha256,
    TimeS,
    tidy,
)


class DownloadGranted(Struct, frozen=True, kw_only=True, array_like=True, tag="download.granted/1"):
    """A selector sent a visitor to a mirror: the notice that this address has leave to download this file.

    ``grant_id`` is also in the token, 16 bytes. ``address`` is the visitor's, as text. ``rejected`` gives each
    mirror that was not chosen with its reject reason's code.
    """

    selector: Selector
    grant_id: GrantId
    mirror: Mirror
    path: Path
    generation: Generation
    sha256: Sha256
    size_bytes: Bytes
    address: Address
    start_by_s: TimeS
    finish_by_s: TimeS
    rejected: Annotated[dict[Mirror, Code], Meta(max_length=MIRRORS_MAX)] = {}

    def __post_init__(self) -> None:
        """Check what a pattern cannot."""
        parse_path(self.path)
        normalise(self.address)


class DownloadStarted(Struct, frozen=True, kw_only=True, array_like=True, tag="download.started/1"):
    """The first transfer under a grant began at the mirror (or at the master, as ``origin``). Said once a grant."""

    mirror: Mirror
    grant_id: GrantId
    sha256: Sha256
    address: Address

    def __post_init__(self) -> None:
        """Check what a pattern cannot."""
        normalise(self.address)


class DownloadFinished(Struct, frozen=True, kw_only=True, array_like=True, tag="download.finished/1"):
    """All bytes that the visitor asked for in one request were sent: ``sent_bytes`` from ``first_byte`` (from 0) on.

    A resumed or segmented download is several of these under one ``grant_id``.
    """

    mirror: Mirror
    grant_id: GrantId
    sha256: Sha256
    first_byte: Bytes
    sent_bytes: Bytes


class DownloadAborted(Struct, frozen=True, kw_only=True, array_like=True, tag="download.aborted/1"):
    """A transfer ended early; of the ``wanted_bytes`` from ``first_byte`` on, ``sent_bytes`` is what really left."""

    mirror: Mirror
    grant_id: GrantId
    sha256: Sha256
    first_byte: Bytes
    wanted_bytes: Bytes
    sent_bytes: Bytes
    reason: str

    def __post_init__(self) -> None:
        """Keep the text short and plain, whoever wrote it."""
        tidy(self, "reason")
