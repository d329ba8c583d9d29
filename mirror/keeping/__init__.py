"""Keeps what is wanted: fetches, makes room, scrubs, removes."""
