"""What is said about downloads: granted by a selector, then begun and ended at a mirror or at the master."""

from __future__ import annotations

from msgspec import Struct

from events.names import Digest, FilePath, MirrorName, SelectorName


class DownloadGranted(Struct, frozen=True, kw_only=True, array_like=True, tag="download.granted/1"):
    """A selector sent a visitor to a mirror: the notice that this address has leave to download this file.

    ``grant_id`` is also in the token, 16 bytes. ``address`` is the visitor's, as text. ``rejected`` gives each
    mirror that was not chosen with its reject reason's code.
    """

    selector: SelectorName
    grant_id: bytes
    mirror: MirrorName
    path: FilePath
    generation: int
    sha256: Digest
    size_bytes: int
    address: str
    start_by_s: int
    finish_by_s: int
    rejected: dict[MirrorName, str] = {}


class DownloadStarted(Struct, frozen=True, kw_only=True, array_like=True, tag="download.started/1"):
    """The first byte of a granted download left the mirror (or the master, as ``origin``)."""

    mirror: MirrorName
    grant_id: bytes
    sha256: Digest
    address: str


class DownloadFinished(Struct, frozen=True, kw_only=True, array_like=True, tag="download.finished/1"):
    """All bytes that the visitor asked for in one request were sent."""

    mirror: MirrorName
    grant_id: bytes
    sha256: Digest
    sent_bytes: int


class DownloadAborted(Struct, frozen=True, kw_only=True, array_like=True, tag="download.aborted/1"):
    """A transfer ended early; ``sent_bytes`` is what really left."""

    mirror: MirrorName
    grant_id: bytes
    sha256: Digest
    sent_bytes: int
    reason: str
