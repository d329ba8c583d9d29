"""Names and the grammar of each. Parse once, at the edge; then trust the type.

A parsed name is safe where it is used: a ``MirrorName`` or ``ChannelName`` may stand in a RabbitMQ
routing key, permission pattern, user name and queue name; a ``FilePath`` may stand in a URL path
and never leaves the folder that it is joined to.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final, NewType

from events.errors import InvalidNameError

ChannelName = NewType("ChannelName", str)
"""What mirrors subscribe to. AMQP's channel is always called ``amqp_channel``."""

MirrorName = NewType("MirrorName", str)
"""A friend's server. It stands in RabbitMQ permission patterns, where any other character is a hole."""

SelectorName = NewType("SelectorName", str)
"""One selector process."""

FilePath = NewType("FilePath", str)
"""Where a file stands in the catalogue and in the master's link: relative, ``/`` between segments."""

Digest = NewType("Digest", bytes)
"""The SHA-256 of a file's content, 32 bytes."""

Tag = NewType("Tag", str)
"""A word that a channel's filter can ask for, such as ``confidential`` or ``arch=arm64``."""

ORIGIN_CHANNEL: Final = ChannelName("origin")
"""The reserved channel that every published file is in and no mirror can subscribe to: the catalogue itself."""

ORIGIN: Final = MirrorName("origin")
"""The reserved name under which the master itself serves: as source for mirrors and as fallback for visitors."""

SELF: Final = "self"
"""What stands in the master's URLs for the mirror that asks."""

SERVICE_PREFIX: Final = "-"
"""The first path segment that belongs to Distributary's own pages (``/-/api/v1/…``); no file may use it."""

HELD_PREFIX: Final = f"{SERVICE_PREFIX}/held/"
"""Where a held file stands until it is released: published to mirrors, which fetch it, and to no visitor."""

SHA256_BYTES: Final = 32
NAME_LENGTH_MAX: Final = 31  # mirrors x channels must fit into AMQP's 255 byte routing keys with room to spare
PATH_BYTES_MAX: Final = 1024  # well under the 8190 bytes that aiohttp and most proxies take as a request line
SEGMENT_BYTES_MAX: Final = 255  # the longest file name that common file systems keep
TAG_LENGTH_MAX: Final = 64  # a word, not a description
MEDIA_TYPE_LENGTH_MAX: Final = 127  # RFC 6838 §4.2

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,30}", re.ASCII)
_TAG = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+=:-]{0,63}", re.ASCII)
_MEDIA_TYPE = re.compile(r"[a-z0-9][a-z0-9!#$&^_.+-]*/[a-z0-9][a-z0-9!#$&^_.+-]*", re.ASCII)
# Most paths: ASCII, no segment that begins with a dot, no first one that begins with "-". A tenth of the full check.
# What ``*+`` took it never gives back: a slash is no part of a segment.
_PLAIN_PATH = re.compile(r"[!-,0-\[\]-~][ -.0-\[\]-~]*+(?:/[!-\-0-\[\]-~][ -.0-\[\]-~]*+)*", re.ASCII)
# Control characters, invisible marks such as right-to-left override, line and paragraph separators.
_UNSEEN: Final = frozenset({"Cc", "Cf", "Zl", "Zp"})
_HEX_DIGEST = re.compile(r"[0-9a-f]{64}", re.ASCII)


def _parse_name(kind: str, text: str) -> str:
    if not _NAME.fullmatch(text):
        raise InvalidNameError(
            kind, text, f"use 1 to {NAME_LENGTH_MAX} of a-z, 0-9 and '-', beginning with a letter or digit"
        )
    return text


def parse_channel(text: str) -> ChannelName:
    """Read a channel's name; refuse the reserved ``origin``.

    Raises:
        InvalidNameError: not a name, or reserved.
    """
    if text == ORIGIN_CHANNEL:
        raise InvalidNameError("channel", text, "reserved: it is the catalogue of everything the master serves itself")
    return ChannelName(_parse_name("channel", text))


def parse_mirror(text: str) -> MirrorName:
    """Read a mirror's name; refuse the reserved ``origin`` and ``self``.

    Raises:
        InvalidNameError: not a name, or reserved.
    """
    if text == ORIGIN:
        raise InvalidNameError("mirror", text, "reserved: it is the master's own copy")
    if text == SELF:
        raise InvalidNameError("mirror", text, "reserved: it is whichever mirror asks the master")
    return MirrorName(_parse_name("mirror", text))


