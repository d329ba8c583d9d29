"""Ports for what is started on this machine and keeps its port over restarts: private nodes, and a fleet's roles."""

from __future__ import annotations

import secrets
import socket
from typing import Final

# Below the ports that Linux hands out by itself (32768 and up). A client that keeps knocking at a killed server could
# otherwise be given the server's own port as its source port, connect to itself, and so keep the server from coming
# back.
PORTS: Final = range(15_000, 32_000)


def draw_ports(count: int) -> list[int]:
    """Draw ports on which nobody listens at this moment."""
    free: list[int] = []
    for port in secrets.SystemRandom().sample(PORTS, len(PORTS)):
        if len(free) == count:
            break
        if is_free(port):
            free.append(port)
    return free


def is_free(port: int) -> bool:
    """Tell whether nobody listens on a port of 127.0.0.1; connections that are dying away do not count."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
