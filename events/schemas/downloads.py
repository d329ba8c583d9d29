"""What is said about downloads: granted by a selector, revoked by the master, begun and ended where they are served."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Annotated

from msgspec import Meta, Struct

from events.grants import normalise
from events.names import parse_path
from events.schemas.fields import (
    MIRRORS_MAX,
    Address,
    Bytes,
    Code,
    Count,
    Generation,
    GrantId,
    Mirror,
    Network,
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


class GrantClaimed(Struct, frozen=True, kw_only=True, array_like=True, tag="grant.claimed/1"):
    """A visitor showed a good token from an address of the other family, and the grant is bound to that one, too.

    Once a grant: a host with IPv4 and IPv6 may reach the selector by one and the mirror by the other.
    """

    mirror: Mirror
    grant_id: GrantId
    address: Address

    def __post_init__(self) -> None:
        """Check what a pattern cannot."""
        normalise(self.address)


class GrantsRevoked(Struct, frozen=True, kw_only=True, array_like=True, tag="grants.revoked/1"):
    """The master took grants back. Running downloads under them are cut, and later requests are refused.

    It holds for grants that agree with each of ``mirror``, ``grant_id``, ``sha256`` and ``network`` that is given, and
    whose download could begin no later than ``start_by_s_max``: those that were given before. ``until_s`` is when the
    last of them would end by itself.
    """

    revocation: Count
    start_by_s_max: TimeS
    until_s: TimeS
    reason: str
    mirror: Mirror | None = None
    grant_id: GrantId | None = None
    sha256: Sha256 | None = None
    network: Network | None = None

    def __post_init__(self) -> None:
        """Check what a pattern cannot."""
        if self.network is not None:
            ip_network(self.network)
        if self.mirror is None and self.grant_id is None and self.sha256 is None and self.network is None:
            raise ValueError("say which grants: by mirror, grant, content or network")
        tidy(self, "reason")
