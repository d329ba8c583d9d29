"""The published language of Distributary: names, event schemas, envelope, codec, routing, grants.

Everything here is pure: no clock, no dice, no environment, no I/O. A moment is passed in as
nanoseconds since the Unix epoch, randomness as bytes or a ``random.Random``. All other packages
stand on this one; it stands on ``msgspec`` and ``msgpack`` alone.
"""
