"""What the archive keeps: SQLite by default, PostgreSQL by URL. The only part of the history that knows SQLAlchemy."""
