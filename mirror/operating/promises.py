"""What an operator promises to himself and may change while the mirror runs. Pure.

``Promises`` is what holds now: the configuration, with what he ``set`` in its place.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Final, TypeAlias

import msgspec
from msgspec import UNSET, Struct, UnsetType

from mirror.operating.availability import Hours, parse_hours

SLOTS_MAX: Final = 10_000  # each may hold four connections; past that the process runs out of descriptors first
BYTES_MAX: Final = 2**63 - 1  # what an event and SQLite take

Bytes: TypeAlias = int | UnsetType | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Promises:
    """The operator's limits. Bytes and rate are None, ``hours`` empty, where he sets none."""

    monthly_bytes: int | None = None
    daily_bytes: int | None = None
    rate_bytes_per_second: int | None = None
    disk_bytes_max: int | None = None
    slots: int = 20
    hours: str = ""
    peer_share: float = 0.1

    def problems(self) -> list[str]:
        """Give all that is wrong, one sentence each."""
        sizes = ("monthly_bytes", "daily_bytes", "disk_bytes_max")
        found = [f"{name}: must not be negative" for name in sizes if not _is_size(getattr(self, name), least=0)]
        if not _is_size(self.rate_bytes_per_second, least=1):
            found.append("rate_bytes_per_second: must be above 0")
        if not 1 <= self.slots <= SLOTS_MAX:
            found.append(f"slots: use 1 to {SLOTS_MAX}")
        if not 0 <= self.peer_share <= 1:
            found.append("peer_share: use 0 to 1")
        try:
            self.open_hours()
        except ValueError as error:
            found.append(f"hours: {error}")
        return found

    def open_hours(self) -> Hours | None:
        """Give the hours; None for all day.

        Raises:
            ValueError: they are none.
        """
        return parse_hours(self.hours) if self.hours else None


class Settings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What the operator set at run time. A field that is not set is as configured."""

    monthly_bytes: Bytes = UNSET
    daily_bytes: Bytes = UNSET
    rate_bytes_per_second: Bytes = UNSET
    disk_bytes_max: Bytes = UNSET
    slots: int | UnsetType = UNSET
    hours: str | UnsetType = UNSET
    peer_share: float | UnsetType = UNSET

    def as_dict(self) -> dict[str, object]:
        """Give what is set, by name."""
        return {name: value for name, value in msgspec.structs.asdict(self).items() if value is not UNSET}


class Change(Settings, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What the operator wants to be set, and which of his settings he takes back (``as_configured``)."""

    as_configured: tuple[str, ...] = ()


def changed(settings: Settings, change: Change) -> Settings:
    """Give the settings after a change.

    Raises:
        ValueError: it takes back what is no setting.
    """
    wanted = change.as_dict()
    taken_back = set(msgspec.convert(wanted.pop("as_configured", ()), tuple[str, ...]))
    if unknown := taken_back - set(Settings.__struct_fields__):
        raise ValueError(f"no setting is called {min(unknown)!r}")
    kept = {name: value for name, value in settings.as_dict().items() if name not in taken_back}
    return msgspec.convert(kept | wanted, Settings)


def promised(configured: Promises, settings: Settings) -> Promises:
    """Give what holds now."""
    return dataclasses.replace(configured, **settings.as_dict())  # pyright: ignore[reportArgumentType] - names and types are the same, and tested to be


def _is_size(value: int | None, *, least: int) -> bool:
    return value is None or least <= value <= BYTES_MAX
