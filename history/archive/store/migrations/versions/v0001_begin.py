"""The archive's first tables."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "v0001"
down_revision = None
branch_labels = None
depends_on = None

_WORD = sa.String(16)
_DAY = sa.String(10)
_NAME = sa.String(31)
_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Create them."""
    _begin_events()
    _begin_projections()


def _begin_events() -> None:
    op.create_table(
        "events",
        sa.Column("number", _NUMBER, primary_key=True, autoincrement=False),
        sa.Column("log_generation", sa.BigInteger, nullable=False),
        sa.Column("log_offset", sa.BigInteger, nullable=False),
        sa.Column("exchange", sa.Text, nullable=False),
        sa.Column("routing_key", sa.Text, nullable=False),
        sa.Column("message_id", sa.Text, nullable=False),
        sa.Column("type", sa.Text, nullable=False),
        sa.Column("user_id", sa.Text, nullable=False),
        sa.Column("raw", sa.LargeBinary),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.Column("verdict", _WORD, nullable=False),
        sa.Column("addresses", _WORD, nullable=False),
        sa.Column("log_time_ns", sa.BigInteger, nullable=False),
        sa.Column("source", sa.Text),
        sa.Column("epoch", sa.BigInteger),
        sa.Column("sequence", sa.BigInteger),
        sa.Column("time_ns", sa.BigInteger),
        sa.Column("mirror", _NAME),
        sa.Column("channel", _NAME),
        sa.Column("path", sa.Text),
    )
    op.create_index(
        op.f("ix_events_log_generation_log_offset_message_id"),
        "events",
        ["log_generation", "log_offset", "message_id"],
        unique=True,
    )
    op.create_index(op.f("ix_events_source_epoch_sequence"), "events", ["source", "epoch", "sequence"])
    op.create_index(op.f("ix_events_type_number"), "events", ["type", "number"])
    op.create_index(op.f("ix_events_log_time_ns"), "events", ["log_time_ns"])
    op.create_table(
        "archive",
        sa.Column("id", sa.SmallInteger, primary_key=True, autoincrement=False),
        sa.Column("number", sa.BigInteger, nullable=False),
        sa.Column("log_generation", sa.BigInteger, nullable=False),
        sa.Column("log_offset", sa.BigInteger, nullable=False),
        sa.Column("raw_id", sa.LargeBinary, nullable=False),
        sa.Column("log_time_ns", sa.BigInteger, nullable=False),
        sa.Column("addresses_cut_to", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "gaps",
        sa.Column("number", _NUMBER, primary_key=True, autoincrement=False),
        sa.Column("kind", _WORD, nullable=False),
        sa.Column("noticed_at_ns", sa.BigInteger, nullable=False),
        sa.Column("log_generation", sa.BigInteger, nullable=False),
        sa.Column("after_offset", sa.BigInteger, nullable=False),
        sa.Column("next_offset", sa.BigInteger),
        sa.Column("events_before", sa.BigInteger, nullable=False),
        sa.Column("detail", sa.Text, nullable=False),
    )
    op.create_table(
        "log_days",
        sa.Column("day", _DAY, primary_key=True),
        sa.Column("entries", sa.BigInteger, nullable=False),
        sa.Column("bytes", sa.BigInteger, nullable=False),
    )


def _begin_projections() -> None:
    op.create_table(
        "projections",
        sa.Column("name", _WORD, primary_key=True),
        sa.Column("version", sa.SmallInteger, nullable=False),
        sa.Column("number", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "downloads",
        sa.Column("day", _DAY, primary_key=True),
        sa.Column("mirror", _NAME, primary_key=True),
        sa.Column("country", sa.String(2), primary_key=True),
        sa.Column("path", sa.Text, primary_key=True),
        sa.Column("granted", sa.BigInteger, nullable=False),
        sa.Column("finished", sa.BigInteger, nullable=False),
        sa.Column("aborted", sa.BigInteger, nullable=False),
        sa.Column("bytes", sa.BigInteger, nullable=False),
    )
    op.create_index(op.f("ix_downloads_path_day"), "downloads", ["path", "day"])
    op.create_table(
        "open_grants",
        sa.Column("grant_id", sa.LargeBinary(16), primary_key=True),
        sa.Column("day", _DAY, nullable=False),
        sa.Column("country", sa.String(2), nullable=False),
        sa.Column("path", sa.Text, nullable=False),
        sa.Column("until_s", sa.BigInteger, nullable=False, index=True),
    )
    op.create_table(
        "contents",
        sa.Column("sha256", sa.LargeBinary(32), primary_key=True),
        sa.Column("path", sa.Text, nullable=False),
    )
    op.create_table(
        "publications",
        sa.Column("path", sa.Text, primary_key=True),
        sa.Column("generation", sa.BigInteger, primary_key=True),
        sa.Column("sha256", sa.LargeBinary(32), nullable=False, index=True),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.Column("published_at_ns", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "readiness",
        sa.Column("sha256", sa.LargeBinary(32), primary_key=True),
        sa.Column("mirror", _NAME, primary_key=True),
        sa.Column("ready_at_ns", sa.BigInteger, nullable=False),
    )
