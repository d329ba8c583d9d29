"""The log in a database: every event for years, and small tables for questions by SQL."""
