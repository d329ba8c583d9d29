"""What a mirror is told at its start. Frozen, checked together, passed down; nothing below reads an environment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_network
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from events.grants import KEY_BYTES
from events.names import MirrorName
from events.schemas import Location

SLOTS_MAX: Final = 10_000  # each may hold four connections; past that the process runs out of descriptors first
FETCHES_MAX: Final = 32  # eight are enough to fill a line; more only starve the visitors
PORT_MAX: Final = 65_535


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

    connect_timeout_s: float = 10.0  # three SYNs
    stall_after_s: float = 30.0  # no byte at all: a dead peer behind a NAT looks like this
    bytes_per_second_min: int = 1_000  # slower than an old modem is a source that holds us up on purpose
    rate_window_s: float = 60.0
    retry_first_s: float = 0.5
    retry_max_s: float = 30.0  # bounds how long a recovered source or disk waits for us

    def problems(self) -> list[str]:
        """Give all that is wrong, one sentence each."""
        if not 0 < self.retry_first_s <= self.retry_max_s:
            return ["limits.retry_first_s: must be above 0 and at most retry_max_s"]
        if min(self.connect_timeout_s, self.stall_after_s, self.rate_window_s) <= 0:
            return ["limits: every time must be above 0"]
        return []


@dataclass(frozen=True, slots=True, kw_only=True)
class MirrorConfig:
    """One mirror. ``url`` is what visitors reach; None: the address that it listens on.

    ``monthly_bytes`` and ``disk_bytes_max`` are None where the operator sets no limit. ``trusted_proxies`` are
    the CIDR blocks whose ``X-Forwarded-For`` is believed.
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
    report_every_s: float = 2.0
    fetches_max: int = 4
    trusted_proxies: tuple[str, ...] = ()
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
        try:
            _ = [ip_network(block) for block in self.trusted_proxies]
        except ValueError as error:
            found.append(f"trusted_proxies: {error}")
        return found + self._bounds_problems()

    def _bounds_problems(self) -> list[str]:
        checks = {
            f"slots: use 1 to {SLOTS_MAX}": 1 <= self.slots <= SLOTS_MAX,
            f"fetches_max: use 1 to {FETCHES_MAX}": 1 <= self.fetches_max <= FETCHES_MAX,
            "monthly_bytes: must not be negative": self.monthly_bytes is None or self.monthly_bytes >= 0,
            "disk_bytes_max: must not be negative": self.disk_bytes_max is None or self.disk_bytes_max >= 0,
            "report_every_s: must be above 0": self.report_every_s > 0,
        }
        return [problem for problem, holds in checks.items() if not holds]


def url_problem(url: str) -> str | None:
    """Say what is wrong with a base URL, or None."""
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        return "write it like https://files.example.org"
    if parts.query or parts.fragment or parts.username or url.endswith("/"):
        return "write it without user, query, fragment and slash at the end"
    return None
