"""Settings: TOML files, environment and flags, checked together, each value with its origin."""
