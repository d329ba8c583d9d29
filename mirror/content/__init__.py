"""The bytes on disk: verified contents, and those on their way piece by piece."""
