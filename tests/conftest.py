"""For all tests: no example of a law has a deadline, since nothing may depend on a fast machine; Ctrl-C is heard."""

from __future__ import annotations

import signal

from hypothesis import settings

settings.register_profile("patient", settings(), deadline=None)
settings.load_profile("patient")

# A shell lets whatever it starts in the background ignore Ctrl-C, and so would all processes that the tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)
