"""What the selector's JSON API answers, as types: the OpenAPI document is made of them (``docs/openapi.yaml``)."""

from __future__ import annotations

from enum import Enum

from msgspec import Struct


class LocationTold(Struct, frozen=True, kw_only=True):
    """Where a server stands: degrees north and east; the country is a code of ISO 3166-1, or empty."""

    latitude: float
    longitude: float
    country: str


class VisitorTold(Struct, frozen=True, kw_only=True):
    """Whom a choice is for."""

    ip: str
    country: str
    latitude: float | None
    longitude: float | None


class CandidateTold(Struct, frozen=True, kw_only=True):
    """A mirror that could serve. ``distance_km`` is null where a place is unknown, the quota null without a limit."""

    mirror: str
    distance_km: float | None
    free_slots: int
    quota_left_bytes: int | None


class RejectionTold(Struct, frozen=True, kw_only=True):
    """Why a mirror was not chosen: a stable code, the criterion's number, a sentence, and the figures of the case."""

    mirror: str
    reason: str
    criterion: int
    text: str
    detail: str


class ChoiceTold(Struct, frozen=True, kw_only=True):
    """The choice for one file and visitor. ``fallback``: the master serves; ``chosen`` is null then.

    ``access`` is what his address decides; by ``access_mode`` the file may need a ticket, or the site's yes, as well.
    """

    path: str
    size_bytes: int
    sha256: str
    generation: int
    visitor: VisitorTold
    access: bool
    access_mode: str
    chosen: str | None
    fallback: bool
    ranked: list[CandidateTold]
    rejected: list[RejectionTold]


class FileTold(Struct, frozen=True, kw_only=True):
    """A published file, with the mirrors that hold it."""

    path: str
    size_bytes: int
    sha256: str
    generation: int
    media_type: str
    tags: list[str]
    channels: list[str]
    mirrors: list[str]
    published_at: str


class FilesTold(Struct, frozen=True, kw_only=True):
    """A page of files by path. ``next`` is the ``after`` of the next page, null on the last."""

    files: list[FileTold]
    next: str | None


class DeclinedTold(Struct, frozen=True, kw_only=True):
    """How many of the files that a mirror lacks it could not fetch, with one for an example."""

    files: int
    path: str
    reason: str
    text: str
    detail: str


class MirrorTold(Struct, frozen=True, kw_only=True):
    """A mirror. ``state`` is ``ready``, or the code of the reason for which it is sent nobody, whatever the file.

    ``enabled``, ``weight_percent`` and ``share_percent_max`` are the site's rules for it. Of ``wanted`` contents, those
    of its channels, it lacks ``missing``. Null stands for what it has not said.
    """

    mirror: str
    state: str
    reason: str
    detail: str
    url: str | None
    location: LocationTold | None
    external: bool | None
    enabled: bool
    weight_percent: int
    share_percent_max: int
    channels: list[str]
    copies: int
    wanted: int
    missing: int
    declined: DeclinedTold | None
    slots: int | None
    active: int | None
    reserved: int | None
    free_slots: int
    transmit_bytes_per_second: int | None
    monthly_bytes: int | None
    quota_left_bytes: int | None
    sparing: bool | None
    last_report_s: float | None


class MirrorsTold(Struct, frozen=True, kw_only=True):
    """The fleet, by name."""

    mirrors: list[MirrorTold]


class FolderTold(Struct, frozen=True, kw_only=True):
    """A page of a folder: its folders, and its files with their names. ``next`` as for files."""

    folder: str
    folders: list[str]
    files: list[EntryTold]
    next: str | None


class EntryTold(Struct, frozen=True, kw_only=True):
    """A file in a folder."""

    name: str
    size_bytes: int
    sha256: str
    published_at: str


class Problem(Struct, frozen=True, kw_only=True):
    """What is wrong, by a stable code, for people, and what to do about it."""

    code: str
    message: str
    hint: str


class ErrorTold(Struct, frozen=True, kw_only=True):
    """An error."""

    error: Problem


class Subject(Enum):
    """By what downloads are counted."""

    SITE = "site"
    FILE = "file"
    MIRROR = "mirror"
    COUNTRY = "country"


class FigureTold(Struct, frozen=True, kw_only=True):
    """How many downloads: of a file's path, a mirror's name (``origin``: the master), or a country (empty: unknown)."""

    key: str
    downloads: int


class LargestTold(Struct, frozen=True, kw_only=True):
    """The keys with the most downloads from the first to the last of some days, the most first."""

    by: str
    first: str
    last: str
    figures: list[FigureTold]


class HistoryTold(Struct, frozen=True, kw_only=True):
    """The downloads of one key: today, in this month and year, in all, and by day, month and year, UTC.

    Days are kept for a time, months and years longer. What was sent, in bytes, is known of mirrors alone.
    """

    by: str
    key: str
    today: int
    month: int
    year: int
    total: int
    days: dict[str, int]
    months: dict[str, int]
    years: dict[str, int]
    sent_bytes_by_day: dict[str, int] | None
    sent_bytes_by_month: dict[str, int] | None
