"""The log as files: compressed segments, each entry chained to all before it; checked anywhere, imported again."""
