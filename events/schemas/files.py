"""What the master says about its catalogue: channels, and the files in them."""

from __future__ import annotations

from enum import Enum
from ipaddress import ip_network
from typing import Annotated, TypeAlias

from msgspec import Meta, Struct, field

from events.names import SHA256_BYTES, check_published_path
from events.pieces import PIECES_MAX, piece_count
from events.schemas.fields import (
    MD5_BYTES,
    MEDIA_TYPES_MAX,
    SHA1_BYTES,
    Bytes,
    Channel,
    Generation,
    Globs,
    Md5,
    MediaType,
    MediaTypePattern,
    Networks,
    Path,
    Sequence,
    Sha1,
    Sha256,
    Tags,
    TimeNs,
    tidy,
)


class Filter(Struct, frozen=True, kw_only=True, array_like=True):
    """Which files a channel takes. Every rule that is set must hold; an empty filter takes everything.

    Sizes are in bytes and inclusive. Globs match the whole path: ``*`` and ``?`` stop at a slash, ``**``
    does not. A media type may end in ``/*``.
    """

    size_bytes_min: Bytes | None = None
    size_bytes_max: Bytes | None = None
    tags_any: Tags = ()
    tags_none: Tags = ()
    paths_any: Globs = ()
    paths_none: Globs = ()
    media_types: Annotated[tuple[MediaTypePattern, ...], Meta(max_length=MEDIA_TYPES_MAX)] = ()


class AddressPolicy(Enum):
    """How closely a link to a channel's files is bound to the address that asked for it.

    ``STRICT``: an IPv4 address, an IPv6 /64. ``PREFIX``: an IPv4 /24, an IPv6 /56, for visitors behind pools of
    addresses. ``OFF``: anybody who has the link. Under the first two the other address family may claim the link once.
    What a newer version knows is read as ``STRICT``.
    """

    STRICT = "strict"
    PREFIX = "prefix"
    OFF = "off"

    @classmethod
    def _missing_(cls, value: object) -> AddressPolicy | None:
        return cls.STRICT if isinstance(value, str) else None


class ChannelDefined(Struct, frozen=True, kw_only=True, array_like=True, tag="channel.defined/1"):
    """A channel exists, with this filter. Said again, whole, whenever anything of it changes."""

    channel: Channel
    filter: Filter
    description: str = ""
    address_policy: AddressPolicy = AddressPolicy.STRICT

    def __post_init__(self) -> None:
        """Keep the text short and plain, whoever wrote it."""
        tidy(self, "description")


class ChannelRemoved(Struct, frozen=True, kw_only=True, array_like=True, tag="channel.removed/1"):
    """A channel is gone. Its files were withdrawn from it before this was said."""

    channel: Channel


class AccessMode(Enum):
    """Who decides whether a visitor may download a file.

    ``PUBLIC``: nobody; its networks alone count. ``TICKET``: the site signs a link that expires. ``SITE``: the selector
    asks the site's own URL, with the visitor's cookie. What a newer version knows is read as ``TICKET``, which nobody
    has.
    """

    PUBLIC = "public"
    TICKET = "ticket"
    SITE = "site"

    @classmethod
    def _missing_(cls, value: object) -> AccessMode | None:
        return cls.TICKET if isinstance(value, str) else None


class Access(Struct, frozen=True, kw_only=True, array_like=True):
    """Who may download a file: an address in one of ``networks`` (or, without any, every one) that ``mode`` lets in.

    ``networks`` are CIDR blocks (``192.0.2.0/24``, ``2001:db8::/32``).
    """

    networks: Networks = ()
    mode: AccessMode = AccessMode.PUBLIC

    def __post_init__(self) -> None:
        """Check what a pattern cannot."""
        for network in self.networks:
            ip_network(network)


PUBLIC = Access()

PieceDigests: TypeAlias = Annotated[bytes, Meta(max_length=PIECES_MAX * SHA256_BYTES)]


class WithdrawMode(Enum):
    """What becomes of running downloads: they may end, or they are cut. What a newer version knows cuts them."""

    DRAIN = "drain"
    CUT = "cut"

    @classmethod
    def _missing_(cls, value: object) -> WithdrawMode | None:
        return cls.CUT if isinstance(value, str) else None


class FilePublished(Struct, frozen=True, kw_only=True, array_like=True, tag="file.published/1"):
    """A file is in a channel. One such fact for each channel it is in, and one for the channel ``origin``.

    ``generation`` rises with each new content under the same path. ``channel_sequence`` numbers the facts of
    one channel without a gap, so that a reader of that channel alone notices what it missed.
    ``piece_digests`` has the SHA-256 of each piece of ``piece_bytes``, one after the other; a file of one piece has
    neither (``events.pieces``). ``md5`` and ``sha1`` are empty where the site does not make them; nothing is decided by
    them.
    """

    channel: Channel
    channel_sequence: Sequence
    path: Path
    generation: Generation
    size_bytes: Bytes
    sha256: Sha256
    media_type: MediaType
    tags: Tags = ()
    access: Access = field(default=PUBLIC)
    published_at_ns: TimeNs = 0
    piece_bytes: Bytes = 0
    piece_digests: PieceDigests = b""
    md5: Md5 = b""
    sha1: Sha1 = b""

    def __post_init__(self) -> None:
        """Check what a pattern cannot."""
        check_published_path(self.path)
        if len(self.md5) not in {0, MD5_BYTES} or len(self.sha1) not in {0, SHA1_BYTES}:
            raise ValueError(f"an MD5 of {len(self.md5)} and an SHA-1 of {len(self.sha1)} bytes")
        if self.piece_bytes or self.piece_digests:
            expected = piece_count(self.size_bytes, self.piece_bytes) * SHA256_BYTES
            if not self.piece_bytes or len(self.piece_digests) != expected:
                raise ValueError(f"{len(self.piece_digests)} bytes of piece digests instead of {expected}")


class FileWithdrawn(Struct, frozen=True, kw_only=True, array_like=True, tag="file.withdrawn/1"):
    """A file left a channel: withdrawn by a person, replaced, or no longer taken by the filter.

    Withdrawn from ``origin`` it is gone from the catalogue. It beats any publication of the same path with
    the same or a lower generation and a lower ``channel_sequence``, whatever arrives first. A mirror acknowledges it by
    ``channel.followed``; until then it is used for no later publication of the path.
    """

    channel: Channel
    channel_sequence: Sequence
    path: Path
    generation: Generation
    sha256: Sha256
    reason: str
    mode: WithdrawMode = WithdrawMode.DRAIN

    def __post_init__(self) -> None:
        """Check what a pattern cannot."""
        check_published_path(self.path)
        tidy(self, "reason")
