"""The operator's page: the mirror's state as HTML, without script and without anything from elsewhere. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Final, cast

PAGE_HEADERS: Final = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
REFRESH_S: Final = 5

_APART: Final = frozenset({"mirror", "left"})  # they head the page
_SIZE_UNITS: Final = ("B", "kB", "MB", "GB", "TB", "PB")
_KILO: Final = 1000
_LABELS: Final = {
    "monthly_bytes": "monthly",
    "daily_bytes": "daily",
    "rate_bytes_per_second": "rate",
    "disk_bytes_max": "disk",
    "bytes_per_second": "rate",
    "bytes": "size",
    "kept": "kept for who will be back",
    "reserved": "reserved for who is on his way",
    "sparing": "near a soft limit",
}

_STYLE: Final = (
    "body{font:16px/1.4 sans-serif;max-width:60em;margin:1em auto;padding:0 1em}"
    "th,td{text-align:left;padding:.1em 1em .1em 0;vertical-align:top;font-weight:normal}"
    "th{color:#555}h2{font-size:1.1em;margin:1.5em 0 .3em}"
)


def page_of(status: Mapping[str, object]) -> str:
    """Write the page. Each part of the state is a section; lists are tables of their own."""
    sections = "".join(_section(name, part) for name, part in status.items() if name not in _APART)
    name = escape(str(status.get("mirror", "")))
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>mirror {name}</title>'
        f'<meta http-equiv="refresh" content="{REFRESH_S}"><style>{_STYLE}</style></head>'
        f"<body><h1>mirror {name}</h1>{_departure(status)}{sections}</body></html>\n"
    )


def _departure(status: Mapping[str, object]) -> str:
    return f"<p><strong>left the fleet: {escape(str(status['left']))}</strong></p>" if status.get("left") else ""


def _section(name: str, part: object) -> str:
    title = escape(_label(name))
    if isinstance(part, list):
        return f"<h2>{title}</h2>{_list(cast('list[object]', part))}"
    if isinstance(part, Mapping):
        return f"<h2>{title}</h2>{_table(_rows(cast('Mapping[str, object]', part)))}"
    return f"<h2>{title}</h2><p>{_text(name, part)}</p>"


def _list(items: Sequence[object]) -> str:
    records = [cast("Mapping[str, object]", item) for item in items if isinstance(item, Mapping)]
    if not records:
        return "<p>none</p>"
    heads = "".join(f'<th scope="col">{escape(_label(name))}</th>' for name in records[0])
    return f"<table><tr>{heads}</tr>{_cells(map(_record, records))}</table>"


def _record(record: Mapping[str, object]) -> list[str]:
    """Write a row. A record that is a name and its value (a limit) has the name say what the value is."""
    is_setting = {"name", "value"} <= record.keys()
    cells = dict(record)
    if is_setting:
        cells["name"] = _label(str(record["name"]))
    return [_text(str(record["name"]) if is_setting and key == "value" else key, cell) for key, cell in cells.items()]


def _rows(part: Mapping[str, object], prefix: str = "") -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for name, value in part.items():
        if isinstance(value, Mapping):
            rows += _rows(cast("Mapping[str, object]", value), f"{prefix}{_label(name)} ")
        else:
            rows.append((escape(prefix + _label(name)), _text(name, value)))
    return rows


def _table(rows: Iterable[Iterable[str]]) -> str:
    return f"<table>{_cells(rows)}</table>"


def _cells(rows: Iterable[Iterable[str]]) -> str:
    return "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)


def _label(name: str) -> str:
    """Say a field's name in words; its unit is shown with the value."""
    return _LABELS.get(name) or name.removesuffix("_bytes").replace("_", " ")


def _text(name: str, value: object) -> str:
    """Write a value as its name asks for it."""
    match value:
        case None:
            return "no limit"
        case bool():
            return "yes" if value else "no"
        case int() | float() if name.endswith("bytes_per_second"):
            return f"{_size(value)}/s"
        case int() | float() if "bytes" in name.split("_"):
            return _size(value)
        case "" if name == "hours":
            return "all day"
        case _:
            return escape(str(value)) if value or value == 0 else "&ndash;"


def _size(size_bytes: float) -> str:
    """Write bytes with three significant digits, as the command line does."""
    value, units = size_bytes, iter(_SIZE_UNITS)
    unit = next(units)
    # 999.5 would be shown as 1000 of this unit.
    while value >= _KILO - 0.5 and unit != _SIZE_UNITS[-1]:
        value, unit = value / _KILO, next(units)
    return f"{value:.0f} {unit}" if unit == "B" or value >= _KILO else f"{value:.3g} {unit}"
