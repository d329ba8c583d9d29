"""Pages of the list of all files: what the asker may have without being asked who he is, with the mirrors of each."""

from __future__ import annotations

import asyncio
from itertools import compress, islice
from typing import Final

from events.grants import IPAddress
from selection.access.networks import is_listed
from selection.answering.surface.schemas import FilesTold, FileTold
from selection.answering.surface.words import moment
from selection.view.file import PublishedFile
from selection.view.fleet import FleetView

FILES_PAGE_MAX: Final = 1000  # some 300 KB of JSON
# Mirrors named on one page, 1 MB of JSON: all that hold a thousand files in a fleet of a hundred, ten in one of 10,000.
COPIES_PAGE_MAX: Final = 100_000
FILES_AT_ONCE: Final = 100  # looked at, or told in a small fleet, in a millisecond; then visitors get their turn

_IS_SET: Final = bytes.maketrans(b"01", b"\0\1")


async def list_files(view: FleetView, after: str, address: IPAddress | None, *, limit: int) -> FilesTold:
    """Give files after a path that may be listed to an address (None: to somebody who may see all), in order.

    They are as many as asked for or fewer: ``next`` tells whether there may be more.
    """
    found: list[FileTold] = []
    copies = 0
    while True:
        seen, names = list(islice(view.catalogue.after(after), FILES_AT_ONCE)), names_by_number(view)
        for file in seen:
            if address is None or is_listed(file.access, address):
                found.append(_told(file, holders_of(file, view, names)))
                copies += len(found[-1].mirrors)
                if len(found) == limit or copies >= COPIES_PAGE_MAX:
                    return FilesTold(files=found, next=file.path)
        if len(seen) < FILES_AT_ONCE:
            return FilesTold(files=found, next=None)
        after = seen[-1].path
        await asyncio.sleep(0)  # visitors first


def names_by_number(view: FleetView) -> list[str]:
    """Give the names of the fleet's mirrors in the places of their numbers; nobody's is empty."""
    mirrors = view.mirrors()
    names = [""] * (1 + max((mirror.number for mirror in mirrors), default=0))
    for mirror in mirrors:
        names[mirror.number] = mirror.name
    return names


def holders_of(file: PublishedFile, view: FleetView, names: list[str]) -> list[str]:
    """Name the mirrors that hold a file, in order."""
    bits = f"{view.holders(file.sha256):b}"[::-1].encode().translate(_IS_SET)  # many times as fast as bit by bit
    return sorted(filter(None, compress(names, bits)))


def _told(file: PublishedFile, mirrors: list[str]) -> FileTold:
    return FileTold(
        path=file.path,
        size_bytes=file.size_bytes,
        sha256=file.sha256.hex(),
        generation=file.generation,
        media_type=file.media_type,
        tags=list(file.tags),
        channels=list(file.channels),
        mirrors=mirrors,
        published_at=moment(file.published_at_ns).isoformat(),
    )
