"""The mirror's tables. A layout that changes gets a higher ``LAYOUT`` and a step in ``store`` that leads to it."""

from __future__ import annotations

from typing import Final

from sqlalchemy import BigInteger, Boolean, Column, Integer, LargeBinary, MetaData, String, Table

LAYOUT: Final = 1

metadata = MetaData()

# layout; epoch and sequence of our events
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
)

# verified content; lost_at_s is null while it is held, and afterwards the row remembers under which path it was
replica = Table(
    "replica",
    metadata,
    Column("sha256", LargeBinary, primary_key=True),
    Column("size_bytes", BigInteger, nullable=False),
    Column("path", String, nullable=False),
    Column("lost_at_s", BigInteger, nullable=True),
)

# bytes that left, by month; booked is what they are at most after a crash
ledger = Table(
    "ledger",
    metadata,
    Column("month", String, primary_key=True),
    Column("used_bytes", BigInteger, nullable=False),
    Column("booked_bytes", BigInteger, nullable=False),
)

# events that are committed and yet to be published
outbox = Table(
    "outbox",
    metadata,
    Column("position", Integer, primary_key=True, autoincrement=True),
    Column("body", LargeBinary, nullable=False),
    sqlite_autoincrement=True,
)
