"""What rows that are there already have in a new column."""

from __future__ import annotations

from sqlalchemy import Connection, TextClause, text


def no_bytes(connection: Connection) -> TextClause:
    """Give no bytes at all, as a literal. ``''`` itself would be text on SQLite, and come back as such."""
    return text("x''" if connection.dialect.name == "sqlite" else "''")
