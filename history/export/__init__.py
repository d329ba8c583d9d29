"""The log as files: compressed segments, each chained to the one before, that can be verified anywhere."""
