"""What the master says about its catalogue: channels, and the files in them."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Annotated

from msgspec import Meta, Struct, field

from events.names import parse_path
from events.schemas.fields import (
    MEDIA_TYPES_MAX,
    NETWORKS_MAX,
    Bytes,
    Channel,
    Generation,
    Globs,
    MediaType,
    MediaTypePattern,
    Network,
    Path,
    Sequence,
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


class ChannelDefined(Struct, frozen=True, kw_only=True, array_like=True, tag="channel.defined/1"):
    """A channel exists, with this filter. Said again, whole, whenever the filter changes."""

    channel: Channel
    filter: Filter
    description: str = ""

    def __post_init__(self) -> None:
        """Keep the text short and plain, whoever wrote it."""
        tidy(self, "description")


class ChannelRemoved(Struct, frozen=True, kw_only=True, array_like=True, tag="channel.removed/1"):
    """A channel is gone. Its files were withdrawn from it before this was said."""

    channel: Channel


class Access(Struct, frozen=True, kw_only=True, array_like=True):
    """Who may download a file. Without networks: everyone.

    ``networks`` are CIDR blocks (``192.0.2.0/24``, ``2001:db8::/32``); an address in one of them has access.
    """

    networks: Annotated[tuple[Network, ...], Meta(max_length=NETWORKS_MAX)] = ()

    def __post_init__(self) -> None:
        """Check what a pattern cannot."""
        for network in self.networks:
            ip_network(network)


PUBLIC = Access()


class FilePublished(Struct, frozen=True, kw_only=True, array_like=True, tag="file.published/1"):
    """A file is in a channel. One such fact for each channel it is in, and one for the channel ``origin``.

    ``generation`` rises with each new content under the same path. ``channel_sequence`` numbers the facts of
    one channel without a gap, so that a reader of that channel alone notices what it missed.
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

    def __post_init__(self) -> None:
        """Check what a pattern cannot."""
        parse_path(self.path)


class FileWithdrawn(Struct, frozen=True, kw_only=True, array_like=True, tag="file.withdrawn/1"):
    """A file left a channel: withdrawn by a person, replaced, or no longer taken by the filter.

    Withdrawn from ``origin`` it is gone from the catalogue. It beats any publication of the same path with
    the same or a lower generation and a lower ``channel_sequence``, whatever arrives first.
    """

    channel: Channel
    channel_sequence: Sequence
    path: Path
    generation: Generation
    sha256: Sha256
    reason: str

    def __post_init__(self) -> None:
        """Check what a pattern cannot."""
        parse_path(self.path)
        tidy(self, "reason")
