"""Visitors that cost little: ``python -m bench.visitor HOST PORT CONNECTIONS`` asks for each path that stdin names.

Kept-alive connections, one thread each. The bodies are thrown away inside the kernel (``MSG_TRUNC``), so that the
visitors leave the machine to the server that is measured. Whatever is not a whole 200 ends it with an error.
"""

from __future__ import annotations

import re
import socket
import sys
import threading
from collections import deque
from typing import Final

TIMEOUT_S: Final = 60.0
HEAD_BYTES_MAX: Final = 16 << 10
DISCARD_BYTES: Final = 1 << 20

_HEAD = re.compile(rb"HTTP/1\.1 200 .*?\r\ncontent-length: (\d+)\r\n", re.IGNORECASE | re.DOTALL)


class _Visitor:
    """One connection, kept alive."""

    def __init__(self, host: str, port: int) -> None:
        self._host = host
        self._connection = socket.create_connection((host, port), TIMEOUT_S)
        self._connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._room = bytearray(DISCARD_BYTES)

    def download(self, path: str) -> None:
        """Ask for a path and throw its body away."""
        request = f"GET {path} HTTP/1.1\r\nHost: {self._host}\r\nUser-Agent: bench\r\nAccept: */*\r\n\r\n"
        self._connection.sendall(request.encode("ascii"))
        left_bytes = self._head()
        while left_bytes:
            taken = self._connection.recv_into(self._room, min(DISCARD_BYTES, left_bytes), socket.MSG_TRUNC)
            if not taken:
                raise ConnectionError(f"{left_bytes} bytes of a body are missing")
            left_bytes -= taken

    def _head(self) -> int:
        """Read a head; give how many bytes of the body are still to come."""
        found = b""
        while b"\r\n\r\n" not in found:
            more = self._connection.recv(HEAD_BYTES_MAX)
            if not more:
                raise ConnectionError(f"the server closed after {found!r}")
            found += more
        head, _, body = found.partition(b"\r\n\r\n")
        length = _HEAD.match(head + b"\r\n")
        if length is None:
            raise ConnectionError(f"no whole file: {head!r}")
        return int(length[1]) - len(body)

    def close(self) -> None:
        """Leave."""
        self._connection.close()


def visit(host: str, port: int, connections: int, paths: deque[str]) -> list[Exception]:
    """Download all paths; give what went wrong."""
    problems: list[Exception] = []

    def work() -> None:
        try:
            visitor = _Visitor(host, port)
            while paths and not problems:
                visitor.download(paths.popleft())
            visitor.close()
        except IndexError:
            pass  # another one took the last path
        except (OSError, ValueError) as error:
            problems.append(error)

    threads = [threading.Thread(target=work) for _ in range(connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return problems


def main(arguments: list[str]) -> int:
    """Run as a process of its own."""
    host, port, connections = arguments
    problems = visit(host, int(port), int(connections), deque(sys.stdin.read().split()))
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
