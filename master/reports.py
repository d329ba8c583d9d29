"""What publishing tells while it works, and of each file when it is done with it. Written as lines of JSON."""

from __future__ import annotations

from typing import TypeAlias

from msgspec import Struct

from events.names import ChannelName, FilePath


class Progress(Struct, frozen=True, kw_only=True, tag="progress", tag_field="type"):
    """A file is being hashed."""

    path: FilePath
    hashed_bytes: int
    total_bytes: int


class Published(Struct, frozen=True, kw_only=True, tag="published", tag_field="type"):
    """A file is in the catalogue, or was said anew. In a dry run: would be."""

    path: FilePath
    sha256: str
    size_bytes: int
    generation: int
    channels: list[ChannelName]


class Held(Struct, frozen=True, kw_only=True, tag="held", tag_field="type"):
    """A file is held. In a dry run: would be. ``generation`` is the one that it will be."""

    path: FilePath
    sha256: str
    size_bytes: int
    generation: int
    channels: list[ChannelName]


class Unchanged(Struct, frozen=True, kw_only=True, tag="unchanged", tag_field="type"):
    """A file stood in the catalogue just like that."""

    path: FilePath
    sha256: str
    size_bytes: int
    generation: int
    channels: list[ChannelName]


class Refused(Struct, frozen=True, kw_only=True, tag="refused", tag_field="type"):
    """A file was not published; the others go on."""

    path: str
    code: str
    message: str


class Done(Struct, frozen=True, kw_only=True, tag="done", tag_field="type"):
    """All is done. ``hidden`` counts the hidden files and folders that were left out.

    ``hold`` is the number under which the held files are released together; None without any.
    """

    published: int
    held: int
    unchanged: int
    refused: int
    hidden: int
    hold: int | None


Verdict: TypeAlias = Published | Held | Unchanged | Refused
Report: TypeAlias = Progress | Verdict | Done
