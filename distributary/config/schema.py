"""Every setting there is: its section, type, default and meaning. The one list that the loader and the docs follow."""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal, TypeAlias

from msgspec import Struct

from distributary.units import parse_duration, parse_listen, parse_size


class ByteSize(int):
    """Bytes; written as a number or like ``50GB``."""


class Seconds(float):
    """Seconds; written as a number or like ``36h``."""


class Secret(str):
    """Text that is never shown, such as a URL with a password."""

    __slots__ = ()


class Listen(str):
    """``host:port`` to listen on; port 0 lets the system choose."""

    __slots__ = ()

    @property
    def host(self) -> str:
        """The host's address."""
        return parse_listen(self)[0]

    @property
    def port(self) -> int:
        """The port."""
        return parse_listen(self)[1]


class SiteSection(Struct, frozen=True, kw_only=True):
    """What all roles of a site share."""

    url: str = "http://127.0.0.1:8080"
    master_url: str = "http://127.0.0.1:8081"
    secret_file: Path = Path("site.secret")
    admin_token_file: Path = Path("admin.token")
    ticket_secret_file: Path = Path("ticket.secret")


class BrokerSection(Struct, frozen=True, kw_only=True):
    """RabbitMQ as the master and the selectors reach it, and as mirrors do."""

    url: Secret = Secret("amqp://guest:guest@127.0.0.1:5672/")
    url_file: Path | None = None
    management_url: Secret | None = None
    mirror_url: str | None = None
    shared_user: bool = False
    log_age: Seconds = Seconds(30 * 24 * 3600)
    log_size: ByteSize = ByteSize(20_000_000_000)
    load_age: Seconds = Seconds(24 * 3600)
    load_size: ByteSize = ByteSize(1_000_000_000)


class MasterSection(Struct, frozen=True, kw_only=True):
    """The server that publishes."""

    listen: Listen = Listen("127.0.0.1:8081")
    data_dir: Path = Path("master")
    database_url: Secret | None = None
    trusted_proxies: tuple[str, ...] = ()
    slots: int = 200
    seeds_max: int = 2
    escape_after: Seconds = Seconds(10)
    mirror_rate: ByteSize | None = None
    digests: tuple[Literal["md5", "sha1"], ...] = ()


class SelectorSection(Struct, frozen=True, kw_only=True):
    """The server that sends visitors to mirrors."""

    listen: Listen = Listen("127.0.0.1:8080")
    name: str = "selector"
    trusted_proxies: tuple[str, ...] = ()
    geoip_files: tuple[Path, ...] = ()
    places_file: Path | None = None
    site_access_url: str | None = None
    site_access_timeout: Seconds = Seconds(3)
    site_access_cache: Seconds = Seconds(5)
    state_dir: Path | None = None
    statistics_days: int = 400
    silent_after: Seconds = Seconds(10)
    load_threshold: float = 1.0
    near_km: float = 200.0
    share_percent_max: int = 100
    sticky_tags: tuple[str, ...] = ("metadata",)
    decisions_percent: int = 100
    processes: int = 1
    fast_lane: bool = True


class ArchiveSection(Struct, frozen=True, kw_only=True):
    """The log in a database, for years."""

    listen: Listen = Listen("127.0.0.1:8090")
    data_dir: Path = Path("archive")
    database_url: Secret | None = None
    addresses: Literal["shorten", "drop"] = "shorten"
    addresses_days: int = 30


class MirrorSection(Struct, frozen=True, kw_only=True):
    """A friend's server. Who it is and what it may do stands in the credentials file that ``mirror join`` wrote."""

    listen: Listen = Listen("127.0.0.1:8082")
    url: str | None = None
    data_dir: Path = Path("data")
    credentials_file: Path = Path("credentials.json")
    slots: int = 20
    connections_per_address: int = 8
    monthly: ByteSize | None = None
    daily: ByteSize | None = None
    soft_limit: float = 0.9
    time_zone: str = "UTC"
    reset_day: int = 1
    rate: ByteSize | None = None
    hours: str = ""
    peers: bool = True
    peer_share: float = 0.1
    peer_slots: int = 4
    peer_rate: ByteSize | None = None
    disk: ByteSize | None = None
    disk_high: float = 0.95
    disk_low: float = 0.85
    scrub_rate: ByteSize = ByteSize(20_000_000)
    scrub_every: Seconds = Seconds(30 * 24 * 3600)
    location: str | None = None
    country: str = ""
    countries_only: tuple[str, ...] = ()
    countries_excluded: tuple[str, ...] = ()
    continents_only: tuple[str, ...] = ()
    networks_only: tuple[str, ...] = ()
    networks: tuple[str, ...] = ()
    asn: int = 0
    families: tuple[Literal["ipv4", "ipv6"], ...] | None = None
    fetches: int = 4
    report_every: Seconds = Seconds(2)
    trusted_proxies: tuple[str, ...] = ()
    private_addresses: tuple[str, ...] = ()
    serve: Literal["builtin", "external"] = "builtin"


Section: TypeAlias = SiteSection | BrokerSection | MasterSection | SelectorSection | ArchiveSection | MirrorSection

SECTIONS: Final[dict[str, type[Section]]] = {
    "site": SiteSection,
    "broker": BrokerSection,
    "master": MasterSection,
    "selector": SelectorSection,
    "archive": ArchiveSection,
    "mirror": MirrorSection,
}


def read_human(kind: type, raw: object) -> object:
    """Read one of our own types; msgspec calls this for what it does not know itself.

    Raises:
        ValueError: not one; the message says how to write it.
        TypeError: not even text or a number.
    """
    if isinstance(raw, bool) or not isinstance(raw, str | int | float):
        raise TypeError(f"expected text, got {type(raw).__name__}")
    if kind is ByteSize:
        return ByteSize(raw if isinstance(raw, int) else parse_size(str(raw)))
    if kind is Seconds:
        return Seconds(parse_duration(raw) if isinstance(raw, str) else raw)
    if not isinstance(raw, str):
        raise TypeError(f"expected text, got {type(raw).__name__}")
    if kind is Listen:
        parse_listen(raw)
        return Listen(raw)
    return kind(raw)
