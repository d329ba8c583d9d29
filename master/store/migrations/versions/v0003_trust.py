"""Pieces of files and the largest of them, address policies of channels, key epochs of mirrors, and revocations.

A file that was published before is one piece until it is published again.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from master.store.migrations.defaults import no_bytes

revision = "v0003"
down_revision = "v0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add columns with what held so far, and the table of revocations."""
    _add("files", sa.Column("piece_bytes", sa.BigInteger, nullable=False, server_default="0"))
    _add("files", sa.Column("piece_digests", sa.LargeBinary, nullable=False, server_default=no_bytes(op.get_bind())))
    _add("channels", sa.Column("address_policy", sa.String(16), nullable=False, server_default="strict"))
    _add("mirrors", sa.Column("key_epoch", sa.Integer, nullable=False, server_default="1"))
    _add("mirrors", sa.Column("oldest_epoch", sa.Integer, nullable=False, server_default="1"))
    op.create_table(
        "revocations",
        sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("start_by_s_max", sa.BigInteger, nullable=False),
        sa.Column("until_s", sa.BigInteger, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("mirror", sa.String(31)),
        sa.Column("grant_id", sa.LargeBinary(16)),
        sa.Column("sha256", sa.LargeBinary(32)),
        sa.Column("network", sa.Text),
    )
    op.execute("INSERT INTO settings (name, value) SELECT 'largest_bytes', COALESCE(MAX(size_bytes), 0) FROM files")


def _add(table: str, column: sa.Column[object]) -> None:
    op.add_column(table, column)
