"""Which bytes the master serves: published content, in place, while it still is what was published."""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from edge.dates import changed_s
from edge.files import Content
from events.names import Digest, FilePath, MirrorName, file_name, is_held
from master.catalogue import PublishedFile
from master.errors import ForbiddenError, NotFoundError, UnusableFileError
from master.hashing import check_unchanged, open_regular
from master.store.catalogue import Copy
from master.store.store import Store

log = structlog.stdlib.get_logger()


class Serving:
    """Finds published content for whoever may have it."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def for_mirror(self, mirror: MirrorName, sha256: Digest) -> Content:
        """Give content to a mirror, if one of its channels holds it.

        Raises:
            NotFoundError: nothing like that is published.
            ForbiddenError: none of the mirror's channels holds it.
            UnusableFileError: the file is not what was published.
        """
        return sound(await self._copies_for(mirror, sha256))

    async def file_for_mirror(self, mirror: MirrorName, sha256: Digest) -> PublishedFile:
        """Describe content to a mirror, if one of its channels holds it.

        Raises:
            NotFoundError: nothing like that is published.
            ForbiddenError: none of the mirror's channels holds it.
        """
        return (await self._copies_for(mirror, sha256))[0].file

    async def for_visitor(self, sha256: Digest) -> Content:
        """Give content to a visitor who was granted it.

        Raises:
            NotFoundError: it is not published any more.
            UnusableFileError: the file is not what was published.
        """
        async with self._store.reading() as transaction:
            copies = _visible(await transaction.catalogue.copies(sha256))
        if not copies:
            raise _unknown(sha256)
        return sound(copies)

    async def path_of(self, sha256: Digest) -> FilePath | None:
        """Give a path under which content is published, to ask for it anew."""
        async with self._store.reading() as transaction:
            copies = _visible(await transaction.catalogue.copies(sha256))
        return copies[0].file.path if copies else None

    async def _copies_for(self, mirror: MirrorName, sha256: Digest) -> Sequence[Copy]:
        async with self._store.reading() as transaction:
            copies = await transaction.catalogue.copies(sha256)
            holding = await transaction.catalogue.channels_holding(sha256)
            followed = await transaction.fleet.subscriptions(mirror)
        if not copies:
            raise _unknown(sha256)
        if not holding & set(followed):
            raise ForbiddenError("not_subscribed", f"no channel that {mirror} follows holds {sha256.hex()}")
        return copies


def _visible(copies: Sequence[Copy]) -> Sequence[Copy]:
    """Leave out what is held: it is for mirrors alone."""
    return [copy for copy in copies if not is_held(copy.file.path)]


def sound(copies: Sequence[Copy]) -> Content:
    """Give the first copy that is still what was published.

    Raises:
        UnusableFileError: none is; the message is of the last.
    """
    refusal: UnusableFileError | None = None
    for copy in copies:
        try:
            with open_regular(copy.source.location) as descriptor:
                check_unchanged(descriptor, copy.source)
        except UnusableFileError as error:
            log.warning("file.unservable", path=copy.file.path, problem=error.message)
            refusal = error
        else:
            return _content(copy)
    assert refusal is not None  # noqa: S101 - the caller gives at least one copy
    raise refusal


def _content(copy: Copy) -> Content:
    return Content(
        path=copy.source.location,
        size_bytes=copy.file.size_bytes,
        sha256=copy.file.sha256,
        media_type=copy.file.media_type,
        file_name=file_name(copy.file.path),
        changed_s=changed_s(copy.file.published_at_ns),
    )


def _unknown(sha256: Digest) -> NotFoundError:
    return NotFoundError("content_unknown", f"nothing is published with the digest {sha256.hex()}")
