"""What the services' configurations have in common: the broker, and that they check themselves."""

from __future__ import annotations

import re
from typing import Final, Protocol, TypeVar

from broker.config import BrokerConfig
from broker.retention import Retention, Retentions
from distributary.config.load import DEFAULT_ORIGIN, ConfigError, Settings
from distributary.config.secrets import read_broker_url


class Checked(Protocol):
    """A configuration that knows its own rules."""

    def problems(self) -> list[str]:
        """Give all that is wrong, one sentence each."""
        ...


_FIELD: Final = re.compile(r"the broker's URL|the management API's URL|[a-z_]+")

# What services call differently from the operator, who wrote a setting of the service's own section …
_KEYS: Final = {
    "listen_port": "listen",
    "proxies": "trusted_proxies",
    "silent_after_s": "silent_after",
    "site_access_timeout_s": "site_access_timeout",
    "site_access_cache_s": "site_access_cache",
    "monthly_bytes": "monthly",
    "daily_bytes": "daily",
    "rate_bytes_per_second": "rate",
    "peer_rate_bytes_per_second": "peer_rate",
    "disk_bytes_max": "disk",
    "scrub_bytes_per_second": "scrub_rate",
    "scrub_every_s": "scrub_every",
    "fetches_max": "fetches",
    "report_every_s": "report_every",
    "escape_after_s": "escape_after",
    "credentials": "credentials_file",
}
# … or of one that all share.
_SETTINGS: Final = {
    "public_url": ("site", "master_url"),
    "master_url": ("site", "master_url"),
    "site_url": ("site", "url"),
    "secret": ("site", "secret_file"),
    "ticket_key": ("site", "ticket_secret_file"),
    "admin_token": ("site", "admin_token_file"),
    "mirrors_broker_url": ("broker", "mirror_url"),
    **{name: ("broker", name) for name in ("log_age", "log_size", "load_age", "load_size")},
    "the broker's URL": ("broker", "url"),
    "the management API's URL": ("broker", "management_url"),
}

C = TypeVar("C", bound=Checked)


def broker_config(settings: Settings, *, name: str) -> BrokerConfig:
    """Configure a role's way to the broker; ``name`` is what RabbitMQ shows for the connection."""
    return BrokerConfig(
        url=read_broker_url(settings),
        management_url=settings.broker.management_url,
        name=f"distributary {name}",
    )


def retentions(settings: Settings) -> Retentions:
    """Give how long the broker keeps the log and the load reports; not checked yet."""
    broker = settings.broker
    return Retentions(
        log=Retention(age_s=int(broker.log_age), size_bytes=int(broker.log_size)),
        load=Retention(age_s=int(broker.load_age), size_bytes=int(broker.load_size)),
    )


def checked(config: C, settings: Settings, section: str) -> C:
    """Let a configuration check itself.

    Raises:
        ConfigError: with all that it found, each under the name and at the place where the operator wrote it.
    """
    if problems := config.problems():
        raise ConfigError([_placed(problem, settings, section) for problem in problems])
    return config


def _placed(problem: str, settings: Settings, section: str) -> str:
    """Put the setting's own name and place before a problem that begins with the name of a service's field."""
    field = _FIELD.match(problem)
    place = None if field is None else _setting(field[0], settings, section)
    if field is None or place is None:
        return f"{settings.file or 'defaults'}: [{section}] {problem}"
    origin = settings.origins.get(place, DEFAULT_ORIGIN)
    return f"{origin}: {'.'.join(place)}: {problem[field.end() :].lstrip(': ')}"


def _setting(field: str, settings: Settings, section: str) -> tuple[str, str] | None:
    """Find the setting that a service's field is made from."""
    if place := _SETTINGS.get(field):
        return place
    key = _KEYS.get(field, field)
    return (section, key) if (section, key) in settings.origins else None
