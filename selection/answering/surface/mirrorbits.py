"""The JSON of mirrorbits, key by key, so that what was written for it reads it. Pure.

What would tell strangers more than they need is there and empty: addresses of people, and the URLs by which a mirror
is filled. What mirrorbits finds by scanning and nobody scans for here holds Go's zero time.
"""

from __future__ import annotations

from typing import Final

from msgspec import UNSET, Struct, UnsetType, field

GO_ZERO_TIME: Final = "0001-01-01T00:00:00Z"


_KEYS: Final = {
    "id": "ID",
    "http_url": "HttpURL",
    "rsync_url": "RsyncURL",
    "ftp_url": "FtpURL",
    "sponsor_url": "SponsorURL",
    "sponsor_logo_url": "SponsorLogoURL",
    "as_only": "ASOnly",
    "as_name": "ASName",
    "as_num": "ASNum",
    "absolute_url": "AbsoluteURL",
}


def _key(name: str) -> str:
    return _KEYS.get(name) or "".join(word.capitalize() for word in name.split("_"))


class FileInfo(Struct, frozen=True, kw_only=True, rename="pascal"):
    """The file. Hashes are empty where unknown."""

    path: str
    size: int
    mod_time: str
    sha1: str
    sha256: str
    md5: str


class ClientInfo(Struct, frozen=True, kw_only=True, rename=_key):
    """Where the visitor is."""

    country_code: str
    continent_code: str
    city: str = ""
    country: str = ""
    latitude: float
    longitude: float
    as_name: str = ""
    as_num: int


class MirrorInfo(Struct, frozen=True, kw_only=True, rename=_key):
    """One mirror. ``absolute_url`` has a grant for this visitor; it is empty where the mirror is excluded."""

    id: int
    name: str
    http_url: str
    rsync_url: str = ""
    ftp_url: str = ""
    sponsor_name: str = ""
    sponsor_url: str = ""
    sponsor_logo_url: str = ""
    admin_name: str = ""
    admin_email: str = ""
    custom_data: str = ""
    continent_only: bool
    country_only: bool
    as_only: bool = False
    score: int
    latitude: float
    longitude: float
    continent_code: str
    country_codes: str
    excluded_country_codes: str
    asnum: int
    comment: str = ""
    enabled: bool
    http_down_reason: str | UnsetType = UNSET
    https_down_reason: str | UnsetType = UNSET
    state_since: str = GO_ZERO_TIME
    allow_redirects: bool | UnsetType = UNSET
    distance: float
    computed_score: int
    last_sync: str = GO_ZERO_TIME
    last_successful_sync: str = GO_ZERO_TIME
    last_successful_sync_protocol: int = 0
    last_successful_sync_precision: int = 0
    last_mod_time: str = GO_ZERO_TIME
    absolute_url: str
    exclude_reason: str | UnsetType = UNSET


class Results(Struct, frozen=True, kw_only=True):
    """The answer for one file, with the mirrors that are left out where the list was asked for.

    With ``fallback`` the master serves, as the one mirror ``origin``.
    """

    file: FileInfo = field(name="FileInfo")
    ip: str = field(name="IP")
    client: ClientInfo = field(name="ClientInfo")
    mirrors: tuple[MirrorInfo, ...] = field(name="MirrorList")
    excluded: tuple[MirrorInfo, ...] | UnsetType = field(default=UNSET, name="ExcludedList")
    fallback: bool | UnsetType = field(default=UNSET, name="Fallback")
    local_js_path: str = field(default="", name="LocalJSPath")


class Counts(Struct, frozen=True, kw_only=True, rename="pascal"):
    """``?stats``: downloads of a file."""

    today: int
    month: int
    year: int
    total: int


class PeriodCount(Struct, frozen=True, kw_only=True, rename="pascal"):
    """``?stats=2026-11``: downloads of a file in one period."""

    period: str
    downloads: int
