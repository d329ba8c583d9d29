"""Alembic's environment: it works on the connection that the store hands over, in the store's transaction."""

from __future__ import annotations

from typing import cast

from alembic import context
from sqlalchemy import Connection

from master.store.tables import Base

connection = cast("Connection", context.config.attributes["connection"])
context.configure(connection=connection, target_metadata=Base.metadata)
context.run_migrations()
