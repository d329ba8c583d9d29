"""Whose broker user is whose: ``<vhost>.<mirror>``. Pure.

RabbitMQ's users are common to all virtual hosts, so the name carries the site's. A mirror's name holds no dot, so
whatever stands before the last one is the virtual host.
"""

from __future__ import annotations

from events.errors import InvalidNameError
from events.names import MirrorName, parse_mirror


def mirror_user(vhost: str, mirror: MirrorName) -> str:
    """Name the broker user of a mirror."""
    return f"{vhost}.{mirror}"


def mirror_of_user(user: str, *, vhost: str) -> MirrorName | None:
    """Tell which mirror of this site a broker user is, or None: the site's own, or somebody else's."""
    host, dot, name = user.rpartition(".")
    if not dot or host != vhost:
        return None
    try:
        return parse_mirror(name)
    except InvalidNameError:
        return None
