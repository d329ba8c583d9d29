"""The master's configuration: read once by whoever starts it, checked as a whole, passed down."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from broker.config import BrokerConfig
from broker.retention import Retentions
from edge.visitors import parse_proxies
from master.checksums import Checksum
from master.store.engine import supported

SECRET_BYTES_MIN: Final = 32  # as long as the keys that are derived from it
ADMIN_TOKEN_LENGTH_MIN: Final = 16  # 96 bits of base64; less could be tried out
MIRROR_RATE_MIN: Final = 100_000  # a lease on a piece ends sooner than it could be sent below that
DATABASE_NAME: Final = "master.sqlite3"


@dataclass(frozen=True, slots=True, kw_only=True)
class MasterConfig:
    """All that a master is told.

    Attributes:
        listen_host: where to listen.
        listen_port: 0 picks a free one.
        public_url: how mirrors and visitors reach this master; None for the URL that it listens on.
        site_url: the selector's public URL, which visitors know.
        data_folder: where the master keeps its state.
        database_url: SQLite or PostgreSQL as an SQLAlchemy URL; None for SQLite inside ``data_folder``.
        broker: the master's own way to the broker.
        retentions: how long the broker keeps the log and the load reports.
        mirrors_broker_url: how mirrors reach the broker, without user and password; None for the master's way.
        shared_broker_user: let mirrors use the master's own broker user where RabbitMQ's management API is not there to
            give them their own; each of them can then speak as the master.
        secret: the site's secret, which all keys and broker passwords are derived from.
        admin_token: what administrators prove themselves with.
        proxies: CIDR blocks of the proxies in front, whose word on a visitor's address is believed.
        seeds_max: how often each piece of a file is sent to mirrors in all; the rest they have from each other.
        escape_after_s: how long a mirror waits for a piece that no other can give, until it is sent once more.
        mirror_rate: the most that is sent to all mirrors together, in bytes per second; None is no limit.
        checksums: further digests that are made of each file, for old tools: ``md5``, ``sha1``.
        slots: downloads that visitors get from the master itself at once. By default as many as the 1,024 open files
            of an ordinary process allow, with a file, a socket and its double for each and some segments besides.
    """

    listen_host: str = "127.0.0.1"
    listen_port: int = 8080
    public_url: str | None = None
    site_url: str
    data_folder: Path
    database_url: str | None = field(default=None, repr=False)
    broker: BrokerConfig
    retentions: Retentions = field(default_factory=Retentions)
    mirrors_broker_url: str | None = None
    shared_broker_user: bool = False
    secret: bytes = field(repr=False)
    admin_token: str = field(repr=False)
    proxies: tuple[str, ...] = ()
    seeds_max: int = 2
    escape_after_s: float = 10.0
    mirror_rate: int | None = None
    checksums: frozenset[Checksum] = frozenset()
    slots: int = 200

    @property
    def store_url(self) -> str:
        """The database's URL, whether it was given or not."""
        return self.database_url or f"sqlite:///{self.data_folder / DATABASE_NAME}"

    def problems(self) -> list[str]:
        """Give all that is wrong, each as a sentence for the operator."""
        found = [*self.broker.problems(), *self.retentions.problems(), *self._url_problems()]
        if len(self.secret) < SECRET_BYTES_MIN:
            found.append(f"secret needs at least {SECRET_BYTES_MIN} bytes: whoever guesses it can forge every grant")
        if len(self.admin_token) < ADMIN_TOKEN_LENGTH_MIN:
            found.append(f"admin_token needs at least {ADMIN_TOKEN_LENGTH_MIN} characters")
        if self.slots < 1:
            found.append("slots: at least 1; without any, nobody is served where no mirror fits")
        if not supported(self.store_url):
            found.append("database_url must begin with sqlite:// or postgresql://")
        if self.seeds_max < 1:
            found.append("seeds_max must be at least 1: somebody has to get a file from the master first")
        if self.escape_after_s <= 0:
            found.append("escape_after_s must be more than 0, or every piece leaves the master again and again")
        if self.mirror_rate is not None and self.mirror_rate < MIRROR_RATE_MIN:
            found.append(f"mirror_rate must be at least {MIRROR_RATE_MIN} bytes per second, or pieces never end")
        try:
            parse_proxies(self.proxies)
        except ValueError as error:
            found.append(f"proxies: {error}")
        return found

    def _url_problems(self) -> list[str]:
        web = {"public_url": self.public_url, "site_url": self.site_url}
        found = [
            f"{name} must be like https://files.example.org, without a slash at the end"
            for name, url in web.items()
            if url is not None and not _is_base_url(url)
        ]
        if self.mirrors_broker_url is not None:
            broker = BrokerConfig(url=self.mirrors_broker_url)
            found += [f"mirrors_broker_url: {problem}" for problem in broker.problems()]
        return found


def _is_base_url(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme in {"http", "https"} and bool(parts.netloc) and not url.endswith("/")
