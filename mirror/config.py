"""What a mirror is told at its start. Frozen, checked together, passed down; nothing below reads an environment."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from ipaddress import IPv4Address, ip_address, ip_network
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from edge.gate import CONNECTIONS_PER_ADDRESS_MAX
from events.codec import encode
from events.envelope import Envelope, mirror_source
from events.errors import UnspeakableEventError
from events.grants import KEY_BYTES
from events.names import MirrorName
from events.schemas import EVERYBODY, Location, MirrorCameOnline, Profile, Reach
from events.schemas.fields import CONTINENTS
from mirror.keeping.eviction import Marks
from mirror.operating.promises import Promises
from mirror.serving.periods import RESET_DAY_MAX, Calendar, zone_of
from mirror.serving.quota import Limits
from mirror.serving.slots import CONNECTIONS_PER_ADDRESS

PEER_SLOTS_MAX: Final = 1_000  # more mirrors than a site has
IDLE_FACTOR: Final = 4  # open connections of an address for each of its downloads: what its browser keeps for later
FETCHES_MAX: Final = 32  # eight are enough to fill a line; more only starve the visitors
PORT_MAX: Final = 65_535

_LIKE: Final = "write it like https://files.example.org"
_PLAIN_URL = re.compile(r"[^\s\x00-\x20\x7f\"<>\\^`{|}]+")
_COUNTRY = re.compile("[A-Z]{2}")


class Family(Enum):
    """A family of addresses."""

    IPV4 = "ipv4"
    IPV6 = "ipv6"


class Serving(Enum):
    """Who sends the bytes."""

    BUILTIN = "builtin"
    EXTERNAL = "external"  # nginx, which the mirror tells what to send and which tells the mirror what it sent


@dataclass(frozen=True, slots=True, kw_only=True)
class MirrorCredentials:
    """What the master gave for an invitation. ``grant_keys`` by key epoch; keep it as a secret."""

    mirror: MirrorName
    broker_url: str = field(repr=False)
    token: str = field(repr=False)
    grant_keys: Mapping[int, bytes] = field(repr=False)
    master_url: str
    site_url: str

    def problems(self) -> list[str]:
        """Give all that is wrong, one sentence each."""
        found: list[str] = []
        if not self.grant_keys:
            found.append("credentials.grant_keys: there must be at least one")
        found += [
            f"credentials.grant_keys.{epoch}: must be {KEY_BYTES} bytes"
            for epoch, key in self.grant_keys.items()
            if len(key) != KEY_BYTES
        ]
        if not self.token:
            found.append("credentials.token: must not be empty")
        for name, url in (("master_url", self.master_url), ("site_url", self.site_url)):
            if problem := url_problem(url):
                found.append(f"credentials.{name}: {problem}")
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchLimits:
    """When to give up on a source, and how long to wait before it is asked again."""

    stall_after_s: float = 30.0  # no byte at all: a dead peer behind a NAT looks like this
    bytes_per_second_min: int = 1_000  # slower than an old modem is a source that holds us up on purpose
    rate_window_s: float = 60.0
    retry_first_s: float = 0.5
    retry_max_s: float = 30.0  # bounds how long a recovered source or disk waits for us
    lease_wait_s: float = 10.0  # how long one question to the master waits for a piece that may be fetched
    origin_ban_s: float = 30.0  # a master that sent wrong bytes may be mended soon, and the only one who has them

    def problems(self) -> list[str]:
        """Give all that is wrong, one sentence each."""
        if not 0 < self.retry_first_s <= self.retry_max_s:
            return ["limits.retry_first_s: must be above 0 and at most retry_max_s"]
        if min(self.stall_after_s, self.rate_window_s, self.lease_wait_s, self.origin_ban_s) <= 0:
            return ["limits: every time must be above 0"]
        return []


@dataclass(frozen=True, slots=True, kw_only=True)
class MirrorConfig:
    """One mirror. ``url`` is what visitors reach; None: the address that it listens on.

    What is held takes at most ``disk_high`` of ``disk_bytes_max``; when that is reached, room is made down to
    ``disk_low`` of it.

    ``monthly_bytes``, ``daily_bytes``, ``disk_bytes_max`` and the rates are None where the operator sets no limit.
    Days begin and ``hours`` are told by ``time_zone``. ``trusted_proxies`` are the CIDR blocks whose
    ``X-Forwarded-For`` is believed, ``private_addresses`` those outside of the public internet where other mirrors may
    be.

    ``reach`` is whom the mirror takes; visitors in ``networks`` or in the autonomous system ``asn`` (0: not said) come
    to it first. ``families`` are those by which visitors reach it; None: that of the URL's address, both for a name.
    """

    name: MirrorName
    data_folder: Path
    credentials: MirrorCredentials
    listen_host: str = "127.0.0.1"
    listen_port: int = 0
    url: str | None = None
    slots: int = 20
    monthly_bytes: int | None = None
    location: Location | None = None
    disk_bytes_max: int | None = None
    disk_high: float = 0.95
    disk_low: float = 0.85
    scrub_bytes_per_second: int = 20_000_000
    scrub_every_s: float = 30 * 24 * 3600
    daily_bytes: int | None = None
    soft_limit: float = 0.9
    time_zone: str = "UTC"
    reset_day: int = 1
    hours: str = ""
    rate_bytes_per_second: int | None = None
    connections_per_address: int = CONNECTIONS_PER_ADDRESS
    peers: bool = True
    peer_share: float = 0.1
    peer_slots: int = 4
    peer_rate_bytes_per_second: int | None = None
    report_every_s: float = 2.0
    fetches_max: int = 4
    trusted_proxies: tuple[str, ...] = ()
    serve: Serving = Serving.BUILTIN
    private_addresses: tuple[str, ...] = ()
    reach: Reach = EVERYBODY
    networks: tuple[str, ...] = ()
    asn: int = 0
    families: frozenset[Family] | None = None
    limits: FetchLimits = FetchLimits()

    def problems(self) -> list[str]:
        """Give all that is wrong, one sentence each."""
        found = self.credentials.problems() + self.limits.problems()
        if self.name != self.credentials.mirror:
            found.append(f"name: {self.name!r} is not {self.credentials.mirror!r}, to whom the credentials were given")
        if not 0 <= self.listen_port <= PORT_MAX:
            found.append(f"listen_port: use 0 to {PORT_MAX}")
        if self.url is not None and (problem := url_problem(self.url)):
            found.append(f"url: {problem}")
        for name in ("trusted_proxies", "private_addresses", "networks"):
            try:
                _ = [ip_network(block) for block in getattr(self, name)]
            except ValueError as error:
                found.append(f"{name}: {error}")
        if self.families is not None and not self.families:
            found.append('families: name at least one, like ["ipv4"]; left out, it follows from the URL')
        if self.serve is Serving.EXTERNAL and not self.trusted_proxies:
            found.append('trusted_proxies: serve = "external" needs nginx\'s address here, like ["127.0.0.1/32"]')
        found += self._bounds_problems()
        return found or self._profile_problems()

    def profile(self, url: str, promises: Promises | None = None) -> Profile:
        """Give what the mirror tells of itself; ``url`` is where it listens, ``promises`` what holds now."""
        now = promises or self.promises
        reached_at = self.url or url
        families = families_of(reached_at) if self.families is None else self.families
        return Profile(
            url=reached_at,
            slots=now.slots,
            monthly_bytes=now.monthly_bytes,
            location=self.location,
            daily_bytes=now.daily_bytes,
            peers=self.peers and now.peer_share > 0,
            external=self.serve is Serving.EXTERNAL,
            reach=self.reach,
            networks=self.networks,
            asn=self.asn,
            ipv4=Family.IPV4 in families,
            ipv6=Family.IPV6 in families,
        )

    @property
    def promises(self) -> Promises:
        """What the operator promises, before he sets anything else."""
        return Promises(
            monthly_bytes=self.monthly_bytes,
            daily_bytes=self.daily_bytes,
            rate_bytes_per_second=self.rate_bytes_per_second,
            disk_bytes_max=self.disk_bytes_max,
            slots=self.slots,
            hours=self.hours,
            peer_share=self.peer_share,
        )

    @property
    def calendar(self) -> Calendar:
        """How days and months are counted."""
        return Calendar(zone=zone_of(self.time_zone), reset_day=self.reset_day)

    def byte_limits(self, promises: Promises) -> Limits:
        """Give the limits of day and month that hold with these promises."""
        return Limits(
            monthly_bytes=promises.monthly_bytes,
            daily_bytes=promises.daily_bytes,
            soft_limit=self.soft_limit,
            peer_share=promises.peer_share,
        )

    def disk_marks(self, disk_bytes: int | None) -> Marks | None:
        """Give the watermarks of so much disk; None where the operator sets no limit."""
        return None if disk_bytes is None else Marks.of(disk_bytes, high=self.disk_high, low=self.disk_low)

    def _profile_problems(self) -> list[str]:
        """Find what the configuration takes and an event does not: the mirror could not say that it is online."""
        country = "" if self.location is None else self.location.country
        if not _COUNTRY.fullmatch(country or "PT"):
            return [f"country: {country!r}: write two capital letters, like PT, or leave it out"]
        if found := self._reach_problems():
            return found
        online = MirrorCameOnline(mirror=self.name, profile=self.profile("http://127.0.0.1"))
        try:
            encode(
                Envelope(source=mirror_source(self.name), epoch=0, sequence=1, time_ns=0, traceparent="", event=online)
            )
        except UnspeakableEventError as error:
            return [f"the mirror could not announce itself: {error}"]
        return []

    def _reach_problems(self) -> list[str]:
        countries = {name: getattr(self.reach, name) for name in ("countries_only", "countries_excluded")}
        found = [
            f"{name}: {code!r}: write two capital letters, like PT"
            for name, codes in countries.items()
            for code in codes
            if not _COUNTRY.fullmatch(code)
        ]
        unknown = [code for code in self.reach.continents_only if code not in CONTINENTS]
        return found + [f"continents_only: {code!r}: use {', '.join(CONTINENTS)}" for code in unknown]

    def _bounds_problems(self) -> list[str]:
        checks = {
            f"fetches_max: use 1 to {FETCHES_MAX}": 1 <= self.fetches_max <= FETCHES_MAX,
            "soft_limit: use more than 0, at most 1": 0 < self.soft_limit <= 1,
            f"reset_day: use 1 to {RESET_DAY_MAX}": 1 <= self.reset_day <= RESET_DAY_MAX,
            "connections_per_address: use at least 1": self.connections_per_address >= 1,
            f"peer_slots: use 0 to {PEER_SLOTS_MAX}": 0 <= self.peer_slots <= PEER_SLOTS_MAX,
            "peer_rate_bytes_per_second: must be above 0": self.peer_rate_bytes_per_second != 0,
            "disk_low and disk_high: use 0 < disk_low < disk_high <= 1": 0 < self.disk_low < self.disk_high <= 1,
            "scrub_bytes_per_second: must be above 0": self.scrub_bytes_per_second > 0,
            "scrub_every_s: must be above 0": self.scrub_every_s > 0,
            "report_every_s: must be above 0": self.report_every_s > 0,
        }
        found = self.promises.problems() + [problem for problem, holds in checks.items() if not holds]
        try:
            zone_of(self.time_zone)
        except ValueError as error:
            found.append(f"time_zone: {error}")
        return found


def open_connections(downloads: int) -> int:
    """Give how many connections an address may have open of which so many may be downloads.

    Whoever comes past the downloads is sent back to the site, and for that he has to be heard: an office or a carrier
    behind one address brings many such visitors.
    """
    return max(IDLE_FACTOR * downloads, CONNECTIONS_PER_ADDRESS_MAX)


def families_of(url: str) -> frozenset[Family]:
    """Give the address families by which a URL can be reached: its own where it names an address, else both."""
    try:
        address = ip_address(urlsplit(url).hostname or "")
    except ValueError:
        return frozenset(Family)
    return frozenset({Family.IPV4 if isinstance(address, IPv4Address) else Family.IPV6})


def url_problem(url: str) -> str | None:
    """Say what is wrong with a base URL, or None: what it may be as an event's and at the beginning of a Location."""
    if not url.isascii():
        return "write its host in ASCII letters, like https://xn--mnchen-3ya.example"
    try:
        parts = urlsplit(url)
        _ = parts.port  # a wrong one is noticed only when it is asked for
    except ValueError:
        return _LIKE
    if parts.scheme not in {"http", "https"} or not parts.hostname or not _PLAIN_URL.fullmatch(url):
        return _LIKE
    if "@" in parts.netloc or url.endswith("/") or set(url) & set("?#"):
        return "write it without user, query, fragment and slash at the end"
    return None
