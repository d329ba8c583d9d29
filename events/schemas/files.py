"""What the master says about its catalogue: channels, and the files in them."""

from __future__ import annotations

from msgspec import Struct, field

from events.names import ChannelName, Digest, FilePath, Tag


class Filter(Struct, frozen=True, kw_only=True, array_like=True):
    """Which files a channel takes. Every rule that is set must hold; an empty filter takes everything.

    Sizes are in bytes and inclusive. Globs match the whole path: ``*`` and ``?`` stop at a slash, ``**``
    does not. A media type may end in ``/*``.
    """

    size_bytes_min: int | None = None
    size_bytes_max: int | None = None
    tags_any: tuple[Tag, ...] = ()
    tags_none: tuple[Tag, ...] = ()
    paths_any: tuple[str, ...] = ()
    paths_none: tuple[str, ...] = ()
    media_types: tuple[str, ...] = ()


class ChannelDefined(Struct, frozen=True, kw_only=True, array_like=True, tag="channel.defined/1"):
    """A channel exists, with this filter. Said again, whole, whenever the filter changes."""

    channel: ChannelName
    filter: Filter
    description: str = ""


class ChannelRemoved(Struct, frozen=True, kw_only=True, array_like=True, tag="channel.removed/1"):
    """A channel is gone. Its files were withdrawn from it before this was said."""

    channel: ChannelName


class Access(Struct, frozen=True, kw_only=True, array_like=True):
    """Who may download a file. Without networks: everyone.

    ``networks`` are CIDR blocks (``192.0.2.0/24``, ``2001:db8::/32``); an address in one of them has access.
    """

    networks: tuple[str, ...] = ()


PUBLIC = Access()


class FilePublished(Struct, frozen=True, kw_only=True, array_like=True, tag="file.published/1"):
    """A file is in a channel. One such fact for each channel it is in, and one for the channel ``origin``.

    ``generation`` rises with each new content under the same path. ``channel_sequence`` numbers the facts of
    one channel without a gap, so that a reader of that channel alone notices what it missed.
    """

    channel: ChannelName
    channel_sequence: int
    path: FilePath
    generation: int
    size_bytes: int
    sha256: Digest
    media_type: str
    tags: tuple[Tag, ...] = ()
    access: Access = field(default=PUBLIC)
    published_at_ns: int = 0


class FileWithdrawn(Struct, frozen=True, kw_only=True, array_like=True, tag="file.withdrawn/1"):
    """A file left a channel: withdrawn by a person, replaced, or no longer taken by the filter.

    Withdrawn from ``origin`` it is gone from the catalogue. It beats any publication of the same path with
    the same or a lower generation and a lower ``channel_sequence``, whatever arrives first.
    """

    channel: ChannelName
    channel_sequence: int
    path: FilePath
    generation: int
    sha256: Digest
    reason: str
