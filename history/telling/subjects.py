"""What an event is about: mirrors, files, channels, contents. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

from events.schemas import (
    DecisionsRecorded,
    DownloadsGranted,
    DownloadsReported,
    Event,
    InventoryAnnounced,
    MirrorInvited,
    SourceBanned,
)

NOTHING: Final[frozenset[str]] = frozenset()
NO_CONTENT: Final[frozenset[bytes]] = frozenset()


class Subjects(NamedTuple):
    """Names and digests that an event names. A content is named by its SHA-256."""

    mirrors: frozenset[str] = NOTHING
    paths: frozenset[str] = NOTHING
    channels: frozenset[str] = NOTHING
    contents: frozenset[bytes] = NO_CONTENT


def subjects_of(event: Event) -> Subjects:  # noqa: PLR0911 - one case for each kind of event that has its own
    """Tell what an event is about. How all mirrors stood (``standing.recorded``) is about none of them."""
    match event:
        case DownloadsGranted():
            return Subjects(
                mirrors=frozenset((event.mirror,)),
                paths=frozenset(each.path for each in event.grants),
                contents=frozenset(each.sha256 for each in event.grants),
            )
        case DownloadsReported():
            return Subjects(
                mirrors=frozenset((event.mirror,)), contents=frozenset(each.sha256 for each in event.downloads)
            )
        case DecisionsRecorded():
            return Subjects(
                mirrors=_named(each.mirror for each in event.decisions),
                paths=frozenset(each.path for each in event.decisions),
            )
        case InventoryAnnounced():
            return Subjects(mirrors=frozenset((event.mirror,)), contents=frozenset(event.sha256s))
        case MirrorInvited():
            return Subjects(mirrors=frozenset((event.mirror,)), channels=frozenset(event.channels))
        case SourceBanned():
            return Subjects(mirrors=frozenset((event.mirror, event.source)), contents=frozenset((event.sha256,)))
        case _:
            return Subjects(
                mirrors=_named((getattr(event, "mirror", None),)),
                paths=_named((getattr(event, "path", None),)),
                channels=_named((getattr(event, "channel", None),)),
                contents=frozenset(each for each in (getattr(event, "sha256", None),) if each is not None),
            )


def _named(names: Iterable[str | None]) -> frozenset[str]:
    return frozenset(name for name in names if name is not None)
