"""What the master waits to hear: that what it withdrew from a channel is served no more.

``Acknowledgements`` knows, for each channel, which contents have to be gone before it may be said; ``Acknowledger``
says it, once for all that came together. It is kept in memory alone: a start removes first what nobody wants, and each
announcement says the position of every channel.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import Final, Protocol

import structlog

from events.names import ChannelName, Digest
from mirror.state.database import StoreError

RETRY_AFTER_S: Final = 1.0  # a full disk takes longer to mend, a busy one does not

log = structlog.stdlib.get_logger()


class Acknowledgements:
    """Which channels are to be acknowledged, and what has to be gone before. ``due`` is set while there is one."""

    def __init__(self) -> None:
        self._awaited: dict[ChannelName, set[Digest]] = {}
        self.due = asyncio.Event()

    def expect(self, owed: Mapping[ChannelName, Iterable[Digest]]) -> None:
        """Owe these channels an acknowledgement, as soon as the contents are gone."""
        for channel, sha256s in owed.items():
            self._awaited.setdefault(channel, set()).update(sha256s)
        self._look()

    def settle(self, sha256: Digest) -> None:
        """Take note that a content is gone, or wanted again."""
        for awaited in self._awaited.values():
            awaited.discard(sha256)
        self._look()

    def forget(self, channel: ChannelName) -> None:
        """Owe nothing to a channel: it was said, or is not followed any more."""
        self._awaited.pop(channel, None)
        self._look()

    def is_clear(self, channel: ChannelName) -> bool:
        """Tell whether all that was withdrawn from a channel is gone."""
        return not self._awaited.get(channel)

    def clear(self) -> list[ChannelName]:
        """Give the channels that may be acknowledged now."""
        return sorted(channel for channel, awaited in self._awaited.items() if not awaited)

    def _look(self) -> None:
        if any(not awaited for awaited in self._awaited.values()):
            self.due.set()
        else:
            self.due.clear()


class Acknowledging(Protocol):
    """The store, as far as it acknowledges."""

    @property
    def acknowledgements(self) -> Acknowledgements:
        """What is to be acknowledged."""
        ...

    async def acknowledge(self) -> Mapping[ChannelName, int]:
        """Say the position of each channel that is clear; give what was said.

        Raises:
            StoreError: nothing was said.
        """
        ...


class Acknowledger:
    """Says ``channel.followed`` for one mirror."""

    def __init__(self, store: Acknowledging) -> None:
        self._store = store

    async def run(self) -> None:
        """Acknowledge whatever is due, until cancelled."""
        while True:
            await self._store.acknowledgements.due.wait()
            try:
                positions = await self._store.acknowledge()
            except StoreError as error:
                log.warning("withdrawals.unacknowledged", error=str(error))
                await asyncio.sleep(RETRY_AFTER_S)
            else:
                log.info("withdrawals.acknowledged", positions=positions)
