"""What a selector is told at its start. Frozen, checked together, passed down; nothing below reads an environment."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from broker.config import BrokerConfig
from edge.visitors import parse_proxies
from events.errors import InvalidNameError
from events.grants import KEY_BYTES
from events.names import SelectorName, parse_selector, parse_tag
from events.terms import FINISH_BYTES_PER_SECOND, FINISH_WITHIN_S, START_BY_S
from selection.access.tickets import TICKET_KEY_BYTES_MIN
from selection.answering.links import is_base_url
from selection.policy.rules import PERCENT, STICKY_TAGS

PORT_MAX: Final = 65_535
SITE_ACCESS_TIMEOUT_S_MAX: Final = 30.0  # what visitors wait for at most; proxies in front give up after 60 s
SITE_ACCESS_CACHE_S_MAX: Final = 60.0  # whom the site shuts out gets in for so long
PROCESSES_MAX: Final = 99  # its number is part of a selector's name; more cores than selectors have use for
HOPS_MAX: Final = 10  # clients give up after twenty redirects, and each hop takes two


@dataclass(frozen=True, slots=True, kw_only=True)
class SelectorConfig:
    """One selector.

    Attributes:
        name: how it signs its grants' notices; two selectors of a site have two names.
        site_url: the public URL under which visitors reach it; None: the address that it listens on.
        master_url: the public URL of the master, which serves when no mirror fits.
        secret: the site's secret, from which each mirror's grant key is derived.
        geoip_files: databases in MaxMind's format with positions, countries or networks' numbers, the most believed
            first; without any the countries of the registries' tables are known.
        places_file: a table of networks and where they are, believed before any database.
        trusted_proxies: the CIDR blocks whose ``X-Forwarded-For`` and ``X-Forwarded-Proto`` are believed.
        ticket_key: what the site signs tickets with; None: nobody has one.
        site_access_url: where the site is asked about visitors; None: nobody is let in by it.
        site_access_timeout_s: how long it may take to answer.
        site_access_cache_s: how long its yes counts.
        state_dir: the folder for snapshots of what is known; None: each start reads all of the log.
        statistics_days: how long each day keeps its own figures; then they are those of its month.
        silent_after_s: how long after its last load report a mirror counts as there.
        load_threshold: the share of its slots that a mirror may fill, above 0 and at most 1.
        near_km: mirrors up to here are as near as each other. Two databases place the same address 165 km apart at the
            median.
        share_percent_max: the largest share of a continent's visitors that one mirror is sent in a minute, while
            others can serve; 100: no limit.
        sticky_tags: a visitor has files of a channel with one of these from one mirror.
        start_by_s: how long a visitor has for the first byte. Like the next two no longer than by default
            (``events.terms``): the master counts on it when it takes grants back.
        finish_within_s: how long a download may take at least, whatever its size.
        finish_bytes_per_second: how fast a download must be on the average, past that.
        hops_max: after so many mirrors that sent the visitor back the master serves.
        decisions_percent: how many of its decisions are recorded in the log, so that each can be made again: 100 are
            all, 0 none.
        processes: how many selectors share the address, each with a view of its own; past 1 their names are those of
            ``name`` with ``-1`` and so on.
        shares_port: whether other processes may listen on the same address.
        fast_lane: whether plain redirects are answered before aiohttp reads them. Both answer alike.
    """

    name: SelectorName
    listen_host: str = "127.0.0.1"
    listen_port: int = 8080
    site_url: str | None = None
    master_url: str
    broker: BrokerConfig
    secret: bytes = field(repr=False)
    geoip_files: tuple[Path, ...] = ()
    places_file: Path | None = None
    trusted_proxies: tuple[str, ...] = ()
    ticket_key: bytes | None = field(default=None, repr=False)
    site_access_url: str | None = field(default=None, repr=False)
    site_access_timeout_s: float = 3.0
    site_access_cache_s: float = 5.0
    state_dir: Path | None = None
    statistics_days: int = 400
    silent_after_s: float = 10.0
    load_threshold: float = 1.0
    near_km: float = 200.0
    share_percent_max: int = PERCENT
    sticky_tags: tuple[str, ...] = STICKY_TAGS
    start_by_s: int = START_BY_S
    finish_within_s: int = FINISH_WITHIN_S
    finish_bytes_per_second: int = FINISH_BYTES_PER_SECOND
    hops_max: int = 3
    decisions_percent: int = PERCENT
    processes: int = 1
    shares_port: bool = False
    fast_lane: bool = True

    def problems(self) -> list[str]:
        """Give all that is wrong, one sentence each."""
        return [
            *_name_problems(self),
            *_address_problems(self),
            *_access_problems(self),
            *_figure_problems(self),
            *self.broker.problems(),
        ]


def _name_problems(config: SelectorConfig) -> list[str]:
    found: list[str] = []
    try:
        parse_selector(config.name if config.processes == 1 else f"{config.name}-{config.processes}")
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
    found += [f"geoip_files: {path} is no file" for path in config.geoip_files if not path.is_file()]
    if config.places_file is not None and not config.places_file.is_file():
        found.append(f"places_file: {config.places_file} is no file")
    try:
        parse_proxies(config.trusted_proxies)
    except ValueError as error:
        found.append(f"trusted_proxies: {error}")
    return found


def _access_problems(config: SelectorConfig) -> list[str]:
    found: list[str] = []
    if config.ticket_key is not None and len(config.ticket_key) < TICKET_KEY_BYTES_MIN:
        found.append(f"ticket_key: must be at least {TICKET_KEY_BYTES_MIN} bytes")
    if config.site_access_url is not None and not _is_url(config.site_access_url):
        found.append("site_access_url: write it like https://www.example.org/may-download")
    if not 0 < config.site_access_timeout_s <= SITE_ACCESS_TIMEOUT_S_MAX:
        found.append(f"site_access_timeout_s: must be above 0 and at most {SITE_ACCESS_TIMEOUT_S_MAX:g}")
    if not 0 <= config.site_access_cache_s <= SITE_ACCESS_CACHE_S_MAX:
        found.append(f"site_access_cache_s: must be 0 to {SITE_ACCESS_CACHE_S_MAX:g}, or whom you shut out gets in")
    return found


def _is_url(text: str) -> bool:
    """Tell whether this is a page's address by HTTP; a query may be part of it."""
    try:
        parts = urlsplit(text)
        _ = parts.port  # a wrong one is noticed only when it is asked for
    except ValueError:
        return False
    plain = text.isascii() and text.isprintable() and " " not in text
    return plain and parts.scheme in {"http", "https"} and bool(parts.hostname)


