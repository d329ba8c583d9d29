"""What a selector is told at its start. Frozen, checked together, passed down; nothing below reads an environment."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from broker.config import BrokerConfig
from edge.visitors import parse_proxies
from events.errors import InvalidNameError
from events.grants import KEY_BYTES
from events.names import SelectorName, parse_selector
from events.terms import FINISH_BYTES_PER_SECOND, FINISH_WITHIN_S, START_BY_S
from selection.answering.links import is_base_url

PORT_MAX: Final = 65_535
HOPS_MAX: Final = 10  # clients give up after twenty redirects, and each hop takes two


@dataclass(frozen=True, slots=True, kw_only=True)
class SelectorConfig:
    """One selector.

    Attributes:
        name: how it signs its grants' notices; two selectors of a site have two names.
        site_url: the public URL under which visitors reach it; None: the address that it listens on.
        master_url: the public URL of the master, which serves when no mirror fits.
        secret: the site's secret, from which each mirror's grant key is derived.
        geoip_file: a database in MaxMind's format with positions or countries; None: no place is known.
        trusted_proxies: the CIDR blocks whose ``X-Forwarded-For`` is believed.
        silent_after_s: how long after its last load report a mirror counts as there.
        load_threshold: the share of its slots that a mirror may fill, above 0 and at most 1.
        near_km: mirrors at most this much farther than the nearest are as good as it. Two databases place the same
            address 165 km apart at the median.
        start_by_s: how long a visitor has for the first byte. Like the next two no longer than by default
            (``events.terms``): the master counts on it when it takes grants back.
        finish_within_s: how long a download may take at least, whatever its size.
        finish_bytes_per_second: how fast a download must be on the average, past that.
        hops_max: after so many mirrors that sent the visitor back the master serves.
    """

    name: SelectorName
    listen_host: str = "127.0.0.1"
    listen_port: int = 8080
    site_url: str | None = None
    master_url: str
    broker: BrokerConfig
    secret: bytes = field(repr=False)
    geoip_file: Path | None = None
    trusted_proxies: tuple[str, ...] = ()
    silent_after_s: float = 10.0
    load_threshold: float = 1.0
    near_km: float = 200.0
    start_by_s: int = START_BY_S
    finish_within_s: int = FINISH_WITHIN_S
    finish_bytes_per_second: int = FINISH_BYTES_PER_SECOND
    hops_max: int = 3

    def problems(self) -> list[str]:
        """Give all that is wrong, one sentence each."""
        return [*_name_problems(self), *_address_problems(self), *_figure_problems(self), *self.broker.problems()]


def _name_problems(config: SelectorConfig) -> list[str]:
    found: list[str] = []
    try:
        parse_selector(config.name)
    except InvalidNameError as error:
        found.append(f"name: {error.problem}")
    if len(config.secret) < KEY_BYTES:
        found.append(f"secret: must be at least {KEY_BYTES} bytes")
    return found


def _address_problems(config: SelectorConfig) -> list[str]:
    found: list[str] = []
    if not 0 <= config.listen_port <= PORT_MAX:
        found.append(f"listen_port: must be 0 to {PORT_MAX}")
    urls = {"master_url": config.master_url, "site_url": config.site_url}
    found += [
        f"{name}: write it like https://dl.example.org" for name, url in urls.items() if url and not is_base_url(url)
    ]
    if not config.master_url:
        found.append("master_url: must not be empty")
    if config.geoip_file is not None and not config.geoip_file.is_file():
        found.append(f"geoip_file: {config.geoip_file} is no file")
    try:
        parse_proxies(config.trusted_proxies)
    except ValueError as error:
        found.append(f"trusted_proxies: {error}")
    return found


def _figure_problems(config: SelectorConfig) -> list[str]:
    found: list[str] = []
    if not 0 < config.load_threshold <= 1:
        found.append("load_threshold: must be above 0 and at most 1")
    if config.near_km < 0:
        found.append("near_km: must not be negative")
    above_zero = ("silent_after_s", "start_by_s", "finish_within_s", "finish_bytes_per_second")
    found += [f"{name}: must be above 0" for name in above_zero if getattr(config, name) <= 0]
    if config.start_by_s > START_BY_S or config.finish_within_s > FINISH_WITHIN_S:
        found.append(f"start_by_s, finish_within_s: at most {START_BY_S} and {FINISH_WITHIN_S}, or a revocation misses")
    if config.finish_bytes_per_second < FINISH_BYTES_PER_SECOND:
        found.append(f"finish_bytes_per_second: at least {FINISH_BYTES_PER_SECOND}, or a revocation misses")
    if config.finish_within_s < config.start_by_s:
        found.append("finish_within_s: must not be under start_by_s, or a download ends before it may begin")
    if not 1 <= config.hops_max <= HOPS_MAX:
        found.append(f"hops_max: must be 1 to {HOPS_MAX}")
    return found
