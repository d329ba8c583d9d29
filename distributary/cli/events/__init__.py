"""``distributary events``: the log as ops read it. Each command is a module, imported when it is called."""
