"""Tells the selectors how this mirror fares: when it changes enough to matter, and as a heartbeat."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final

import structlog

from broker.port import Broker, BrokerError
from broker.relay import message_of
from events.envelope import Envelope, load_source
from events.names import MirrorName, SelectorName
from events.schemas import LoadReported
from events.schemas.fields import NS_PER_S
from mirror.serving.traffic import Traffic

GAP_S_MIN: Final = 0.25  # four reports a second follow a crowd closely enough; more only cost the broker
CHANGE_FRACTION: Final = 0.05  # of all slots: less does not change anybody's choice

log = structlog.stdlib.get_logger()


def worth_telling(before: LoadReported, now: LoadReported) -> bool:
    """Tell whether selectors would choose otherwise if they knew."""
    if (before.active >= before.slots) != (now.active >= now.slots):
        return True
    if (before.quota_left_bytes == 0) != (now.quota_left_bytes == 0) or before.sparing != now.sparing:
        return True
    busy_before, busy_now = before.active + before.reserved, now.active + now.reserved
    return abs(busy_now - busy_before) >= max(1.0, CHANGE_FRACTION * now.slots)


class LoadReporter:
    """Reports one mirror's load. Its numbering begins anew with each process, under a higher ``epoch``."""

    def __init__(
        self,
        mirror: MirrorName,
        traffic: Traffic,
        *,
        epoch: int,
        every_s: float,
        clock_ns: Callable[[], int],
        grants_seen: Callable[[], dict[SelectorName, int]],
    ) -> None:
        self._mirror = mirror
        self._traffic = traffic
        self._every_s = every_s
        self._clock_ns = clock_ns
        self._grants_seen = grants_seen
        self._epoch = epoch
        self._sequence = 0
        self._changed = asyncio.Event()
        self._measured_s = time.monotonic()
        self._measured_bytes = traffic.sent_bytes
        self._rate = 0
        self._last: LoadReported | None = None
        self._failing = False
        traffic.on_change(self.note)

    def note(self) -> None:
        """Look whether the load changed enough to be told at once. Cheap."""
        if self._changed.is_set():
            return
        if self._last is None or worth_telling(self._last, self._report()):
            self._changed.set()

    async def run(self, broker: Broker) -> None:
        """Report until cancelled. A report that does not arrive is not repeated: the next one says more."""
        self._last = None
        while True:
            await self._publish(broker)
            await asyncio.sleep(min(GAP_S_MIN, self._every_s))
            try:
                async with asyncio.timeout(max(0.0, self._every_s - GAP_S_MIN)):
                    await self._changed.wait()
            except TimeoutError:
                pass

    async def _publish(self, broker: Broker) -> None:
        self._changed.clear()
        self._measure()
        report = self._report()
        self._last = report
        self._sequence += 1
        envelope = Envelope(
            source=load_source(self._mirror),
            epoch=self._epoch,
            sequence=self._sequence,
            time_ns=self._clock_ns(),
            traceparent="",
            event=report,
        )
        try:
            await broker.publish(message_of(envelope, persistent=False))
        except BrokerError as error:
            if not self._failing:
                log.warning("load.unsaid", error=str(error))
            self._failing = True
        else:
            self._failing = False

    def _measure(self) -> None:
        now_s = time.monotonic()
        elapsed_s = now_s - self._measured_s
        if elapsed_s > 0:
            self._rate = round((self._traffic.sent_bytes - self._measured_bytes) / elapsed_s)
            self._measured_s, self._measured_bytes = now_s, self._traffic.sent_bytes

    def _report(self) -> LoadReported:
        slots, quota = self._traffic.slots, self._traffic.bookkeeper.quota
        return LoadReported(
            mirror=self._mirror,
            slots=slots.visits.slots,
            active=self._traffic.slots_taken,
            reserved=slots.reserved(self._clock_ns() / NS_PER_S),
            transmit_bytes_per_second=self._rate,
            quota_left_bytes=quota.left_bytes,
            grants_seen=self._grants_seen(),
            sparing=quota.sparing,
        )
