"""Ports that a fleet's roles are told to listen on, and keep over restarts."""

from __future__ import annotations

import secrets
import socket
from typing import Final

# Below the ports that Linux hands out by itself (32768 and up), so that no outgoing connection takes one while its
# role is being restarted.
PORTS: Final = range(15_000, 32_000)


def draw_ports(count: int) -> list[int]:
    """Draw ports on which nobody listens at this moment."""
    free: list[int] = []
    for port in secrets.SystemRandom().sample(PORTS, len(PORTS)):
        if len(free) == count:
            break
        if _is_free(port):
            free.append(port)
    return free


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
