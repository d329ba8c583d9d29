"""What the mirror's operator wants: open or not, and his limits. Kept over restarts, acted on at once, said as events.

A drain is not kept: it ends with the process, and who starts the mirror again wants it to serve.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final

import msgspec
import structlog

from events.schemas import AvailabilityChanged
from mirror.config import MirrorConfig
from mirror.operating.availability import State, Will, moment_after, pause_until, state_at
from mirror.operating.promises import Change, Promises, Settings, changed, promised
from mirror.serving.books import Books
from mirror.serving.traffic import Traffic
from mirror.state.database import StoreError
from mirror.state.traces import Said

LOOK_EVERY_S: Final = 60.0  # a clock that is set is noticed within a minute
DRAIN_LOOK_EVERY_S: Final = 0.5  # the operator waits for it
DRAIN_SETTLE_S: Final = 3.0  # selectors hear of it, and whom they just sent arrives
RETRY_AFTER_S: Final = 5.0  # a full disk takes longer to mend

_SETTINGS: Final = "settings"
_PAUSED: Final = "paused_until_s"

log = structlog.stdlib.get_logger()


class LeftError(Exception):
    """The mirror is no member of the fleet any more: ``reason``. Only joining again, by a new invitation, helps."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class UnfitSettingError(ValueError):
    """What the operator wants cannot be; the message lists all problems. Nothing changed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Consequences:
    """What happens elsewhere when the operator wants something."""

    promised: Callable[[Promises], None]
    leave: Callable[[], Awaitable[None]]
    left_because: Callable[[], str | None]
    stop: Callable[[], None]


class Operator:
    """One mirror's operator. ``run`` it; ``kept`` is what ``Books`` had kept for him."""

    def __init__(
        self,
        config: MirrorConfig,
        books: Books,
        traffic: Traffic,
        consequences: Consequences,
        *,
        kept: Mapping[str, object],
    ) -> None:
        self._config = config
        self._books = books
        self._traffic = traffic
        self._consequences = consequences
        self._settings = kept_settings(kept)
        self._will = _kept_will(kept)
        self._drain_from_s, self._drain_until_s = 0.0, 0.0
        self._said = self.state
        self._awake = asyncio.Event()

    @property
    def state(self) -> State:
        """Whether the mirror takes new visitors now."""
        return state_at(self._traffic.now_s(), self._will, self.promises.open_hours(), self._config.calendar.zone)

    @property
    def promises(self) -> Promises:
        """The limits that hold now."""
        return promised(self._config.promises, self._settings)

    @property
    def settings(self) -> Settings:
        """Those of them that were set at run time."""
        return self._settings

    def announcement(self) -> AvailabilityChanged:
        """Give what is said of the state now."""
        return self._event(self.state)

    async def pause(self, for_s: float | None) -> None:
        """Take no new visitors for a while, or until ``resume``.

        Raises:
            LeftError: no new ones come anyhow.
            StoreError: nothing changed.
        """
        self._require_member()
        await self._want(Will(paused_until_s=pause_until(for_s, self._traffic.now_s())))

    async def resume(self) -> None:
        """Take new visitors again, within the hours. It also ends a drain.

        Raises:
            LeftError: none will come.
            StoreError: nothing changed.
        """
        self._require_member()
        await self._want(Will())

    async def drain(self, within_s: float) -> None:
        """Take no new visitors, let those end who are here, for so long at most, then stop the process.

        Raises:
            StoreError: nothing changed.
        """
        now_s = asyncio.get_running_loop().time()
        self._drain_from_s, self._drain_until_s = now_s + min(DRAIN_SETTLE_S, within_s), now_s + within_s
        until_s = moment_after(within_s, self._traffic.now_s())
        await self._want(replace(self._will, drains_until_s=until_s))

    async def leave(self) -> None:
        """Have the master remove this mirror from the fleet. What its errors are, its caller has to know.

        Raises:
            LeftError: it is none of the fleet's already.
        """
        self._require_member()
        await self._consequences.leave()

    async def set(self, change: Change) -> None:
        """Change limits.

        Raises:
            LeftError: they hold for nobody any more.
            UnfitSettingError: they cannot be so.
            StoreError: nothing changed.
        """
        self._require_member()
        try:
            settings = changed(self._settings, change)
        except ValueError as error:
            raise UnfitSettingError(str(error)) from error
        if problems := promised(self._config.promises, settings).problems():
            raise UnfitSettingError("; ".join(problems))
        await self._books.save(kept={_SETTINGS: settings.as_dict()})
        self._settings = settings
        await self._apply()
        log.info("operator.set", settings=settings.as_dict())

    async def run(self) -> None:
        """Say each change of the state, whatever led to it, until cancelled or drained."""
        while not self._is_drained():
            await self._say_change()
            try:
                async with asyncio.timeout(self._pause_s()):
                    await self._awake.wait()
            except TimeoutError:
                pass
            self._awake.clear()
        log.info("operator.drained", transfers=self._traffic.slots.connections)
        self._consequences.stop()

    def _require_member(self) -> None:
        reason = self._consequences.left_because()
        if reason is not None:
            raise LeftError(reason)

    async def _apply(self) -> None:
        promises, traffic = self.promises, self._traffic
        traffic.slots.visits.slots = promises.slots
        traffic.pacing.change(promises.rate_bytes_per_second)
        await traffic.bookkeeper.limit(self._config.byte_limits(promises))
        traffic.changed()
        self._consequences.promised(promises)
        self._awake.set()

    async def _want(self, will: Will) -> None:
        state = state_at(self._traffic.now_s(), will, self.promises.open_hours(), self._config.calendar.zone)
        await self._books.save(said=[Said(self._event(state))], kept={_PAUSED: will.paused_until_s})
        self._will, self._said = will, state
        log.info("operator.wants", availability=state.availability.value, until_s=state.until_s)
        self._awake.set()

    async def _say_change(self) -> None:
        state = self.state
        if state == self._said:
            return
        try:
            await self._books.save(said=[Said(self._event(state))])
        except StoreError as error:
            log.warning("availability.unsaid", error=str(error))
        else:
            self._said = state
            log.info("availability.changed", availability=state.availability.value, until_s=state.until_s)

    def _event(self, state: State) -> AvailabilityChanged:
        return AvailabilityChanged(mirror=self._config.name, availability=state.availability, until_s=state.until_s)

    def _pause_s(self) -> float:
        """Give how long nothing can change by itself."""
        if self._will.drains_until_s is not None:
            return DRAIN_LOOK_EVERY_S
        if self.state != self._said:
            return RETRY_AFTER_S
        left_s = self._said.until_s - self._traffic.now_s() if self._said.until_s else LOOK_EVERY_S
        return min(max(left_s, 0.0), LOOK_EVERY_S)

    def _is_drained(self) -> bool:
        now_s = asyncio.get_running_loop().time()
        if self._will.drains_until_s is None or now_s < self._drain_from_s:
            return False
        expected = self._traffic.slots.reserved(self._traffic.now_s())
        return now_s >= self._drain_until_s or not (self._traffic.slots_taken or expected)


def kept_settings(kept: Mapping[str, object]) -> Settings:
    """Find the settings among what was kept."""
    return msgspec.convert(kept.get(_SETTINGS, {}), Settings)


def _kept_will(kept: Mapping[str, object]) -> Will:
    return Will(paused_until_s=msgspec.convert(kept.get(_PAUSED), int | None))