def parse_selector(text: str) -> SelectorName:
    """Read a selector's name.

    Raises:
        InvalidNameError: not a name.
    """
    return SelectorName(_parse_name("selector", text))


def parse_tag(text: str) -> Tag:
    """Read a tag.

    Raises:
        InvalidNameError: not a tag.
    """
    if not _TAG.fullmatch(text):
        raise InvalidNameError("tag", text, f"use 1 to {TAG_LENGTH_MAX} letters, digits and . _ + = : -")
    return Tag(text)


def parse_media_type(text: str) -> str:
    """Read a media type without parameters (RFC 6838 §4.2), in lower case.

    Raises:
        InvalidNameError: not a media type.
    """
    lowered = text.lower()
    # isascii: the Kelvin sign would become a "k".
    if not text.isascii() or len(lowered) > MEDIA_TYPE_LENGTH_MAX or not _MEDIA_TYPE.fullmatch(lowered):
        raise InvalidNameError("media type", text, "write it like application/zip")
    return lowered


def parse_path(text: str) -> FilePath:
    """Read a file's place in the catalogue.

    Raises:
        InvalidNameError: empty, absolute, too long, not NFC, with ``.`` or ``..`` or an empty segment, with a
            backslash or a control character (NUL, CR and LF among them), or under the reserved ``-``.
    """
    if len(text) <= SEGMENT_BYTES_MAX and _PLAIN_PATH.fullmatch(text):
        return FilePath(text)
    if problem := _path_problem(text):
        raise InvalidNameError("path", text, problem)
    return FilePath(text)


def parse_published_path(text: str) -> FilePath:
    """Read where a published file stands: a path, or that of a held file (``held_path``).

    Raises:
        InvalidNameError: neither.
    """
    check_published_path(text)
    return FilePath(text)


def check_published_path(text: str) -> None:
    """Make sure that a published file may stand here; this is done for most events that are read.

    Raises:
        InvalidNameError: this is neither a path nor that of a held file.
    """
    # As ``parse_path`` does, whose call costs as much again; no held file's path is plain.
    if len(text) > SEGMENT_BYTES_MAX or not _PLAIN_PATH.fullmatch(text):
        parse_path(text.removeprefix(HELD_PREFIX))


def held_path(path: FilePath) -> FilePath:
    """Give where a file stands while it is held."""
    return FilePath(HELD_PREFIX + path)


def is_held(path: FilePath) -> bool:
    """Tell whether a published path is that of a held file."""
    return path.startswith(HELD_PREFIX)


def unheld_path(path: FilePath) -> FilePath:
    """Give where visitors find what stands under a published path, or will find it once it is released."""
    return FilePath(path.removeprefix(HELD_PREFIX))


def _path_problem(text: str) -> str | None:
    try:
        encoded = text.encode()
    except UnicodeEncodeError:
        return "not valid Unicode; rename the file"
    if not text or len(encoded) > PATH_BYTES_MAX:
        return f"use 1 to {PATH_BYTES_MAX} bytes"
    if not unicodedata.is_normalized("NFC", text):
        return "not in Unicode normal form C, so that two spellings would look the same; rename the file"
    if "\\" in text or (not text.isprintable() and any(map(_is_unseen, text))):
        return "control characters, invisible marks and backslashes are not allowed; rename the file"
    return _segments_problem(text.split("/"))


def _is_unseen(character: str) -> bool:
    return unicodedata.category(character) in _UNSEEN


def _segments_problem(segments: list[str]) -> str | None:
    if segments[0] == SERVICE_PREFIX:
        return f"the first folder may not be {SERVICE_PREFIX!r}: it holds Distributary's own pages"
    if any(segment in {"", ".", ".."} for segment in segments):
        return "every part between slashes must be a name; '', '.' and '..' are not (nor a slash at either end)"
    if any(len(segment.encode()) > SEGMENT_BYTES_MAX for segment in segments):
        return f"a part between slashes is longer than {SEGMENT_BYTES_MAX} bytes"
    return None


def parse_digest(text: str) -> Digest:
    """Read a SHA-256 written as 64 lower-case hexadecimal digits.

    Raises:
        InvalidNameError: anything else.
    """
    if not _HEX_DIGEST.fullmatch(text):
        raise InvalidNameError("sha256", text, "write 64 lower-case hexadecimal digits")
    return Digest(bytes.fromhex(text))


def file_name(path: FilePath) -> str:
    """Give the last segment: what a download is saved as."""
    return path.rpartition("/")[2]
