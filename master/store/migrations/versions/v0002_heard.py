"""What mirrors say of themselves, folded from the log: presence, replicas, positions in channels, bad sources."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "v0002"
down_revision = "v0001"
branch_labels = None
depends_on = None

_NAME = sa.String(31)
_DIGEST = sa.LargeBinary(32)


def upgrade() -> None:
    """Create the tables that the log is folded into."""
    op.create_table(
        "announced",
        sa.Column("mirror", _NAME, primary_key=True),
        sa.Column("epoch", sa.BigInteger, nullable=False),
        sa.Column("presence", sa.BigInteger, nullable=False),
        sa.Column("online", sa.Boolean, nullable=False),
        sa.Column("profile", sa.JSON),
        sa.Column("key_epoch", sa.BigInteger, nullable=False),
        sa.Column("as_of", sa.BigInteger, nullable=False),
        sa.Column("replicas_max", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "replicas",
        sa.Column("mirror", _NAME, primary_key=True),
        sa.Column("sha256", _DIGEST, primary_key=True),
        sa.Column("sequence", sa.BigInteger, nullable=False),
        sa.Column("held", sa.Boolean, nullable=False),
    )
    op.create_index("ix_replicas_sha256_mirror", "replicas", ["sha256", "mirror"])
    op.create_table(
        "inventory_pages",
        sa.Column("mirror", _NAME, primary_key=True),
        sa.Column("as_of", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("pages", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("page", sa.BigInteger, primary_key=True, autoincrement=False),
    )
    op.create_table(
        "followed",
        sa.Column("mirror", _NAME, primary_key=True),
        sa.Column("channel", _NAME, primary_key=True),
        sa.Column("channel_sequence", sa.BigInteger, nullable=False),
        sa.Column("sequence", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "bans",
        sa.Column("sha256", _DIGEST, primary_key=True),
        sa.Column("source", _NAME, primary_key=True),
        sa.Column("mirror", _NAME, primary_key=True),
    )
