"""Where the broker is and how long to wait for it. Frozen, checked as a whole, and silent about passwords."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final
from urllib.parse import SplitResult, unquote, urlsplit, urlunsplit

from broker.port import PUBLISH_TIMEOUT_S

# RabbitMQ warns of false alarms below 5 s. A silent link is given up after (heartbeat + 1) * 3 = 18 s.
HEARTBEAT_S: Final = 5
AMQP_SCHEMES: Final = ("amqp", "amqps")
MANAGEMENT_SCHEMES: Final = ("http", "https")
HIDDEN: Final = "***"


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerConfig:
    """One user's way to one virtual host.

    ``management_url`` is RabbitMQ's management API; None where users cannot be managed. It may carry its own user and
    password, else those of ``url`` are used. ``name`` is what RabbitMQ shows for the connection.
    """

    url: str = field(repr=False)
    management_url: str | None = field(default=None, repr=False)
    heartbeat_s: int = HEARTBEAT_S
    publish_timeout_s: float = PUBLISH_TIMEOUT_S
    name: str = "distributary"

    def problems(self) -> list[str]:
        """Give all that is wrong, each as a sentence for the operator; nothing when it can be used."""
        found = _url_problems("the broker's URL", self.url, AMQP_SCHEMES)
        if self.management_url is not None:
            found += _url_problems("the management API's URL", self.management_url, MANAGEMENT_SCHEMES)
        if self.heartbeat_s < 1:
            found.append("heartbeat_s must be at least 1, or a dead link is never noticed")
        if self.publish_timeout_s <= 0:
            found.append("publish_timeout_s must be above 0, or nothing can be published")
        return found

    @property
    def user(self) -> str:
        """Who logs in; also the ``user_id`` of all that is published."""
        return unquote(urlsplit(self.url).username or "guest")

    @property
    def password(self) -> str:
        """The user's password. Never log it."""
        return unquote(urlsplit(self.url).password or "guest")

    @property
    def vhost(self) -> str:
        """The virtual host; RabbitMQ's default is ``/``."""
        return unquote(urlsplit(self.url).path[1:]) or "/"

    @property
    def safe_url(self) -> str:
        """The broker's URL for people and logs: without the password."""
        return without_password(self.url)


def without_password(url: str) -> str:
    """Write a URL so that it may be shown."""
    parts = urlsplit(url)
    if parts.password is None:
        return url
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{parts.username or ''}:{HIDDEN}@{host}"))


def _url_problems(what: str, url: str, schemes: tuple[str, ...]) -> list[str]:
    parts = _split(url)
    if parts is None:
        return [f"{what} is no URL; write it like {schemes[0]}://user:password@host:port"]
    found: list[str] = []
    if parts.scheme not in schemes:
        found.append(f"{what} must begin with {' or '.join(f'{scheme}://' for scheme in schemes)}")
    if not parts.hostname:
        found.append(f"{what} names no host")
    return found


def _split(url: str) -> SplitResult | None:
    try:
        parts = urlsplit(url)
        _ = parts.port  # a wrong one is noticed only when it is asked for
    except ValueError:
        return None
    return parts
