"""Keeps the view abreast of the broker: the log from its beginning, the load reports from lately.

``selection.following.replay`` says when the follower has caught up. It goes to the next generation of the log when
the master opened one, and looks for the log again when it is gone; whatever was known stays known meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Final

import structlog

from broker.discovery import newest_generation
from broker.port import Broker, Delivery, DisconnectedError, From, TopologyError
from broker.reading import read_envelope
from broker.topology import load_stream, log_stream
from edge.health import Check
from events.envelope import Envelope
from events.errors import LanguageError, UnknownEventTypeError
from events.names import SelectorName
from events.schemas import EventUnreadable, LoadReported, SelectorCameOnline
from selection.answering.announcer import Announcer
from selection.following.hearing import TICK_EVERY_S, HearingClock
from selection.following.replay import Replay
from selection.following.unreadables import Unreadables
from selection.policy.reservations import Reservations
from selection.view.fleet import FleetView

LOOK_AGAIN_AFTER_S: Final = 1.0  # a site is provisioned in about a second
# A log that broke without a word is looked after twice a minute; it costs the broker some 60 ms.
LOOK_FOR_NEWER_EVERY_S: Final = 30.0

log = structlog.stdlib.get_logger()


class _NewerGenerationError(Exception):
    """The master opened a newer generation: follow that one."""


class Follower:
    """Reads log and load reports into a view, for ever."""

    def __init__(
        self,
        broker: Broker,
        announcer: Announcer,
        *,
        view: FleetView,
        reservations: Reservations,
        selector: SelectorName,
        vhost: str,
        silent_after_s: float,
        clock_s: Callable[[], float],
    ) -> None:
        self._broker = broker
        self._announcer = announcer
        self._view = view
        self._reservations = reservations
        self._selector = selector
        self._vhost = vhost
        self._load_since = timedelta(seconds=silent_after_s)
        self._clock_s = clock_s
        self._replay: Replay | None = None
        self._newer = asyncio.Event()
        self.hearing = HearingClock()
        self.unreadables = Unreadables(announcer.source)
        self.caught_up = asyncio.Event()
        self.generation: int | None = None
        self.offset = -1
        self.trouble = ""
        self.applied = 0
        self._read_at_s: float | None = None

    def log_check(self) -> Check:
        """Tell whether there is a view. Once there is, the selector goes on with it, whatever becomes of the log."""
        ok = not self.trouble and self._is_abreast
        return Check(name="log", ok=ok, detail=self._progress(), vital=not self.caught_up.is_set())

    def broker_check(self) -> Check:
        """Tell whether news can arrive."""
        health = self._broker.health
        if not health.connected:
            detail = f"not connected, going on from the last view: {health.last_error}"
        elif health.blocked:
            detail = "its alarm blocks all who publish, going on from the last view: see its memory and disk"
        else:
            detail = "connected"
        return Check(name="broker", ok=health.connected and not health.blocked, detail=detail, vital=False)

    def status(self) -> dict[str, object]:
        """Give figures for people."""
        health = self._broker.health
        return {
            "broker": {
                "connected": health.connected,
                "blocked": health.blocked,
                "reconnects": health.reconnects,
                "last_error": health.last_error,
            },
            "log": {
                "generation": self.generation,
                "offset": self.offset,
                "caught_up": self._is_abreast,
                "trouble": self.trouble,
                "last_entry_age_s": None if self._read_at_s is None else round(self._clock_s() - self._read_at_s, 1),
            },
            "events": {
                "applied": self.applied,
                "unreadable": self.unreadables.unreadable,
                "unknown_types": self.unreadables.unknown_types,
            },
        }

    async def run(self) -> None:
        """Follow until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._tick(), name="hearing-clock")
            while True:
                self.generation = await self._find_log()
                await self._follow(self.generation)

    async def _find_log(self) -> int:
        while True:
            try:
                found = await newest_generation(self._broker, known=self.generation or 1)
            except DisconnectedError as error:
                self._complain(str(error))
            else:
                if found is not None:
                    return found
                self._complain("there is no log: the master has not opened one yet")
            await asyncio.sleep(LOOK_AGAIN_AFTER_S)

    async def _follow(self, generation: int) -> None:
        """Follow one generation until it ends."""
        log.info("log.followed", generation=generation)
        self.trouble, self.offset = "", -1
        self._newer.clear()
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._broker.follow(log_stream(generation), self._fold, start=From.FIRST))
                tasks.create_task(self._broker.follow(load_stream(generation), self._fold_load, start=self._load_since))
                tasks.create_task(self._look_for_newer(generation))
                self._replay = Replay(self._announcer.insist(SelectorCameOnline(selector=self._selector)).id)
        except* TopologyError as errors:
            self._complain(str(errors.exceptions[0]))
            await asyncio.sleep(LOOK_AGAIN_AFTER_S)
        except* _NewerGenerationError:
            log.info("log.ended", generation=generation)

    async def _look_for_newer(self, generation: int) -> None:
        while True:
            try:
                async with asyncio.timeout(LOOK_FOR_NEWER_EVERY_S):
                    await self._newer.wait()
            except TimeoutError:
                pass
            try:
                newest = await newest_generation(self._broker, known=generation)
            except DisconnectedError:
                newest = None  # the followers wait for the connection, too
            if newest is not None and newest > generation:
                raise _NewerGenerationError
            await asyncio.sleep(LOOK_AGAIN_AFTER_S)

    async def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        last_s = loop.time()
        while True:
            await asyncio.sleep(TICK_EVERY_S)
            now_s = loop.time()
            self.hearing.tick(now_s - last_s, hearing=self._can_hear())
            self._reservations.expire(self._clock_s())
            last_s = now_s

    def _can_hear(self) -> bool:
        """Tell whether a mirror that reports its load would be heard; while publishers are blocked none can report."""
        health = self._broker.health
        return health.connected and not health.blocked and not self.trouble

    def _fold(self, delivery: Delivery) -> None:
        """Take one entry of the log. Nothing in it can stop the fold."""
        if delivery.offset is not None:
            self.offset = delivery.offset
        self._read_at_s = self._clock_s()
        envelope = self._read(delivery)
        if envelope is not None:
            self._notice(envelope)
        self._report()

    def _notice(self, envelope: Envelope) -> None:
        """Take note of what the log says about itself."""
        if isinstance(envelope.event, EventUnreadable):
            self.unreadables.reported(envelope.event)
        if self._view.log_generation > (self.generation or 0):
            self._newer.set()
        if self._replay is not None and not self._replay.done:
            self._replay.note(envelope)
            if self._replay.done:
                self.caught_up.set()
                log.info("log.caught_up", generation=self.generation, offset=self.offset)

    def _fold_load(self, delivery: Delivery) -> None:
        """Take one load report."""
        envelope = self._read(delivery)
        if envelope is not None and isinstance(envelope.event, LoadReported):
            for selector, seen in envelope.event.grants_seen.items():
                self._reservations.counted(envelope.event.mirror, selector=selector, up_to_sequence=seen)
        self._report()

    def _read(self, delivery: Delivery) -> Envelope | None:
        """Read a delivery into the view; count what cannot be used."""
        try:
            envelope = read_envelope(delivery, vhost=self._vhost)
            heard_s = self.hearing.heard() if isinstance(envelope.event, LoadReported) else 0.0
            self._view.apply(envelope, heard_s=heard_s)
        except UnknownEventTypeError:
            self.unreadables.unknown_types += 1
            return None
        except LanguageError as error:
            self.unreadables.note(delivery, str(error))
            return None
        except Exception as error:  # an event of ours that the view cannot take is a defect, and no reason to go blind
            log.exception("event.unusable", message_id=delivery.message_id, type=delivery.type)
            self.unreadables.note(delivery, repr(error))
            return None
        self.applied += 1
        return envelope

    def _report(self) -> None:
        """Report what could not be used; while catching up the log may yet show that it was reported before."""
        if not self._is_abreast:
            return
        for event in self.unreadables.due(self._clock_s()):
            log.warning("event.unreadable", message_id=event.message_id, key=event.routing_key, reason=event.reason)
            self._announcer.say(event)

    @property
    def _is_abreast(self) -> bool:
        return self._replay is not None and self._replay.done

    def _progress(self) -> str:
        if self.trouble:
            return self.trouble
        if self._replay is None:
            return "looking for the log"
        place = f"generation {self.generation}, offset {self.offset}"
        return place if self._replay.done else f"catching up with {place}: awaiting {self._replay.awaits}"

    def _complain(self, trouble: str) -> None:
        if trouble != self.trouble:
            log.warning("log.missing", trouble=trouble, generation=self.generation)
        self.trouble = trouble
