"""Begin: the catalogue, the fleet and the outbox."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "v0001"
down_revision = None
branch_labels = None
depends_on = None

_NAME = sa.String(31)
_DIGEST = sa.LargeBinary(32)


def upgrade() -> None:
    """Create the first tables."""
    _create_catalogue()
    _create_fleet()
    _create_journal()


def _create_catalogue() -> None:
    op.create_table(
        "files",
        sa.Column("path", sa.Text, primary_key=True),
        sa.Column("generation", sa.BigInteger, nullable=False),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.Column("sha256", _DIGEST, nullable=False, index=True),
        sa.Column("media_type", sa.Text, nullable=False),
        sa.Column("tags", sa.JSON, nullable=False),
        sa.Column("networks", sa.JSON, nullable=False),
        sa.Column("named_channels", sa.JSON),
        sa.Column("published_at_ns", sa.BigInteger, nullable=False),
        sa.Column("source_path", sa.Text),
        sa.Column("inode", sa.BigInteger, nullable=False),
        sa.Column("mtime_ns", sa.BigInteger, nullable=False),
        sa.Column("hashed_at_ns", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "memberships",
        sa.Column("path", sa.Text, primary_key=True),
        sa.Column("channel", _NAME, primary_key=True),
        sa.Column("channel_sequence", sa.BigInteger, nullable=False),
    )
    op.create_index("ix_memberships_channel_channel_sequence", "memberships", ["channel", "channel_sequence"])
    op.create_table(
        "channels",
        sa.Column("name", _NAME, primary_key=True),
        sa.Column("filter", sa.JSON, nullable=False),
        sa.Column("description", sa.Text, nullable=False),
    )


def _create_fleet() -> None:
    op.create_table(
        "mirrors",
        sa.Column("name", _NAME, primary_key=True),
        sa.Column("profile", sa.JSON, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("token_hash", _DIGEST, nullable=False, index=True),
        sa.Column("joins", sa.BigInteger, nullable=False),
        sa.Column("joined_at_ns", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "subscriptions",
        sa.Column("mirror", _NAME, primary_key=True),
        sa.Column("channel", _NAME, primary_key=True),
    )
    op.create_table(
        "invitations",
        sa.Column("mirror", _NAME, primary_key=True),
        sa.Column("secret_hash", _DIGEST, nullable=False),
        sa.Column("channels", sa.JSON, nullable=False),
        sa.Column("expires_at_ns", sa.BigInteger, nullable=False),
        sa.Column("used", sa.Boolean, nullable=False),
    )


def _create_journal() -> None:
    op.create_table(
        "outbox",
        sa.Column("sequence", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("exchange", sa.Text, nullable=False),
        sa.Column("routing_key", sa.Text, nullable=False),
        sa.Column("message_id", sa.Text, nullable=False),
        sa.Column("type", sa.Text, nullable=False),
        sa.Column("headers", sa.JSON, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
    )
    for table in ("counters", "settings"):
        op.create_table(
            table,
            sa.Column("name", sa.Text, primary_key=True),
            sa.Column("value", sa.BigInteger, nullable=False),
        )
