"""Whose broker user is whose: ``<vhost>.<mirror>``. Pure.

RabbitMQ's users are common to all virtual hosts, so the name carries the site's. A mirror's name holds no dot, so
whatever stands before the last one is the virtual host. It holds no slash either, so nobody takes an importer for one.
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


def importer_user(vhost: str) -> str:
    """Name the broker user that is there while a log is imported."""
    return f"{vhost}/importer"


def author_elsewhere(user: str, *, vhost: str, elsewhere: str) -> str:
    """Name who wrote an entry so that he is there, in another virtual host, who he was here.

    A mirror's user stays that mirror's. Whoever was none stays none: where his name would be a mirror's there, the
    importer stands for him.
    """
    mirror = mirror_of_user(user, vhost=vhost)
    if mirror is not None:
        return mirror_user(elsewhere, mirror)
    return user if mirror_of_user(user, vhost=elsewhere) is None else importer_user(elsewhere)
