"""The fleet as a view of the log has it: mirrors with state and reason, channels, files and who holds them.

Load reports are no part of the log. So each mirror is taken as one that has just reported, and has room: what is told
is what the log tells.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Final

import msgspec

from events.names import ChannelName, MirrorName
from events.schemas import Figures
from selection.answering import answers
from selection.answering.surface.shortfalls import Count, Shortfall
from selection.policy.rules import Rules
from selection.policy.standing import Standing
from selection.retracing.stood import NOW_S, Stood
from selection.view.file import PublishedFile
from selection.view.fleet import FleetView

_LOADS: Final = frozenset(
    ("slots", "active", "reserved", "free_slots", "transmit_bytes_per_second", "quota_left_bytes", "sparing")
) | {"last_report_s"}
_RULES: Final = Rules(silent_after_s=1.0, load_threshold=1.0, near_km=0.0, hops_max=0)  # nothing told hangs on them


def fleet_of(view: FleetView) -> dict[str, object]:
    """Give all of it, as JSON has it. Nothing may be folded meanwhile."""
    files = list(_files(view))
    count = Count(view)
    for file in files:
        count.add(file)
    return {
        "mirrors": _mirrors(view, count.result()),
        "channels": _channels(view, files),
        "files": [_file(view, file) for file in files],
    }


def _files(view: FleetView) -> Iterator[PublishedFile]:
    return iter(view.catalogue.after(""))


def _mirrors(view: FleetView, shortfalls: Mapping[MirrorName, Shortfall]) -> list[dict[str, object]]:
    stood = Stood(view)
    stood.view.catch_up()
    stood.begin([Figures(mirror=each.name, slots=1, active=0, reserved=0) for each in view.mirrors()])
    told = answers.mirrors(Standing(stood.view, stood.reservations, _RULES, NOW_S), shortfalls)
    mirrors: list[dict[str, object]] = msgspec.to_builtins(told)["mirrors"]
    return [{name: value for name, value in each.items() if name not in _LOADS} for each in mirrors]


def _channels(view: FleetView, files: list[PublishedFile]) -> list[dict[str, object]]:
    counted: Counter[ChannelName] = Counter(channel for file in files for channel in file.channels)
    followed = {each.name: view.followed_by(each) for each in view.mirrors()}
    names = sorted({*counted, *(name for names in followed.values() for name in names)})
    return [
        {
            "channel": name,
            "files": counted[name],
            "mirrors": [mirror for mirror, channels in followed.items() if name in channels],
        }
        for name in names
    ]


def _file(view: FleetView, file: PublishedFile) -> dict[str, object]:
    holders = view.holders(file.sha256)
    return {
        "path": file.path,
        "size_bytes": file.size_bytes,
        "sha256": file.sha256.hex(),
        "generation": file.generation,
        "channels": list(file.channels),
        "mirrors": [each.name for each in view.mirrors() if holders >> each.number & 1],
    }
