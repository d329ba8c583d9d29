"""Says that the mirror is online, whether it takes visitors, how far it followed each channel and what it holds.

It does so at the start, once reconnected, when the catalogue was restated, and when it has new keys or another profile.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

import structlog

from events.names import MirrorName
from events.schemas import AvailabilityChanged, MirrorCameOnline, MirrorWentOffline, Profile
from mirror.state.database import StoreError
from mirror.state.store import Store
from mirror.state.traces import Said

RETRY_AFTER_S: Final = 1.0  # a full disk takes longer to mend, a busy one does not

log = structlog.stdlib.get_logger()


class Announcer:
    """Announces one mirror. ``profile``, ``availability`` and ``key_epoch`` are asked for each time."""

    def __init__(
        self,
        mirror: MirrorName,
        store: Store,
        *,
        profile: Callable[[], Profile],
        availability: Callable[[], AvailabilityChanged],
        key_epoch: Callable[[], int],
    ) -> None:
        self._mirror = mirror
        self._store = store
        self._profile = profile
        self._availability = availability
        self._key_epoch = key_epoch
        self._awake = asyncio.Event()
        self._awake.set()
        self._put_off = False
        store.database.on_taken(self._note_taken)

    def request(self) -> None:
        """Announce again, soon."""
        self._awake.set()

    async def run(self) -> None:
        """Announce at once, and whenever it is asked for, until cancelled.

        While the last announcement has not gone out yet, the next one is put off.
        """
        while True:
            await self._awake.wait()
            self._awake.clear()
            self._put_off = True  # before it is known, lest the outbox empty meanwhile
            try:
                replicas = await self._store.announce(self._online(), self._availability())
            except StoreError as error:
                log.warning("mirror.unannounced", error=str(error))
                await asyncio.sleep(RETRY_AFTER_S)
                self._awake.set()
                continue
            self._put_off = replicas is None
            if replicas is not None:
                log.info("mirror.announced", mirror=self._mirror, replicas=replicas)

    def _online(self) -> MirrorCameOnline:
        return MirrorCameOnline(mirror=self._mirror, profile=self._profile(), key_epoch=self._key_epoch())

    def _note_taken(self) -> None:
        if self._put_off:
            self._awake.set()

    async def say_goodbye(self, reason: str) -> None:
        """Say that the mirror stops.

        Raises:
            StoreError: it was not said; the missing load reports will tell.
        """
        await self._store.say(Said(MirrorWentOffline(mirror=self._mirror, reason=reason)))
