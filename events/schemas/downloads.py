"""What is said about downloads: granted by a selector, revoked by the master, reported where they are served."""

from __future__ import annotations

from enum import Enum
from ipaddress import ip_network
from typing import Annotated

from msgspec import Meta, Struct

from events.grants import normalise
from events.names import parse_path
from events.schemas.fields import (
    DOWNLOADS_MAX,
    GRANTS_MAX,
    Address,
    AddressOrNone,
    Bytes,
    Count,
    Country,
    Generation,
    GrantId,
    Mirror,
    Network,
    Path,
    Selector,
    Sha256,
    TimeNs,
    TimeS,
    Traceparent,
    tidy,
)


class Granted(Struct, frozen=True, kw_only=True, array_like=True):
    """One visitor whom a selector sent to a mirror: this address has leave to download this file.

    ``grant_id`` is also in the token, 16 bytes. ``address`` is the visitor's, as text; ``country`` where it is, or
    empty. Why this mirror and no other follows from the selector's record of the decision, which has the same id.
    """

    grant_id: GrantId
    path: Path
    generation: Generation
    sha256: Sha256
    size_bytes: Bytes
    address: Address
    country: Country
    granted_at_ns: TimeNs
    start_by_s: TimeS
    finish_by_s: TimeS
    traceparent: Traceparent = ""

    def __post_init__(self) -> None:
        """Check what a pattern cannot."""
        parse_path(self.path)
        normalise(self.address)


class DownloadsGranted(Struct, frozen=True, kw_only=True, array_like=True, tag="downloads.granted/1"):
    """A selector sent visitors to a mirror (or to the master, as ``origin``) since it last said so, oldest first.

    The notice to the mirror, and the record for the log. Said soon, but not for each: a message holds all whom the
    selector sent there since the one before.
    """

    selector: Selector
    mirror: Mirror
    grants: Annotated[tuple[Granted, ...], Meta(min_length=1, max_length=GRANTS_MAX)]


class DownloadOutcome(Enum):
    """What became of a download.

    ``STARTED``: the first byte under its grant left, and nothing has ended yet. ``FINISHED``: all that was asked for in
    one request was sent. ``ABORTED``: a request ended early. What a newer version knows is read as ``OTHER``.
    """

    STARTED = "started"
    FINISHED = "finished"
    ABORTED = "aborted"
    OTHER = "other"

    @classmethod
    def _missing_(cls, value: object) -> DownloadOutcome | None:
        return cls.OTHER if isinstance(value, str) else None


class Download(Struct, frozen=True, kw_only=True, array_like=True):
    """What is told of one download: that it began, or how one request under its grant ended.

    A resumed or segmented download ends several times under one ``grant_id``. ``at_ns`` is when it happened, by the
    speaker's clock. ``address`` is the visitor's, as text, in the first that is told of a grant, and empty afterwards:
    a download that ended before its start was told is told once, as its end. ``sent_bytes`` of the ``wanted_bytes``
    from ``first_byte`` (from 0) on is what really left; all three are 0 for a start. ``reason`` says why it was
    aborted. ``traceparent`` is the download's own span; the envelope around many of them has none.
    """

    grant_id: GrantId
    sha256: Sha256
    outcome: DownloadOutcome
    at_ns: TimeNs
    address: AddressOrNone = ""
    first_byte: Bytes = 0
    wanted_bytes: Bytes = 0
    sent_bytes: Bytes = 0
    reason: str = ""
    traceparent: Traceparent = ""

    def __post_init__(self) -> None:
        """Check what a pattern cannot."""
        if self.address:
            normalise(self.address)
        tidy(self, "reason")


class DownloadsReported(Struct, frozen=True, kw_only=True, array_like=True, tag="downloads.reported/1"):
    """What became of downloads at the mirror (or at the master, as ``origin``) since it last said so, oldest first.

    Said soon, but not for each: a report holds all that happened since the one before.
    """

    mirror: Mirror
    downloads: Annotated[tuple[Download, ...], Meta(max_length=DOWNLOADS_MAX)]


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
