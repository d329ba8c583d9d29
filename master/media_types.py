"""Guess a media type from a file's name. Pure, and the same on every machine: the system's own table is not read."""

from __future__ import annotations

from mimetypes import MimeTypes
from typing import Final

from events.names import FilePath

UNKNOWN: Final = "application/octet-stream"

# What a .gz holds matters less than that it is one: the bytes under the digest are the packed ones.
_PACKED: Final = {
    "gzip": "application/gzip",
    "bzip2": "application/x-bzip2",
    "xz": "application/x-xz",
    "compress": "application/x-compress",
    "br": "application/octet-stream",
}
_MORE: Final = {
    ".7z": "application/x-7z-compressed",
    ".deb": "application/vnd.debian.binary-package",
    ".img": "application/octet-stream",
    ".iso": "application/x-iso9660-image",
    ".mkv": "video/x-matroska",
    ".rpm": "application/x-rpm",
    ".webm": "video/webm",
    ".whl": "application/zip",
    ".zst": "application/zstd",
}

_table = MimeTypes()
for _suffix, _media_type in _MORE.items():
    _table.add_type(_media_type, _suffix)


def guess_media_type(path: FilePath) -> str:
    """Guess what a file is by its name."""
    # A plain name: anything like a URL would be parsed as one.
    media_type, packed = _table.guess_type("./" + path.rpartition("/")[2])
    return _PACKED.get(packed, UNKNOWN) if packed is not None else media_type or UNKNOWN
