"""The master: the catalogue, its channels and mirrors, the origin of all bytes."""
