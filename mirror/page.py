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

_STYLE: Final = (
    "body{font:16px/1.4 sans-serif;max-width:60em;margin:1em auto;padding:0 1em}"
    "th,td{text-align:left;padding:.1em 1em .1em 0;vertical-align:top;font-weight:normal}"
    "th{color:#555}h2{font-size:1.1em;margin:1.5em 0 .3em}"
)


def page_of(status: Mapping[str, object]) -> str:
    """Write the page. Each part of the state is a section; lists are tables of their own."""
    sections = "".join(_section(name, part) for name, part in status.items() if name != "mirror")
    name = escape(str(status.get("mirror", "")))
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>mirror {name}</title>'
        f'<meta http-equiv="refresh" content="{REFRESH_S}"><style>{_STYLE}</style></head>'
        f"<body><h1>mirror {name}</h1>{sections}</body></html>\n"
    )


def _section(name: str, part: object) -> str:
    title = escape(name.replace("_", " "))
    if isinstance(part, list):
        return f"<h2>{title}</h2>{_list(cast('list[object]', part))}"
    if isinstance(part, Mapping):
        return f"<h2>{title}</h2>{_table(_rows(cast('Mapping[str, object]', part)))}"
    return f"<h2>{title}</h2><p>{_text(part)}</p>"


def _list(items: Sequence[object]) -> str:
    if not items:
        return "<p>none</p>"
    if not all(isinstance(item, Mapping) for item in items):
        return _table([(_text(item),) for item in items])
    records = cast("Sequence[Mapping[str, object]]", items)
    heads = "".join(f'<th scope="col">{escape(name.replace("_", " "))}</th>' for name in records[0])
    return f"<table><tr>{heads}</tr>{_cells((_text(cell) for cell in record.values()) for record in records)}</table>"


def _rows(part: Mapping[str, object], prefix: str = "") -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for name, value in part.items():
        if isinstance(value, Mapping):
            rows += _rows(cast("Mapping[str, object]", value), f"{prefix}{name} ")
        else:
            rows.append((escape((prefix + name).replace("_", " ")), _text(value)))
    return rows


def _table(rows: Iterable[Iterable[str]]) -> str:
    return f"<table>{_cells(rows)}</table>"


def _cells(rows: Iterable[Iterable[str]]) -> str:
    return "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)


def _text(value: object) -> str:
    match value:
        case None:
            return "no limit"
        case bool():
            return "yes" if value else "no"
        case int() | float():
            return f"{value:,}".replace(",", "\N{NARROW NO-BREAK SPACE}")
        case _:
            return escape(str(value)) if value else "&ndash;"
