"""A published file as visitors' questions need it. Pure."""

from __future__ import annotations

from msgspec import Struct

from events.names import ChannelName, Digest, FilePath, Tag
from events.schemas import Access


class PublishedFile(Struct, frozen=True, kw_only=True, gc=False):
    """What is published under a path, and the channels that hold exactly this content of it, by name.

    Made anew for each who asks: keep the path, not this. ``number`` is the view's own name for the path while anything
    is published there; another file may have it afterwards. ``content`` is its name for what is published, and another
    content may have it afterwards: look there first, and believe ``sha256``.
    """

    number: int
    content: int
    path: FilePath
    generation: int
    size_bytes: int
    sha256: Digest
    media_type: str
    tags: tuple[Tag, ...]
    access: Access
    published_at_ns: int
    channels: tuple[ChannelName, ...]


class Digests(Struct, frozen=True, kw_only=True, gc=False):
    """A file's digests that nothing is decided by, for those who ask for them; empty where the site makes none."""

    md5: bytes = b""
    sha1: bytes = b""


class Pieces(Struct, frozen=True, kw_only=True, gc=False):
    """The SHA-256 of each piece of ``piece_bytes``, one after the other; 0 and nothing for a file of one piece."""

    piece_bytes: int = 0
    piece_digests: bytes = b""
