"""What the master keeps: SQLite by default, PostgreSQL by URL. The only part of the master that knows SQLAlchemy.

``Store`` opens transactions; ``Changing`` is one that writes, ``Reading`` one that looks. Every change of state and
the events that report it are one transaction; ``outbox`` hands the events to the relay.
"""
