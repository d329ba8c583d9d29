"""The mirror that runs here, for its operator to read: its month, downloads, fetches, limits, and what is wrong."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from distributary.answers import inside, number, objects, text
from distributary.cli.output import WARNING, Output
from distributary.client import JsonObject
from distributary.units import format_size

DIGEST_SHOWN: Final = 12  # enough to compare by eye; --json has all of it
_OPTIONS: Final = {
    "monthly_bytes": "monthly",
    "daily_bytes": "daily",
    "rate_bytes_per_second": "rate",
    "disk_bytes_max": "disk",
    "slots": "slots",
    "hours": "hours",
    "peer_share": "peer-share",
}


def print_own_mirror(output: Output, state: JsonObject) -> None:
    """Print all of it."""
    for name, line in _summary(state):
        output.text(f"{name:<9} {line}")
    _print_downloads(output, objects(state, "downloads"))
    _print_fetches(output, objects(state, "fetching"))
    _print_evicted(output, objects(state, "evicted"), number(inside(state, "holds"), "evicted"))
    output.text()
    print_limits(output, state)
    for problem in _problems(state):
        output.note(problem, style=WARNING)


def availability_sentence(state: JsonObject) -> str:
    """Say whether it takes visitors, and until when that holds: ``draining until …``."""
    availability = inside(state, "availability")
    until = f" until {text(availability, 'until')}" if text(availability, "until") else ""
    return f"{text(availability, 'state')}{until}"


def print_limits(output: Output, state: JsonObject) -> None:
    """Print the limits with where each comes from."""
    rows = [
        (_OPTIONS.get(text(each, "name"), text(each, "name")), _limit(each), text(each, "from"))
        for each in objects(state, "limits")
    ]
    output.table(("limit", "value", "from"), rows)


def _summary(state: JsonObject) -> list[tuple[str, str]]:
    serves, holds = inside(state, "serves"), inside(state, "holds")
    rate = sum(number(each, "bytes_per_second") for each in objects(state, "downloads"))
    return [
        ("mirror", f"{text(state, 'mirror')}, {_standing(state)}"),
        ("month", _window(inside(state, "month"))),
        ("day", _window(inside(state, "day"))),
        ("slots", _slots(serves)),
        ("sending", f"{format_size(rate)}/s by {number(serves, 'connections')} connections"),
        ("holds", _held(holds)),
    ]


def _standing(state: JsonObject) -> str:
    if text(state, "left"):
        return f"left the fleet: {text(state, 'left')}"
    return availability_sentence(state)


def _window(window: JsonObject) -> str:
    used = format_size(number(window, "used_bytes"))
    if window.get("limit_bytes") is None:
        return f"{used} since {text(window, 'began')}, no limit"
    limit, left = format_size(number(window, "limit_bytes")), format_size(number(window, "left_bytes"))
    return f"{used} of {limit}, {left} left until {text(window, 'resets_at')}"


def _slots(serves: JsonObject) -> str:
    parts = [f"{number(serves, 'active')} of {number(serves, 'slots')} taken"]
    parts += [f"{number(serves, name)} {name}" for name in ("kept", "reserved") if number(serves, name)]
    parts.append(f"{number(serves, 'peers')} of {number(serves, 'peer_slots')} by other mirrors")
    return ", ".join(parts)


def _held(holds: JsonObject) -> str:
    size = format_size(number(holds, "bytes"))
    if holds.get("limit_bytes") is not None:
        size += f" of {format_size(number(holds, 'limit_bytes'))}"
    free = format_size(number(holds, "free_bytes"))
    parts = [f"{number(holds, 'files')} of {number(holds, 'wanted')} files", size, f"{free} free on the disk"]
    if number(holds, "evicted"):
        parts.append(f"{number(holds, 'evicted')} evicted: no room under the disk limit")
    if number(holds, "quarantined"):
        parts.append(
            f"{number(holds, 'quarantined')} damaged in quarantine ({format_size(number(holds, 'quarantined_bytes'))})"
        )
    return ", ".join(parts)


def _print_downloads(output: Output, downloads: list[JsonObject]) -> None:
    if not downloads:
        return
    output.text()
    rows = [
        (
            text(each, "path"),
            ("mirror " if each.get("peer") else "") + text(each, "address"),
            format_size(number(each, "sent_bytes")),
            format_size(number(each, "asked_bytes")),
            f"{format_size(number(each, 'bytes_per_second'))}/s",
        )
        for each in downloads
    ]
    output.table(("download", "to", "sent", "of", "rate"), rows, right=("sent", "of", "rate"))


def _print_fetches(output: Output, fetches: list[JsonObject]) -> None:
    if not fetches:
        return
    output.text()
    rows = [
        (
            text(each, "path"),
            format_size(number(each, "size_bytes")),
            f"{number(each, 'pieces_done')} of {number(each, 'pieces')}",
            text(each, "sources") or "-",
        )
        for each in fetches
    ]
    output.table(("fetching", "size", "pieces", "from"), rows, right=("size", "pieces"))


def _print_evicted(output: Output, evicted: list[JsonObject], count: int) -> None:
    if not evicted:
        return
    output.text()
    rows = [(text(each, "path"), format_size(number(each, "size_bytes")), text(each, "reason")) for each in evicted]
    output.table(("evicted", "size", "why"), rows, right=("size",))
    if count > len(evicted):
        output.text(f"and {count - len(evicted)} more")


def _limit(each: Mapping[str, object]) -> str:
    name, value = text(each, "name"), each.get("value")
    if value is None or value == "":
        return "all day" if name == "hours" else "no limit"
    if isinstance(value, int) and "bytes" in name:
        return format_size(value) + ("/s" if name.endswith("per_second") else "")
    return str(value)


def _problems(state: JsonObject) -> list[str]:
    """Name everything that is not as it should be, one line each."""
    found = [
        f"{text(check, 'name')}: {text(check, 'detail') or 'not ok'}"
        for check in objects(state, "checks")
        if not check.get("ok")
    ]
    return found + [
        f"not fetched: {text(each, 'path') or text(each, 'sha256')[:DIGEST_SHOWN]}: {text(each, 'reason')}: "
        f"{text(each, 'detail')} ({text(each, 'attempts')} times)"
        for each in objects(state, "troubles")
    ]