def _tag_problems(config: SelectorConfig) -> list[str]:
    try:
        for tag in config.sticky_tags:
            parse_tag(tag)
    except InvalidNameError as error:
        return [f"sticky_tags: {error}"]
    return []


def _figure_problems(config: SelectorConfig) -> list[str]:
    found: list[str] = []
    if not 0 < config.load_threshold <= 1:
        found.append("load_threshold: must be above 0 and at most 1")
    if config.near_km < 0:
        found.append("near_km: must not be negative")
    if not 1 <= config.share_percent_max <= PERCENT:
        found.append(f"share_percent_max: must be 1 to {PERCENT}")
    found += _tag_problems(config)
    above_zero = ("statistics_days", "silent_after_s", "start_by_s", "finish_within_s", "finish_bytes_per_second")
    found += [f"{name}: must be above 0" for name in above_zero if getattr(config, name) <= 0]
    if config.start_by_s > START_BY_S or config.finish_within_s > FINISH_WITHIN_S:
        found.append(f"start_by_s, finish_within_s: at most {START_BY_S} and {FINISH_WITHIN_S}, or a revocation misses")
    if config.finish_bytes_per_second < FINISH_BYTES_PER_SECOND:
        found.append(f"finish_bytes_per_second: at least {FINISH_BYTES_PER_SECOND}, or a revocation misses")
    if config.finish_within_s < config.start_by_s:
        found.append("finish_within_s: must not be under start_by_s, or a download ends before it may begin")
    if not 0 <= config.decisions_percent <= PERCENT:
        found.append(f"decisions_percent: must be 0 to {PERCENT}")
    if not 1 <= config.processes <= PROCESSES_MAX:
        found.append(f"processes: must be 1 to {PROCESSES_MAX}")
    if not 1 <= config.hops_max <= HOPS_MAX:
        found.append(f"hops_max: must be 1 to {HOPS_MAX}")
    return found
