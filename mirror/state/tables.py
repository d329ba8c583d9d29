"""The mirror's tables. Whoever changes them raises ``LAYOUT``: a database of another layout is refused."""

from __future__ import annotations

import sqlite3
from functools import cache
from typing import Final

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    bindparam,
    delete,
    update,
)
from sqlalchemy.dialects.sqlite import Insert, insert

from mirror.state.plan import Entry

LAYOUT: Final = 2

metadata = MetaData()

# layout; epoch and sequence of our events, epochs of our load reports and of the master's facts
setting = Table(
    "setting",
    metadata,
    Column("name", String, primary_key=True),
    Column("value", BigInteger, nullable=False),
)

# followed channels, each with the channel_sequence up to which nothing is missing
channel = Table(
    "channel",
    metadata,
    Column("name", String, primary_key=True),
    Column("position", BigInteger, nullable=False),
)

# which path of which channel is which content; not live: a tombstone
entry = Table(
    "entry",
    metadata,
    Column("channel", String, primary_key=True),
    Column("path", String, primary_key=True),
    Column("sequence", BigInteger, nullable=False),
    Column("generation", BigInteger, nullable=False),
    Column("sha256", LargeBinary, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("media_type", String, nullable=False),
    Column("live", Boolean, nullable=False),
    Column("piece_bytes", BigInteger, nullable=False),
    Column("piece_digests", LargeBinary, nullable=False),
    Column("published_at_ns", BigInteger, nullable=False),
)

# content that some live entry refers to: since when, and whether it had to make room for other content
want = Table(
    "want",
    metadata,
    Column("sha256", LargeBinary, primary_key=True),
    Column("since_s", BigInteger, nullable=False),
    Column("evicted", Boolean, nullable=False),
)

# verified content; lost_at_s is null while it is held, and afterwards the row remembers under which path it was
replica = Table(
    "replica",
    metadata,
    Column("sha256", LargeBinary, primary_key=True),
    Column("size_bytes", BigInteger, nullable=False),
    Column("path", String, nullable=False),
    Column("verified_at_s", BigInteger, nullable=False),
    Column("served_at_s", BigInteger, nullable=False),
    Column("lost_at_s", BigInteger, nullable=True),
)

# the keys that prove our grants
grant_key = Table(
    "grant_key",
    metadata,
    Column("key_epoch", Integer, primary_key=True),
    Column("key", LargeBinary, nullable=False),
)

# grants that the master took back, until the last of them would have ended by itself
revocation = Table(
    "revocation",
    metadata,
    Column("master_epoch", BigInteger, primary_key=True),
    Column("revocation", BigInteger, primary_key=True),
    Column("start_by_s_max", BigInteger, nullable=False),
    Column("until_s", BigInteger, nullable=False),
    Column("reason", String, nullable=False),
    Column("mirror", String, nullable=True),
    Column("grant_id", LargeBinary, nullable=True),
    Column("sha256", LargeBinary, nullable=True),
    Column("network", String, nullable=True),
)

# bytes that left, by day of the operator's; booked is what they are at most after a crash; other mirrors' part of both
ledger = Table(
    "ledger",
    metadata,
    Column("day", String, primary_key=True),
    Column("used_bytes", BigInteger, nullable=False),
    Column("booked_bytes", BigInteger, nullable=False),
    Column("peer_used_bytes", BigInteger, nullable=False),
    Column("peer_booked_bytes", BigInteger, nullable=False),
)

# what the operator set at run time, and which limits he was told of
operator_setting = Table(
    "operator_setting",
    metadata,
    Column("name", String, primary_key=True),
    Column("value", JSON, nullable=False),
)

# events that are committed and yet to be published, as the messages that carry them
outbox = Table(
    "outbox",
    metadata,
    Column("position", Integer, primary_key=True, autoincrement=True),
    Column("exchange", String, nullable=False),
    Column("routing_key", String, nullable=False),
    Column("message_id", String, nullable=False),
    Column("type", String, nullable=False),
    Column("headers", JSON, nullable=False),
    Column("body", LargeBinary, nullable=False),
    sqlite_autoincrement=True,
)

DELETE_ENTRY = delete(entry).where(entry.c.channel == bindparam("c"), entry.c.path == bindparam("p"))

UPDATE_CARE = (
    update(replica)
    .where(replica.c.sha256 == bindparam("s"))
    .values(verified_at_s=bindparam("v"), served_at_s=bindparam("u"))
)


@cache  # it costs more to build than to run
def upsert(table: Table) -> Insert:
    """Give the statement that writes whole rows, over older ones with the same key."""
    statement = insert(table)
    names = [column.name for column in table.columns if not column.primary_key]
    return statement.on_conflict_do_update(
        index_elements=list(table.primary_key.columns), set_={name: statement.excluded[name] for name in names}
    )


def entry_row(of: Entry) -> dict[str, object]:
    """Write an entry as a row."""
    return {column.name: getattr(of, column.name) for column in entry.columns}


def set_up_connection(connection: sqlite3.Connection, _record: object) -> None:
    """Let readers and the writer not wait for each other, and commits last."""
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode = WAL")
    cursor.execute("PRAGMA synchronous = FULL")  # a commit that was reported must survive a power failure
    cursor.close()
