"""Alembic's environment: it works on the connection that the archive hands over, in its transaction.

The version table has a name of its own: master and archive may share a database.
"""

from __future__ import annotations

from typing import cast

from alembic import context
from sqlalchemy import Connection

from history.archive.store.tables import metadata

connection = cast("Connection", context.config.attributes["connection"])
context.configure(connection=connection, target_metadata=metadata, version_table="archive_version")
context.run_migrations()
