"""What holds publishes back on a new connection until the log answers.

A booting RabbitMQ (3.10.8) takes connections before its streams are up. What is published then is confirmed by the
queues that are there, and is not in the log: an event that every replay would miss. Such a stream is told from a
missing one when one asks whether it exists; asking is patient while the broker may be coming up.
"""

from __future__ import annotations

from typing import Final

from broker.discovery import newest_generation
from broker.rabbitmq.declarations import exists
from broker.rabbitmq.session import Session

# Once the newest generation is known, it and the next are asked for; the first time all that there may be.
AHEAD_OF_KNOWN: Final = 1


class LogGate:
    """Passed once on each connection, before the first publish."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._generation: int | None = None

    async def passed(self) -> None:
        """Return when the log answers, is known to be ruined, or was never opened.

        Raises:
            DisconnectedError: nobody answered in time.
        """
        if self._generation is None:
            self._generation = await newest_generation(self)
        else:
            found = await newest_generation(self, known=self._generation, ahead=AHEAD_OF_KNOWN)
            self._generation = found or self._generation

    async def exists(self, queue: str) -> bool:
        """Tell whether a stream is there; see ``declarations.exists``."""
        return await exists(self._session, queue)
