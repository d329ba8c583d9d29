"""Lists of folders: only what the visitor may have without being asked who he is, a page at a time."""

from __future__ import annotations

import asyncio
from itertools import islice
from typing import Final, TypeAlias

from events.grants import IPAddress
from selection.access.networks import is_listed
from selection.answering.surface.schemas import EntryTold, FolderTold
from selection.answering.surface.words import moment
from selection.view.file import PublishedFile
from selection.view.fleet import FleetView

ENTRIES_PER_PAGE: Final = 500  # a page that a phone still shows at once
_FILES_AT_ONCE: Final = 100  # looked at in less than a millisecond; then visitors get their turn
# So many hidden files are looked through for those that make a page's folders visible; the folders after are not shown.
HIDDEN_MAX: Final = 10_000

Entry: TypeAlias = tuple[str, PublishedFile | None]
"""A name in a folder, with the file of that name; a subfolder has none."""


async def list_folder(view: FleetView, folder: str, address: IPAddress, *, after: str) -> FolderTold:
    """List what is visible of a folder; it is empty, or ends with a slash.

    What begins the next page is the name of something visible, too.
    """
    entries = await Glance(view, address).entries(folder, after, limit=ENTRIES_PER_PAGE + 1)
    page = entries[:ENTRIES_PER_PAGE]
    return FolderTold(
        folder=folder,
        folders=[name.removesuffix("/") for name, file in page if file is None],
        files=[_entry(file, name) for name, file in page if file is not None],
        next=page[-1][0] if len(entries) > ENTRIES_PER_PAGE else None,
    )


class Glance:
    """One look at the catalogue with a visitor's eyes, that does not go on for ever."""

    def __init__(self, view: FleetView, address: IPAddress) -> None:
        self._view, self._address = view, address
        self._hidden_left = HIDDEN_MAX

    async def entries(self, folder: str, after: str, *, limit: int) -> list[Entry]:
        """Give what is to be seen directly in a folder after a name, in order; subfolders end with a slash."""
        entries: list[Entry] = []
        place: str | None = after
        while place is not None and len(entries) < limit and self._hidden_left > 0:
            found = self._view.catalogue.folder(folder, after=place, limit=limit)
            files = {file.path.removeprefix(folder): file for file in found.files}
            for name in sorted((*found.subfolders, *files)):
                file = files.get(name)
                if await self.shows(folder + name) if file is None else self._may_see(file):
                    entries.append((name, file))
            place = found.next_after
            await asyncio.sleep(0)  # visitors first
        return entries[:limit]

    async def shows(self, folder: str) -> bool:
        """Tell whether there is anything to see in or below a folder."""
        after = folder
        while self._hidden_left > 0:
            begun_after = after
            for file in islice(self._view.catalogue.after(after), _FILES_AT_ONCE):
                if not file.path.startswith(folder):
                    return False
                if self._may_see(file):
                    return True
                after = file.path
            if after == begun_after:
                return False
            await asyncio.sleep(0)  # visitors first
        return False

    def _may_see(self, file: PublishedFile) -> bool:
        sees = is_listed(file.access, self._address)
        self._hidden_left -= not sees
        return sees


def _entry(file: PublishedFile, name: str) -> EntryTold:
    return EntryTold(
        name=name,
        size_bytes=file.size_bytes,
        sha256=file.sha256.hex(),
        published_at=moment(file.published_at_ns).isoformat(),
    )
