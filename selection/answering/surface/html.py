"""HTML that cannot be forgotten to be escaped: text becomes markup only by ``tag``. Pure.

Pages have no script, load nothing, and say so to the browser: the one style stands in the page, and the policy names
its digest.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Mapping
from html import escape
from typing import Final, TypeAlias


class Markup(str):
    """Text that is HTML already. Only this module makes it."""

    __slots__ = ()


Child: TypeAlias = Markup | str | int
Column: TypeAlias = tuple[str, str | None]
"""A column's title and its class: ``name``, ``figure``, ``wide`` (not on a phone), or None."""

_VOID: Final = frozenset({"meta", "link", "br"})

_STYLE: Final = """
:root{color-scheme:light dark;--quiet:#667;--line:#8884;--mark:#06c}
@media(prefers-color-scheme:dark){:root{--quiet:#99a;--mark:#6af}}
*{box-sizing:border-box}
body{font:1rem/1.5 system-ui,sans-serif;max-width:64rem;margin:0 auto;padding:1rem}
h1{font-size:1.4rem;margin:.5rem 0;overflow-wrap:anywhere}
h2{font-size:1.1rem;margin:1.6rem 0 .4rem}
a{color:var(--mark)}
nav,p.quiet,td.quiet,footer{color:var(--quiet)}
nav{overflow-wrap:anywhere}
footer{margin-top:2.5rem;font-size:.875rem;border-top:1px solid var(--line);padding-top:.5rem}
dl{display:grid;grid-template-columns:max-content 1fr;gap:.1rem 1rem;margin:.8rem 0}
dt{color:var(--quiet)}
dd{margin:0;overflow-wrap:anywhere}
.scroll{overflow-x:auto}
table{border-collapse:collapse;width:100%}
th,td{text-align:left;padding:.3rem .8rem .3rem 0;border-bottom:1px solid var(--line);vertical-align:top}
th{color:var(--quiet);font-weight:normal;font-size:.875rem}
th.name{width:40%}
td.name{overflow-wrap:anywhere}
th.figure,td.figure{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
code{font-size:.875em;overflow-wrap:anywhere}
summary{cursor:pointer}
p.action a{display:inline-block;
padding:.5rem 1rem;border:1px solid var(--mark);border-radius:.4rem;text-decoration:none}
@media(max-width:36rem){.wide{display:none}dl{grid-template-columns:1fr}dd{margin-bottom:.4rem}}
""".replace("\n", "")

_STYLE_DIGEST: Final = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()

PAGE_HEADERS: Final[Mapping[str, str]] = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        f"default-src 'none'; style-src 'sha256-{_STYLE_DIGEST}'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def tag(name: str, /, *children: Child, **attributes: str | int | None) -> Markup:
    """Write an element. Children that are no markup are escaped, and all attributes; ``class_`` is ``class``.

    An attribute that is None is left out.
    """
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(str(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in _VOID:
        return Markup(f"<{name}{written}>")
    return Markup(f"<{name}{written}>{joined(children)}</{name}>")


def joined(parts: Iterable[Child]) -> Markup:
    """Put elements and texts one after the other."""
    return Markup("".join(part if isinstance(part, Markup) else escape(str(part)) for part in parts))


def facts(pairs: Iterable[tuple[str, Child]]) -> Markup:
    """Write names with their values; those without a value are left out."""
    return tag("dl", *(joined((tag("dt", name), tag("dd", value))) for name, value in pairs if value != ""))


def table(heads: Iterable[Column], rows: Iterable[Iterable[Child]]) -> Markup:
    """Write a table; a column's class is that of its cells."""
    columns = tuple(heads)
    head = tag("tr", *(tag("th", title, scope="col", class_=kind) for title, kind in columns))
    body = (
        tag("tr", *(tag("td", cell, class_=kind) for (_, kind), cell in zip(columns, row, strict=True))) for row in rows
    )
    return tag("div", tag("table", tag("thead", head), tag("tbody", *body)), class_="scroll")


def page(title: str, *body: Child) -> str:
    """Write a whole page."""
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width,initial-scale=1"),
        tag("meta", name="robots", content="noindex"),
        tag("title", title),
        tag("style", Markup(_STYLE)),
    )
    footer = tag("footer", "This page is made by Distributary. ", tag("a", "All mirrors", href="/?mirrorstats"))
    return f"<!doctype html>\n{tag('html', head, tag('body', *body, footer), lang='en')}\n"
