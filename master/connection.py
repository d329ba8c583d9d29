"""The master's tie to the broker: connect, provision, relay; and all of it again whenever the connection comes back.

And whenever something that was provisioned turns out to be gone: the log that is read, or whatever takes what is said.

The HTTP interface does not wait for it. Without a broker the master serves and publishes all the same; the outbox keeps
what is to be said. Neither the broker's failures nor the database's end it: all of it is tried again.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterator
from typing import Final

import structlog

from broker.backoff import backoff_s
from broker.port import AccessRefusedError, Admin, Broker, BrokerError, TopologyError
from broker.relay import Outbox, Relay
from edge.health import Check
from master.errors import UnavailableError
from master.following import Following
from master.provisioning import Provisioner
from master.releasing import Releasing
from master.restating import Restating
from master.store.store import uncut

RETRY_AFTER_S: Final = 1.0  # a broker that restarts refuses for some seconds after it takes connections again
RETRY_AFTER_S_MAX: Final = 15.0  # bounds how long a healed broker or database waits for us

log = structlog.stdlib.get_logger()


class Connection:
    """Knows how the broker fares, and keeps it as the database says."""

    def __init__(
        self,
        provisioner: Provisioner,
        outbox: Outbox,
        restating: Restating,
        following: Following,
        releasing: Releasing,
        *,
        rng: random.Random,
    ) -> None:
        self._provisioner = provisioner
        self._following = following
        self._outbox = outbox
        self._restating = restating
        self._releasing = releasing
        self._rng = rng
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
        stalled = "" if self._relay is None else self._relay.problem
        yield Check(name="outbox", ok=not stalled, detail=stalled, vital=False)

    def described(self) -> dict[str, object]:
        """Tell the same for the status."""
        checks = {check.name: check for check in self.checks()}
        return {
            "connected": checks["broker"].ok,
            "provisioned": checks["provisioned"].ok,
            "detail": next((check.detail for check in checks.values() if check.detail), ""),
        }

    async def keep(self, broker: Broker, admin: Admin, *, on_provisioned: Callable[[], None]) -> None:
        """Provision and relay until cancelled. ``on_provisioned`` is called once, when the broker is as it must be.

        The relay rests while the log and the queues are being provisioned: into a broker that is half there it would
        publish past the queues of mirrors.

        Raises:
            AccessRefusedError: the broker does not let us, from the very beginning: a person must put that right.
                Later the same refusal is tried again, since a broker that is being restored refuses, too.
        """
        self._broker = broker
        doubted = asyncio.Event()
        async with broker.on_connected(doubted.set), self._provisioner.serve_with(admin):
            await self._provision(refusal_is_final=True)
            on_provisioned()
            while True:
                await self._work_until(doubted, broker)
                doubted.clear()
                self._provisioned, self._problem = False, "provisioning again"
                await self._provision(refusal_is_final=False)

    async def _provision(self, *, refusal_is_final: bool) -> None:
        tries = 0
        while not self._provisioned:
            try:
                await self._provisioner.settle_all()
            except (BrokerError, UnavailableError) as error:
                if refusal_is_final and isinstance(error, AccessRefusedError):
                    raise
                self._problem = str(error)
                await self._wait_after(error, tries)
                tries += 1
            else:
                self._provisioned = True

    async def _work_until(self, doubted: asyncio.Event, broker: Broker) -> None:
        """Do all that needs a provisioned broker, until it is doubtful whether it still is one."""
        relay = self._relay = Relay(self._outbox, broker, on_unroutable=doubted.set)
        tasks = [
            asyncio.create_task(doubted.wait(), name="broker-doubted"),
            asyncio.create_task(relay.run(), name="relay"),
            asyncio.create_task(self._insist(self._provisioner.remove_departed), name="remove-departed"),
            asyncio.create_task(self._insist(lambda: self._restating.run(wake=self.wake)), name="restating"),
            asyncio.create_task(self._insist(lambda: self._follow(broker, doubted)), name="following"),
            asyncio.create_task(self._insist(lambda: self._releasing.run(wake=self.wake)), name="releasing"),
        ]
        try:
            while not tasks[0].done():
                done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    await task  # a defect of ours ends the master, loudly
                tasks[1:] = [task for task in tasks[1:] if not task.done()]
        finally:
            self._relay = None
            for task in tasks:
                task.cancel()
            await uncut(asyncio.wait(tasks))  # else the store could be closed under them

    async def _follow(self, broker: Broker, doubted: asyncio.Event) -> None:
        """Follow the log; where it is gone, have it provisioned."""
        try:
            await self._following.run(broker)
        except TopologyError as error:
            await self._wait_after(error, 0)
            doubted.set()

    async def _insist(self, work: Callable[[], Awaitable[None]]) -> None:
        """Do some work, again and again until it succeeds."""
        tries = 0
        while True:
            try:
                return await work()
            except (BrokerError, UnavailableError) as error:
                await self._wait_after(error, tries)
                tries += 1

    async def _wait_after(self, error: BrokerError | UnavailableError, tries: int) -> None:
        wait_s = backoff_s(tries, first_s=RETRY_AFTER_S, max_s=RETRY_AFTER_S_MAX, rng=self._rng)
        refused = isinstance(error, AccessRefusedError)
        report = log.error if refused else log.warning
        report("broker.refused" if refused else "broker.unprovisioned", error=str(error), retry_after_s=wait_s)
        await asyncio.sleep(wait_s)
