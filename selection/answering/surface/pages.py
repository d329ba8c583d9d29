"""The pages for people: who can send a file, the fleet, a folder, and what is wrong. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from urllib.parse import quote, urlencode

from selection.answering.surface.html import Child, Column, Markup, facts, joined, page, table, tag
from selection.answering.surface.offers import Offer
from selection.answering.surface.schemas import EntryTold, FolderTold, MirrorTold, RejectionTold
from selection.answering.surface.words import count_text, distance_text, moment_text, size_text

_HASHES: Final = {"sha256": "SHA-256", "sha1": "SHA-1", "md5": "MD5"}


@dataclass(frozen=True, slots=True, kw_only=True)
class FilePage:
    """What the page of one file says. ``hashes`` are hexadecimal, by the form's name; ``query`` is kept in its links.

    ``country`` is the visitor's, or empty; ``valid_s`` is how long the links of the list can be begun with.
    """

    path: str
    size_bytes: int
    published_at: datetime
    hashes: dict[str, str]
    country: str
    offers: Sequence[Offer]
    rejected: Sequence[RejectionTold]
    valid_s: int
    query: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """What a mirror served today, and this month."""

    today: int = 0
    today_bytes: int = 0
    month: int = 0
    month_bytes: int = 0


def file_page(told: FilePage) -> str:
    """Write the page of one file: its facts, its servers for this visitor, and why not the others."""
    name = told.path.rpartition("/")[2]
    where = f" for {told.country}" if told.country else ""
    return page(
        name,
        _crumbs(told.path),
        tag("h1", name),
        facts(
            [
                ("Size", f"{size_text(told.size_bytes)} ({count_text(told.size_bytes)} bytes)"),
                ("Published", moment_text(told.published_at)),
                *((_HASHES[kind], tag("code", value)) for kind, value in told.hashes.items() if value),
                ("More", joined(_more(told))),
            ]
        ),
        tag("p", tag("a", f"Download {name}", href=_href(told.path, told.query)), class_="action"),
        tag("h2", f"Servers{where}, best first"),
        _offers(told.offers),
        tag(
            "p",
            f"These links are yours alone and have to be begun within {told.valid_s} seconds; "
            "reload the page for new ones.",
            class_="quiet",
        ),
        _rejected([each for each in told.rejected if each.mirror not in {offer.mirror for offer in told.offers}]),
    )


def fleet_page(mirrors: Sequence[MirrorTold], served: dict[str, Served]) -> str:
    """Write the page of the fleet: each mirror's state, and what it served."""
    columns: tuple[Column, ...] = (
        ("Mirror", "name"),
        ("Country", None),
        ("State", None),
        ("Channels", "wide"),
        ("Files", "figure wide"),
        ("Free places", "figure wide"),
        ("Today", "figure"),
        ("This month", "figure"),
    )
    rows = (_fleet_row(mirror, served.get(mirror.mirror, Served())) for mirror in mirrors)
    ready = sum(mirror.state == "ready" for mirror in mirrors)
    return page(
        "Mirrors",
        _crumbs(""),
        tag("h1", "Mirrors"),
        tag("p", f"{count_text(ready)} of {count_text(len(mirrors))} are ready to serve."),
        table(columns, rows),
    )


def folder_page(told: FolderTold) -> str:
    """Write one page of a folder."""
    title = told.folder or "/"
    folders = [(tag("a", f"{name}/", href=_href(f"{told.folder}{name}/")), "", "", "") for name in told.folders]
    files = [_entry_row(told.folder, entry) for entry in told.files]
    columns: tuple[Column, ...] = (("Name", "name"), ("Size", "figure"), ("Published", "wide"), ("", None))
    following: list[Child] = []
    if told.next is not None:
        href = f"{_href(told.folder)}?{urlencode({'after': told.next})}"
        following.append(tag("p", tag("a", "Next page", href=href, rel="next")))
    return page(
        title,
        _crumbs(told.folder),
        tag("h1", title),
        table(columns, [*folders, *files]) if folders or files else tag("p", "Nothing is here."),
        *following,
    )


def problem_page(message: str) -> str:
    """Write the page of an error."""
    sentence = f"{message[:1].upper()}{message[1:]}."
    return page(sentence, _crumbs(""), tag("h1", sentence))


def _crumbs(path: str) -> Markup:
    """Write the way from the top to the folder that something stands in."""
    parts: list[Child] = [tag("a", "Files", href="/")]
    folders = path.split("/")[:-1]
    for depth, name in enumerate(folders, start=1):
        parts += [" / ", tag("a", name, href=_href("/".join(folders[:depth]) + "/"))]
    return tag("nav", *parts)


def _more(told: FilePage) -> Iterable[Child]:
    """Write links to the other forms of the file."""
    forms = ("meta4", "metalink", *(kind for kind, value in told.hashes.items() if value), "stats")
    for number, form in enumerate(forms):
        query = f"{form}&{told.query}" if told.query else form
        yield from ([", "] if number else [])
        yield tag("a", form, href=_href(told.path, query))


def _offers(offers: Sequence[Offer]) -> Markup:
    if not offers:
        return tag("p", "No server can send this file just now: come again in a minute.")
    columns: tuple[Column, ...] = (("Server", "name"), ("Country", None), ("Distance", "figure"), ("", None))
    return table(
        columns,
        (
            (
                offer.mirror,
                offer.country,
                distance_text(offer.distance_km),
                tag("a", "download", href=offer.url, rel="nofollow"),
            )
            for offer in offers
        ),
    )


def _rejected(rejected: Sequence[RejectionTold]) -> Markup:
    if not rejected:
        return joined(())
    rows = ((each.mirror, f"{each.text}{f' ({each.detail})' if each.detail else ''}") for each in rejected)
    summary = tag("summary", f"Why not the others ({count_text(len(rejected))})")
    return tag("details", summary, table((("Server", "name"), ("Reason", None)), rows))


def _fleet_row(mirror: MirrorTold, served: Served) -> tuple[Child, ...]:
    return (
        tag("a", mirror.mirror, href=mirror.url, rel="nofollow") if mirror.url else mirror.mirror,
        mirror.location.country if mirror.location else "",
        "ready" if mirror.state == "ready" else mirror.reason,
        ", ".join(mirror.channels),
        f"{count_text(mirror.wanted - mirror.missing)} of {count_text(mirror.wanted)}",
        f"{count_text(mirror.free_slots)}" + ("" if mirror.slots is None else f" of {count_text(mirror.slots)}"),
        f"{count_text(served.today)} · {size_text(served.today_bytes)}",
        f"{count_text(served.month)} · {size_text(served.month_bytes)}",
    )


def _entry_row(folder: str, entry: EntryTold) -> tuple[Child, ...]:
    path = folder + entry.name
    return (
        tag("a", entry.name, href=_href(path)),
        size_text(entry.size_bytes),
        moment_text(datetime.fromisoformat(entry.published_at)),
        tag("a", "details", href=_href(path, "mirrorlist")),
    )


def _href(path: str, query: str = "") -> str:
    """Write a link to a path of the site; no name in it can change where it leads."""
    return f"/{quote(path)}" + (f"?{query}" if query else "")
