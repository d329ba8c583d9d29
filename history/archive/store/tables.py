"""The archive's tables. Changing them needs a migration beside this file; a test compares the two.

People ask them questions by SQL (``docs/archive.md``): names are words that no database reserves, moments are
nanoseconds since 1970 (UTC), days are text like ``2026-11-22``.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import BigInteger, Column, Index, Integer, LargeBinary, MetaData, SmallInteger, String, Table, Text

from events.names import NAME_LENGTH_MAX

WORD: Final = String(16)
DAY: Final = String(10)
NAME: Final = String(NAME_LENGTH_MAX)
# On SQLite only an INTEGER is the key that rows are stored by.
NUMBER: Final = BigInteger().with_variant(Integer(), "sqlite")

metadata = MetaData(naming_convention={"pk": "pk_%(table_name)s", "ix": "ix_%(table_name)s_%(column_0_N_name)s"})

events = Table(
    "events",
    metadata,
    Column("number", NUMBER, primary_key=True, autoincrement=False),
    Column("log_generation", BigInteger, nullable=False),
    Column("log_offset", BigInteger, nullable=False),
    Column("exchange", Text, nullable=False),
    Column("routing_key", Text, nullable=False),
    Column("message_id", Text, nullable=False),
    Column("type", Text, nullable=False),
    Column("user_id", Text, nullable=False),
    Column("raw", LargeBinary),
    Column("body", LargeBinary, nullable=False),
    Column("verdict", WORD, nullable=False),
    Column("addresses", WORD, nullable=False),
    Column("log_time_ns", BigInteger, nullable=False),
    Column("source", Text),
    Column("epoch", BigInteger),
    Column("sequence", BigInteger),
    Column("time_ns", BigInteger),
    Column("mirror", NAME),
    Column("channel", NAME),
    Column("path", Text),
    Index(None, "log_generation", "log_offset", "message_id", unique=True),
    Index(None, "source", "epoch", "sequence"),
    Index(None, "type", "number"),
    Index(None, "log_time_ns"),
)
"""Every entry of the log, in the order in which it was archived: ``number`` counts them without a gap, from 1.

``raw`` is the entry's words where text columns cannot hold them (a zero byte among them), else NULL. ``verdict`` is
``sound``, ``unknown`` (of a newer version), ``unreadable`` or ``forged``; the columns from ``source`` on are filled
where it is sound. ``addresses`` tells what became of the visitors' addresses in ``body``: ``none`` (it has none),
``whole``, ``shortened`` or ``dropped``. ``log_time_ns`` never falls from one row to the next.
"""

archive = Table(
    "archive",
    metadata,
    Column("id", SmallInteger, primary_key=True, autoincrement=False),
    Column("number", BigInteger, nullable=False),
    Column("log_generation", BigInteger, nullable=False),
    Column("log_offset", BigInteger, nullable=False),
    Column("raw_id", LargeBinary, nullable=False),
    Column("log_time_ns", BigInteger, nullable=False),
    Column("addresses_cut_to", BigInteger, nullable=False),
)
"""One row: how far the log is archived, written in the transaction of the events themselves.

``raw_id`` is the last entry's message id as bytes; ``addresses_cut_to`` the number up to which addresses were cut.
"""

gaps = Table(
    "gaps",
    metadata,
    Column("number", NUMBER, primary_key=True, autoincrement=False),
    Column("kind", WORD, nullable=False),
    Column("noticed_at_ns", BigInteger, nullable=False),
    Column("log_generation", BigInteger, nullable=False),
    Column("after_offset", BigInteger, nullable=False),
    Column("next_offset", BigInteger),
    Column("events_before", BigInteger, nullable=False),
    Column("detail", Text, nullable=False),
)
"""Where entries of the log may be missing: behind ``after_offset`` of that generation, and behind ``events_before``."""

log_days = Table(
    "log_days",
    metadata,
    Column("day", DAY, primary_key=True),
    Column("entries", BigInteger, nullable=False),
    Column("bytes", BigInteger, nullable=False),
)
"""How much log each day had, by the log's time; ``bytes`` as a stream keeps them."""

projections = Table(
    "projections",
    metadata,
    Column("name", WORD, primary_key=True),
    Column("version", SmallInteger, nullable=False),
    Column("number", BigInteger, nullable=False),
)
"""Up to which event each projection is made."""

downloads = Table(
    "downloads",
    metadata,
    Column("day", DAY, primary_key=True),
    Column("mirror", NAME, primary_key=True),
    Column("country", String(2), primary_key=True),
    Column("path", Text, primary_key=True),
    Column("granted", BigInteger, nullable=False),
    Column("finished", BigInteger, nullable=False),
    Column("aborted", BigInteger, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Index(None, "path", "day"),
)
"""Downloads by the day of their grant, UTC. ``mirror`` is ``origin`` for the master, ``country`` empty where unknown.

``finished`` and ``aborted`` count requests, of which a resumed download has several; ``bytes`` is what was sent.
"""

open_grants = Table(
    "open_grants",
    metadata,
    Column("grant_id", LargeBinary(16), primary_key=True),
    Column("day", DAY, nullable=False),
    Column("country", String(2), nullable=False),
    Column("path", Text, nullable=False),
    Column("until_s", BigInteger, nullable=False, index=True),
)
"""Grants that something may yet be told of: the projection's own memory of where to count it."""

contents = Table(
    "contents",
    metadata,
    Column("sha256", LargeBinary(32), primary_key=True),
    Column("path", Text, nullable=False),
)
"""The path that a content was last published under: the projection's own memory, for links that nobody is told of."""

publications = Table(
    "publications",
    metadata,
    Column("path", Text, primary_key=True),
    Column("generation", BigInteger, primary_key=True),
    Column("sha256", LargeBinary(32), nullable=False, index=True),
    Column("size_bytes", BigInteger, nullable=False),
    Column("published_at_ns", BigInteger, nullable=False),
)
"""Each content that each path ever had. ``published_at_ns`` is the master's clock, or the log's where it says none."""

readiness = Table(
    "readiness",
    metadata,
    Column("sha256", LargeBinary(32), primary_key=True),
    Column("mirror", NAME, primary_key=True),
    Column("ready_at_ns", BigInteger, nullable=False),
)
"""When each mirror first said that it serves a content, by its own clock."""
