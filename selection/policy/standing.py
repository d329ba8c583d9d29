"""How mirrors fare at one moment, whoever asks for whatever: the criteria online, load and quota. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import assert_never

from events.names import MirrorName
from events.schemas import Availability, LoadReported
from selection.answering.links import is_base_url
from selection.policy.choice import Rejection, RejectReason
from selection.policy.reservations import Reservations
from selection.policy.rules import Rules
from selection.view.fleet import FleetView
from selection.view.roster import Mirror


@dataclass(frozen=True, slots=True)
class Standing:
    """How mirrors fare. ``now_s`` is on the clock on which load reports were heard."""

    view: FleetView
    reservations: Reservations
    rules: Rules
    now_s: float

    def free_slots(self, mirror: Mirror) -> int:
        """Count the slots under the threshold that nobody has taken or been granted; 0 without a report."""
        return max(0, self.room(mirror) - self.reservations.of(mirror.name).grants)

    def room(self, mirror: Mirror) -> int:
        """Count the slots under the threshold that nobody had when the mirror last reported; 0 without a report."""
        return self.slots_and_room(mirror.load.report)[1] if mirror.load else 0

    def slots(self, mirror: Mirror) -> int:
        """Count all slots under the threshold; 0 without a report."""
        return 0 if mirror.load is None else self._usable_slots(mirror.load.report)

    def slots_and_room(self, report: LoadReported) -> tuple[int, int]:
        """Count all slots under the threshold, and those of them that nobody had."""
        usable = self._usable_slots(report)
        taken = report.active + report.reserved
        return usable, usable - taken if usable > taken else 0

    def has_idle_slot(self, name: MirrorName) -> bool:
        """Tell whether a slot under the threshold has no transfer, whoever it may be reserved for."""
        load = self.view.mirror(name).load
        return load is not None and load.report.active < self._usable_slots(load.report)

    def _usable_slots(self, report: LoadReported) -> int:
        # A threshold of 0.8 leaves a mirror with one slot that slot: what counts is where its load stands before.
        return math.ceil(self.rules.load_threshold * report.slots)

    def quota_left_bytes(self, mirror: Mirror) -> int | None:
        """Give what is left of the quota when all that this selector granted is served; None without a limit."""
        if mirror.load is None or mirror.load.report.quota_left_bytes is None:
            return None
        return max(0, mirror.load.report.quota_left_bytes - self.reservations.of(mirror.name).size_bytes)

    def silent_from_s(self, mirror: Mirror) -> float:
        """Give the moment past which a mirror counts as silent, unless it reports again."""
        return math.inf if mirror.load is None else mirror.load.heard_s + self.rules.silent_after_s

    def is_present(self, mirror: Mirror) -> bool:
        """Tell whether a mirror counts as online while it reports: ``attendance`` without the silence."""
        return mirror.ruled.enabled and self._absence(mirror) is None and _closure(mirror) is None

    def attendance(self, mirror: Mirror) -> Rejection | None:
        """Say why a mirror does not count as online, or None if it does: the third criterion."""
        if not mirror.ruled.enabled:
            return Rejection(RejectReason.DISABLED)
        return self._absence(mirror) or self._silence(mirror) or _closure(mirror)

    def _absence(self, mirror: Mirror) -> Rejection | None:
        """Say why a mirror is not there, or not wholly, or None if it is."""
        if not mirror.online_sequence or mirror.profile is None:
            return Rejection(RejectReason.NEVER_ONLINE)
        if not mirror.online:
            return Rejection(RejectReason.OFFLINE, mirror.offline_reason)
        if not is_base_url(mirror.profile.url):
            return Rejection(RejectReason.URL_UNUSABLE, repr(mirror.profile.url))
        if mirror.keys_outdated:
            rotation = mirror.rotation
            detail = f"it has that of epoch {mirror.key_epoch}, the oldest that holds is of {rotation.oldest_epoch}"
            return Rejection(RejectReason.KEYS_OUTDATED, detail)
        if not self.view.announced(mirror):
            return Rejection(RejectReason.INVENTORY_INCOMPLETE)
        return None

    def _silence(self, mirror: Mirror) -> Rejection | None:
        if mirror.load is None:
            return Rejection(RejectReason.SILENT, "no load report yet")
        if self.now_s > self.silent_from_s(mirror):
            silent_s = self.now_s - mirror.load.heard_s
            if math.isinf(silent_s):  # of a decision that is made again only that is known
                return Rejection(RejectReason.SILENT, f"none came for more than {self.rules.silent_after_s:.0f} s")
            return Rejection(RejectReason.SILENT, f"the last load report came {silent_s:.0f} s ago")
        return None


def is_secure(url: str) -> bool:
    """Tell whether a mirror is reached by https."""
    return url.startswith("https://")


def _closure(mirror: Mirror) -> Rejection | None:
    """Say why a mirror takes no new visitors, or None while it does."""
    opening = mirror.opening
    match opening.availability:
        case Availability.OPEN:
            return None
        case Availability.PAUSED:
            reason = RejectReason.PAUSED
        case Availability.DRAINING:
            reason = RejectReason.DRAINING
        case Availability.CLOSED:
            reason = RejectReason.CLOSED
        case _:
            assert_never(opening.availability)
    return Rejection(reason, _until(opening.until_s))


def _until(moment_s: int) -> str:
    return f"until {datetime.fromtimestamp(moment_s, tz=UTC):%Y-%m-%d %H:%M} UTC" if moment_s else ""
