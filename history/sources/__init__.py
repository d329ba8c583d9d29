"""Where the log is read from: one port, and an adapter each for the broker, an export and the archive."""
