"""What an archiver is told at its start. Frozen, checked together, passed down; nothing below reads an environment."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from broker.config import BrokerConfig
from broker.retention import Retention, Retentions
from history.privacy import Addresses
from master.store.engine import supported

DATABASE_NAME: Final = "archive.sqlite3"
PORT_MAX: Final = 65_535


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveConfig:
    """One archive.

    Attributes:
        listen_host: where to answer how the archiver fares.
        listen_port: 0 picks a free one.
        data_folder: where SQLite's file is.
        database_url: SQLite or PostgreSQL as an SQLAlchemy URL; None for SQLite inside ``data_folder``.
        broker: the way to the broker.
        log: how long the log's stream keeps what is not archived yet.
        addresses: what becomes of visitors' addresses after ``addresses_days``.
        addresses_days: how long they are kept as they came.
    """

    listen_host: str = "127.0.0.1"
    listen_port: int = 8090
    data_folder: Path
    database_url: str | None = field(default=None, repr=False)
    broker: BrokerConfig
    log: Retention = field(default_factory=lambda: Retentions().log)
    addresses: Addresses = Addresses.SHORTEN
    addresses_days: int = 30

    @property
    def store_url(self) -> str:
        """The database's URL, whether it was given or not."""
        return self.database_url or f"sqlite:///{self.data_folder / DATABASE_NAME}"

    def problems(self) -> list[str]:
        """Give all that is wrong, each as a sentence for the operator."""
        found = self.broker.problems()
        if not 0 <= self.listen_port <= PORT_MAX:
            found.append(f"listen_port: must be 0 to {PORT_MAX}")
        if not supported(self.store_url):
            found.append("database_url must begin with sqlite:// or postgresql://")
        if self.addresses is Addresses.KEEP:
            found.append("addresses must be shorten or drop: personal data is not kept for ever")
        if self.addresses_days < 1:
            found.append("addresses_days must be at least 1, or nothing can be audited")
        return found
