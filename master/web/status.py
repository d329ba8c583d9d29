"""How the master fares, in numbers."""

from __future__ import annotations

from aiohttp import web

from events.names import ORIGIN_CHANNEL
from master.connection import Connection
from master.following import Following
from master.provisioning import Provisioner
from master.seeding import Seeding
from master.store.store import Store
from master.web.bodies import answer


class StatusRoutes:
    """``/-/api/v1/status``."""

    def __init__(
        self, store: Store, provisioner: Provisioner, connection: Connection, following: Following, seeding: Seeding
    ) -> None:
        self._store = store
        self._provisioner = provisioner
        self._connection = connection
        self._following = following
        self._seeding = seeding

    async def get(self, _request: web.Request) -> web.Response:
        """Count what there is."""
        async with self._store.reading() as transaction:
            counts = dict(await transaction.catalogue.counts())
            mirrors = await transaction.fleet.mirrors()
            pending = await transaction.journal.outbox_length()
            generation = await transaction.log_generation()
            since_restated = await transaction.bytes_since_restated()
        files = counts.pop(ORIGIN_CHANNEL)
        return answer(
            {
                "files": files,
                "channels": counts,
                "mirrors": len(mirrors),
                "outbox": {"pending": pending},
                "broker": self._connection.described(),
                "log_generation": generation,
                "retention": {**self._provisioner.described(), "bytes_since_restated": since_restated},
                "followed": self._following.described(),
                "origin": self._seeding.described(),
            }
        )
