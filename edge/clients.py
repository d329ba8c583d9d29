"""HTTP as we ask it of each other: bytes as they are, no cookies, and a limit on every wait."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Final, TypeAlias

import aiohttp

AddressInfo: TypeAlias = tuple[int, int, int, str, tuple[str | int, ...]]
"""As ``getaddrinfo`` gives it: family, kind, protocol, name, address."""

SocketFactory: TypeAlias = Callable[[AddressInfo], socket.socket]
"""Makes the socket of one connection. An ``OSError`` refuses it."""

CONNECT_TIMEOUT_S: Final = 10.0  # a handshake around the world takes half a second; three lost packets, seven more
READ_TIMEOUT_S: Final = 30.0  # between two reads, not for the whole: a large file takes as long as it takes
CONNECTIONS_PER_HOST_MAX: Final = 8  # measured: more fetch small files no faster and large ones less evenly


def new_session(
    *, read_timeout_s: float = READ_TIMEOUT_S, socket_factory: SocketFactory | None = None
) -> aiohttp.ClientSession:
    """Make a session. The caller closes it. ``socket_factory`` makes the socket of each connection, or refuses to.

    Nothing is decompressed: a file is what its digest says, and a small answer cannot grow into a large one here.
    """
    return aiohttp.ClientSession(
        auto_decompress=False,
        connector=aiohttp.TCPConnector(limit_per_host=CONNECTIONS_PER_HOST_MAX, socket_factory=socket_factory),
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"Accept-Encoding": "identity", "User-Agent": "distributary"},
        timeout=aiohttp.ClientTimeout(total=None, connect=CONNECT_TIMEOUT_S, sock_read=read_timeout_s),
    )
