"""Keeps up with the master: its events, its snapshots, the link to the broker."""
