"""For all tests: no example of a law has a deadline, since nothing may depend on a fast machine."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("patient", settings(), deadline=None)
settings.load_profile("patient")
