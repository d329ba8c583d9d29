"""Who may download a file: the first criterion."""
