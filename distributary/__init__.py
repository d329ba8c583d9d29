"""The command line, the configuration, and a whole fleet on one machine."""
