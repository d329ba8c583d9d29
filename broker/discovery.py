"""Which generation of the log is the one: found in the broker itself, by whoever reads the log.

A generation's name is never used again, so the newest that is there and sound is the log. A ruined one may answer like
a missing one, or not at all; it does not hide a newer one.
"""

from __future__ import annotations

from typing import Final, Protocol

import structlog

from broker.port import TopologyError
from broker.topology import log_stream

# A generation ends when the broker lost or ruined the stream: once in years. A question costs 2 ms.
GENERATIONS_AHEAD_MAX: Final = 32

log = structlog.stdlib.get_logger()


class Directory(Protocol):
    """Whoever can tell what is in the broker: any ``Broker`` and any ``Admin``."""

    async def exists(self, queue: str) -> bool:
        """Tell whether a queue or stream is there.

        Raises:
            TopologyError: it is there but broken.
        """
        ...


async def newest_generation(directory: Directory, *, known: int = 1, ahead: int = GENERATIONS_AHEAD_MAX) -> int | None:
    """Find the newest generation whose stream is there; None when the master has not opened any yet.

    ``known`` is where to begin: the last generation that the caller knew of. ``ahead`` is how many may be missing in a
    row before the search ends.

    Raises:
        DisconnectedError: the broker did not answer in time; ask again.
    """
    return max(await generations(directory, known=known, ahead=ahead), default=None)


async def generations(directory: Directory, *, known: int = 1, ahead: int = GENERATIONS_AHEAD_MAX) -> list[int]:
    """Find all generations from ``known`` on whose streams are there, the oldest first; see ``newest_generation``.

    Raises:
        DisconnectedError: the broker did not answer in time; ask again.
    """
    found: list[int] = []
    candidate = known
    while candidate <= (found[-1] if found else known) + ahead:
        if await _is_sound(directory, log_stream(candidate)):
            found.append(candidate)
        candidate += 1
    return found


async def _is_sound(directory: Directory, stream: str) -> bool:
    try:
        return await directory.exists(stream)
    except TopologyError as error:
        log.warning("broker.stream_broken", stream=stream, error=str(error))
        return False
