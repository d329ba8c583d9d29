"""Lists of folders: only what the visitor may have without being asked who he is, a page at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from itertools import islice
from typing import Final

from events.grants import IPAddress
from selection.access.networks import is_listed
from selection.answering.surface.schemas import EntryTold, FolderTold
from selection.answering.surface.words import moment
from selection.view.file import PublishedFile
from selection.view.fleet import FleetView

ENTRIES_PER_PAGE: Final = 500  # a page that a phone still shows at once
_FILES_AT_ONCE: Final = 100  # looked at in a millisecond; then visitors get their turn
# So many hidden files are looked through for one that makes a folder visible; a folder with more of them is not shown.
_HIDDEN_MAX: Final = 10_000


async def list_folder(view: FleetView, folder: str, address: IPAddress, *, after: str) -> FolderTold:
    """List what is visible of a folder; it is empty, or ends with a slash."""
    found = view.catalogue.folder(folder, after=after, limit=ENTRIES_PER_PAGE)
    return FolderTold(
        folder=folder,
        folders=[name async for name in _visible(view, folder, found.subfolders, address)],
        files=[_entry(file, folder) for file in found.files if is_listed(file.access, address)],
        next=found.next_after,
    )


async def shows(view: FleetView, folder: str, address: IPAddress) -> bool:
    """Tell whether a visitor may see anything in or below a folder."""
    after, looked_at = folder, 0
    while looked_at < _HIDDEN_MAX:
        seen = list(islice(view.catalogue.after(after), _FILES_AT_ONCE))
        for file in seen:
            if not file.path.startswith(folder):
                return False
            if is_listed(file.access, address):
                return True
        if len(seen) < _FILES_AT_ONCE:
            return False
        after, looked_at = seen[-1].path, looked_at + len(seen)
        await asyncio.sleep(0)  # visitors first
    return False


async def _visible(view: FleetView, folder: str, names: tuple[str, ...], address: IPAddress) -> AsyncIterator[str]:
    for name in names:
        if await shows(view, folder + name, address):
            yield name.removesuffix("/")


def _entry(file: PublishedFile, folder: str) -> EntryTold:
    return EntryTold(
        name=file.path.removeprefix(folder),
        size_bytes=file.size_bytes,
        sha256=file.sha256.hex(),
        published_at=moment(file.published_at_ns).isoformat(),
    )
