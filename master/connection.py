"""The master's tie to the broker: connect, provision, relay; and all of it again whenever the connection comes back.

The HTTP interface does not wait for it. Without a broker the master serves and publishes all the same; the outbox keeps
what is to be said.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Final

import structlog

from broker.port import AccessRefusedError, Admin, Broker, BrokerError
from broker.relay import Outbox, Relay
from edge.health import Check
from master.provisioning import Provisioner

RETRY_AFTER_S: Final = 1.0  # a broker that restarts refuses for some seconds after it takes connections again

log = structlog.stdlib.get_logger()


class Connection:
    """Knows how the broker fares, and keeps it as the database says."""

    def __init__(self, provisioner: Provisioner, outbox: Outbox) -> None:
        self._provisioner = provisioner
        self._outbox = outbox
        self._relay: Relay | None = None
        self._broker: Broker | None = None
        self._provisioned = False
        self._problem = "not connected yet"

    def wake(self) -> None:
        """Tell that something was committed that is to be said. A relay that begins later looks by itself."""
        if self._relay is not None:
            self._relay.wake()

    def checks(self) -> Iterator[Check]:
        """Tell whether the broker can be used. The master works on without it, degraded."""
        connected = self._broker is not None and self._broker.health.connected
        problem = "" if connected else self._problem if self._broker is None else self._broker.health.last_error
        yield Check(name="broker", ok=connected, detail=problem, vital=False)
        yield Check(
            name="provisioned", ok=self._provisioned, detail="" if self._provisioned else self._problem, vital=False
        )

    def described(self) -> dict[str, object]:
        """Tell the same for the status."""
        checks = {check.name: check for check in self.checks()}
        return {
            "connected": checks["broker"].ok,
            "provisioned": checks["provisioned"].ok,
            "detail": checks["broker"].detail or checks["provisioned"].detail,
        }

    async def keep(self, broker: Broker, admin: Admin, *, on_provisioned: Callable[[], None]) -> None:
        """Provision and relay until cancelled. ``on_provisioned`` is called once, when the broker is as it must be.

        The relay rests while the broker is being provisioned: into one that is half there it would publish past the
        queues of mirrors.

        Raises:
            AccessRefusedError: the broker does not let us; trying again cannot help.
        """
        self._broker = broker
        returned = asyncio.Event()
        async with broker.on_connected(returned.set), self._provisioner.serve_with(admin):
            await self._provision()
            on_provisioned()
            while True:
                await self._relay_until(returned, Relay(self._outbox, broker))
                returned.clear()
                self._provisioned, self._problem = False, "provisioning again after a reconnection"
                await self._provision()

    async def _provision(self) -> None:
        while not self._provisioned:
            try:
                await self._provisioner.settle_all()
            except AccessRefusedError:
                raise
            except BrokerError as error:
                self._problem = str(error)
                log.warning("broker.unprovisioned", error=str(error), retry_after_s=RETRY_AFTER_S)
                await asyncio.sleep(RETRY_AFTER_S)
            else:
                self._provisioned = True

    async def _relay_until(self, returned: asyncio.Event, relay: Relay) -> None:
        self._relay = relay
        relaying = asyncio.create_task(relay.run(), name="relay")
        waiting = asyncio.create_task(returned.wait(), name="broker-returned")
        try:
            await asyncio.wait([relaying, waiting], return_when=asyncio.FIRST_COMPLETED)
            if relaying.done():
                await relaying
        finally:
            self._relay = None
            relaying.cancel()
            waiting.cancel()
            await asyncio.wait([relaying, waiting])
