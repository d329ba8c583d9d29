"""Held files, further digests and access modes of files, and what the site rules for mirrors.

Published files are public and have no other digests than before; no mirror is ruled anything.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from master.store.migrations.defaults import no_bytes

revision = "v0004"
down_revision = "v0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add columns with what held so far, and the tables of holds."""
    _add("files", sa.Column("access_mode", sa.String(16), nullable=False, server_default="public"))
    _add("files", sa.Column("md5", sa.LargeBinary, nullable=False, server_default=no_bytes(op.get_bind())))
    _add("files", sa.Column("sha1", sa.LargeBinary, nullable=False, server_default=no_bytes(op.get_bind())))
    _add("mirrors", sa.Column("rule", sa.JSON))
    op.create_table(
        "holds",
        sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("condition", sa.String(16), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("began_at_ns", sa.BigInteger, nullable=False),
        sa.Column("ended_at_ns", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "held_files",
        sa.Column("path", sa.Text, primary_key=True),
        sa.Column("hold", sa.BigInteger, nullable=False, index=True),
    )


def _add(table: str, column: sa.Column[object]) -> None:
    op.add_column(table, column)
