"""``distributary demo``: everything once, on this machine, with real files."""
