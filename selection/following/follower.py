"""Keeps the view abreast of the broker: the log from its beginning or a snapshot, the load reports from lately.

``selection.following.replay`` says when the follower has caught up. It goes to the next generation of the log when
the master opened one, and looks for the log again when it is gone; whatever was known stays known meanwhile.

With a snapshot it goes on behind the entry that was read last, if that still stands there. Else it reads all that there
is, over what it knows: repetitions change nothing, and what was withdrawn in a part that is gone is learnt from the
master's restatement and the mirrors' inventories, which are awaited. A snapshot is a view to answer from, too: where
nothing more comes of the log, visitors are answered as it stands there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Final, NamedTuple

import structlog

from broker.discovery import newest_generation
from broker.port import After, Broker, Delivery, DisconnectedError, From, PositionLostError, TopologyError
from broker.reading import read_envelope
from broker.topology import load_stream, log_stream
from edge.health import Check
from events.envelope import Envelope, parse_id
from events.errors import LanguageError, UnknownEventTypeError
from events.grants import CLOCK_SKEW_S
from events.names import ORIGIN, SelectorName
from events.routing import GRANTS
from events.schemas import (
    DecisionsRecorded,
    DownloadsGranted,
    EventUnreadable,
    LoadReported,
    Seen,
    SelectorCameOnline,
    StandingRecorded,
)
from events.schemas.fields import SELECTORS_MAX
from selection.answering.announcer import Announcer
from selection.following.hearing import TICK_EVERY_S, HearingClock
from selection.following.replay import Numbering, Replay
from selection.following.snapshot import Mark
from selection.following.unreadables import Unreadables
from selection.policy.reservations import Reservations
from selection.view.fleet import FleetView
from selection.view.statistics import Statistics
from selection.view.tallies import day_of

LOOK_AGAIN_AFTER_S: Final = 1.0  # a site is provisioned in about a second
# A log that broke without a word is looked after twice a minute; it costs the broker some 60 ms.
LOOK_FOR_NEWER_EVERY_S: Final = 30.0
TIDY_EVERY_S: Final = 600.0  # a day is over once in 144
# A log that is there gives something within a second, and until all of it is read no visitor is answered from a view
# that may be days old. Where so long nothing came, there is nobody to wait for.
GO_ON_AFTER_S: Final = 5.0

_NO_OFFSET: Final = -1
_RECORDS: Final = frozenset(str(kind.__struct_config__.tag) for kind in (StandingRecorded, DecisionsRecorded))

log = structlog.stdlib.get_logger()


class Known(NamedTuple):
    """What the log and the load reports are folded into."""

    view: FleetView
    statistics: Statistics
    reservations: Reservations


class _NewerGenerationError(Exception):
    """The master opened a newer generation: follow that one."""


class Follower:
    """Reads log and load reports into what is known, for ever.

    ``mark`` is how far the log was read for it in a life before; None: it is empty. ``on_load`` is called after each
    load report, with the moment on the clock on which it was heard.
    """

    def __init__(
        self,
        broker: Broker,
        announcer: Announcer,
        *,
        known: Known,
        mark: Mark | None,
        selector: SelectorName,
        vhost: str,
        silent_after_s: float,
        clock_s: Callable[[], float],
        on_load: Callable[[float], None],
    ) -> None:
        self._broker = broker
        self._announcer = announcer
        self._known = known
        self._mark = mark
        self._selector = selector
        self._selectors = {selector}
        self._vhost = vhost
        self._load_since = timedelta(seconds=silent_after_s)
        self._clock_s, self._on_load = clock_s, on_load
        self._replay: Replay | None = None
        self._newer = asyncio.Event()
        self._last_id = ""
        self._seen = _seen_by(mark) if mark else None
        self._is_blank = self._is_prefix = mark is None
        self._read_at_s: float | None = None
        self._news_at_s = mark.taken_at_s if mark else clock_s()
        self._has_news = False
        self.hearing = HearingClock(mark.heard_s if mark else 0.0)
        self.unreadables = Unreadables(announcer.source)
        self.caught_up = asyncio.Event()
        self.generation: int | None = None
        self.offset = -1
        self.trouble = ""
        self.replayed = ""
        self.applied = 0

    def log_check(self) -> Check:
        """Tell whether there is a view. Once there is, the selector goes on with it, whatever becomes of the log."""
        ok = not self.trouble and self._is_abreast
        return Check(name="log", ok=ok, detail=self._progress(), vital=not self.caught_up.is_set())

    def broker_check(self) -> Check:
        """Tell whether news can arrive."""
        health = self._broker.health
        if not health.connected:
            detail = f"not connected, {self._without_news()}: {health.last_error}"
        elif health.blocked:
            detail = f"its alarm blocks all who publish, {self._without_news()}: see its memory and disk"
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
                "replayed": self.replayed,
                "last_entry_age_s": None if self._read_at_s is None else round(self._clock_s() - self._read_at_s, 1),
            },
            "events": {
                "applied": self.applied,
                "unreadable": self.unreadables.unreadable,
                "unknown_types": self.unreadables.unknown_types,
            },
        }

    def seen(self) -> Seen:
        """Tell up to which entry the view is what the log tells; the same object until it is read on."""
        if self._seen is None:
            is_told = self._is_prefix or self._is_abreast
            offset, message_id = (self.offset, self._last_id) if is_told else (_NO_OFFSET, "")
            self._seen = Seen(generation=self.generation or 1, offset=offset, message_id=message_id)
        return self._seen

    def mark(self) -> Mark | None:
        """Tell how far the log is read into what is known now; None while it is not all that the log tells."""
        catalogue = self._replay.catalogue if self._replay is not None and self._is_abreast else None
        if catalogue is None or self.generation is None:
            return None
        return Mark(
            generation=self.generation,
            offset=self.offset,
            message_id=self._last_id,
            master_epoch=catalogue.epoch,
            master_first=catalogue.first,
            heard_s=self.hearing.now_s,
            taken_at_s=self._clock_s(),
        )

    async def run(self) -> None:
        """Follow until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._tick(), name="hearing-clock")
            tasks.create_task(self._tidy(), name="tidy-statistics")
            if self._mark is not None:
                tasks.create_task(self._go_on_without_news(self._mark), name="go-on-without-news")
            while True:
                generation = await self._find_log()
                await self._follow(generation)

    async def _find_log(self) -> int:
        known = self.generation or (self._mark.generation if self._mark else 1)
        while True:
            try:
                found = await newest_generation(self._broker, known=known)
            except DisconnectedError as error:
                self._complain(str(error))
            else:
                if found is not None:
                    return found
                self._complain("there is no log: the master has not opened one yet")
            await asyncio.sleep(LOOK_AGAIN_AFTER_S)

    async def _follow(self, generation: int) -> None:
        """Follow one generation until it ends."""
        start, catalogue = self._start(generation)
        self._is_prefix, self._is_blank = isinstance(start, After) or self._is_blank, False
        self.generation, self.trouble, self._seen = generation, "", None
        self.offset, self._last_id = (start.offset, start.message_id) if isinstance(start, After) else (_NO_OFFSET, "")
        log.info("log.followed", generation=generation, offset=self.offset)
        self._newer.clear()
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._broker.follow(log_stream(generation), self._fold, start=start))
                tasks.create_task(self._broker.follow(load_stream(generation), self._fold_load, start=self._load_since))
                tasks.create_task(self._look_for_newer(generation))
                self._replay = Replay(self._announcer.insist(SelectorCameOnline(selector=self._selector)).id, catalogue)
        except* PositionLostError as errors:
            self.replayed = str(errors.exceptions[0])
            log.warning("log.replayed", because=self.replayed)
        except* TopologyError as errors:
            self._complain(str(errors.exceptions[0]))
            await asyncio.sleep(LOOK_AGAIN_AFTER_S)
        except* _NewerGenerationError:
            log.info("log.ended", generation=generation)

    def _start(self, generation: int) -> tuple[From | After, Numbering | None]:
        """Tell where to begin to read a generation, and what was read of it; a mark is good for one try."""
        mark, self._mark = self._mark, None
        if mark is None:
            return From.FIRST, None
        if mark.generation != generation:
            self.replayed = f"the snapshot is of generation {mark.generation}"
            log.warning("log.replayed", because=self.replayed)
            return From.FIRST, None
        return After(mark.offset, mark.message_id), Numbering(mark.master_epoch, mark.master_first)

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

    async def _go_on_without_news(self, mark: Mark) -> None:
        """Answer from the snapshot when so long nothing came that would make the view a newer one."""
        while not self.caught_up.is_set():
            self._has_news = False
            await asyncio.sleep(GO_ON_AFTER_S)
            if not self._has_news and not self.caught_up.is_set():
                age_s = round(self._clock_s() - mark.taken_at_s)
                log.warning("selector.on_snapshot", age_s=age_s, because=self._progress())
                self.caught_up.set()

    async def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        last_s = loop.time()
        while True:
            await asyncio.sleep(TICK_EVERY_S)
            now_s = loop.time()
            self.hearing.tick(now_s - last_s, hearing=self._can_hear())
            self._known.reservations.expire(self._clock_s())
            last_s = now_s

    async def _tidy(self) -> None:
        while True:
            is_more = self._known.statistics.tidy(day_of(self._clock_s()))
            await asyncio.sleep(0 if is_more else TIDY_EVERY_S)  # visitors come between two steps

    def _can_hear(self) -> bool:
        """Tell whether a mirror that reports its load would be heard; while publishers are blocked none can report."""
        health = self._broker.health
        return health.connected and not health.blocked and not self.trouble

    def _fold(self, delivery: Delivery) -> None:
        """Take one entry of the log. Nothing in it can stop the fold."""
        if delivery.offset is not None:
            self.offset, self._last_id, self._seen = delivery.offset, delivery.message_id, None
        self._read_at_s, self._has_news = self._clock_s(), True
        if self._is_record(delivery):
            return
        envelope = self._read(delivery, said=self._announcer.echoes.heard(delivery))
        if envelope is not None:
            self._known.statistics.apply(envelope)
            self._notice(envelope)
        self._report()

    def _is_record(self, delivery: Delivery) -> bool:
        """Pass over what selectors decided, which changes nothing: nobody but they and the master writes there."""
        if delivery.exchange != GRANTS or delivery.type not in _RECORDS:
            return False
        identity = parse_id(delivery.message_id)
        if identity is None:
            return False
        self._known.view.pass_over(*identity)
        self._known.statistics.pass_over(*identity)
        self._news_at_s = self._clock_s()
        return True

    def _notice(self, envelope: Envelope) -> None:
        """Take note of what the log says about itself, and of what other selectors say."""
        match envelope.event:
            case EventUnreadable() as report:
                self.unreadables.reported(report)
            case SelectorCameOnline(selector=selector) if len(self._selectors) < SELECTORS_MAX:
                self._selectors.add(selector)
            case DownloadsGranted() as notice if notice.selector != self._selector and notice.mirror != ORIGIN:
                self._reserve(notice, envelope.sequence)
            case _:
                pass
        if self._known.view.log_generation > (self.generation or 0):
            self._newer.set()
        if self._replay is not None and not self._replay.done:
            self._replay.note(envelope)
            if self._replay.done:
                self.caught_up.set()
                log.info("log.caught_up", generation=self.generation, offset=self.offset)

    def _reserve(self, notice: DownloadsGranted, sequence: int) -> None:
        """Count another selector's grants until the mirror's load reports do."""
        now_s = self._clock_s()
        for granted in notice.grants:
            expires_s = granted.start_by_s + CLOCK_SKEW_S
            if expires_s > now_s:
                self._known.reservations.add(
                    notice.mirror,
                    selector=notice.selector,
                    sequence=sequence,
                    size_bytes=granted.size_bytes,
                    expires_s=expires_s,
                )

    def _fold_load(self, delivery: Delivery) -> None:
        """Take one load report."""
        envelope = self._read(delivery)
        if envelope is not None and isinstance(envelope.event, LoadReported):
            report = envelope.event
            for selector in self._selectors & report.grants_seen.keys():  # a mirror may invent names
                seen = report.grants_seen[selector]
                self._known.reservations.counted(report.mirror, selector=selector, up_to_sequence=seen)
            try:
                self._on_load(self.hearing.now_s)
            except Exception:  # visitors may yet be answered by what was known before
                log.exception("load.unusable", mirror=report.mirror)
        self._report()

    def _read(self, delivery: Delivery, *, said: Envelope | None = None) -> Envelope | None:
        """Read a delivery into the view, by what we know to have ``said`` by it; count what cannot be used."""
        try:
            envelope = read_envelope(delivery, vhost=self._vhost, said=said)
            heard_s = self.hearing.heard() if isinstance(envelope.event, LoadReported) else 0.0
            self._known.view.apply(envelope, heard_s=heard_s)
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
        self._news_at_s = self._clock_s()
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

    def _without_news(self) -> str:
        if not self.caught_up.is_set():
            return "without a view"
        return f"going on from the last view, {self._clock_s() - self._news_at_s:.0f} s old"

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


def _seen_by(mark: Mark) -> Seen:
    return Seen(generation=mark.generation, offset=mark.offset, message_id=mark.message_id)
