"""Debian's nginx as a private instance: its own folder and ports, nothing of the system's touched."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Final, Self

START_TIMEOUT_S: Final = 30.0
STOP_TIMEOUT_S: Final = 20.0
POLL_S: Final = 0.05
_PROGRAMS: Final = ("nginx", "/usr/sbin/nginx")  # Debian keeps it where only root's PATH leads

_FRAME: Final = """\
{user}daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log notice;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    types {{ }}
    default_type application/octet-stream;
    sendfile on;
    tcp_nopush on;
    keepalive_requests 1000000;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
{servers}
}}
"""


class NginxError(Exception):
    """nginx is missing, refuses its configuration or does not come up. The message has its words."""


class PrivateNginx:
    """One nginx with these servers (text for its ``http`` block). ``with`` starts it and stops it."""

    def __init__(self, folder: Path, servers: str, *, port: int) -> None:
        self.folder, self.port = folder, port
        self.config = folder / "nginx.conf"
        folder.mkdir(parents=True, exist_ok=True)
        # As root it would give up its rights, and the copies of a mirror are for its own user.
        user = "user root;\n" if os.geteuid() == 0 else ""
        self.config.write_text(_FRAME.format(user=user, folder=folder, servers=servers))
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The master process; the worker is its child."""
        if self._process is None:
            raise NginxError("it does not run")
        return self._process.pid

    def check(self) -> str:
        """Let nginx check its configuration; give its words.

        Raises:
            NginxError: it refuses.
        """
        done = subprocess.run([*self._command(), "-t"], capture_output=True, text=True, check=False)  # noqa: S603 - the system's nginx
        if done.returncode != 0:
            raise NginxError(done.stderr)
        return done.stderr

    def __enter__(self) -> Self:
        """Start it and wait until it listens."""
        self.check()
        self._process = subprocess.Popen(self._command(), stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # noqa: S603 - see above
        deadline_s = time.monotonic() + START_TIMEOUT_S
        while not self._listens():
            if self._process.poll() is not None or time.monotonic() > deadline_s:
                self.__exit__(None, None, None)
                raise NginxError((self.folder / "error.log").read_text())
            time.sleep(POLL_S)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop it."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(STOP_TIMEOUT_S)
            self._process = None

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def _command(self) -> list[str]:
        program = next((found for each in _PROGRAMS if (found := shutil.which(each))), None)
        if program is None:
            raise NginxError("there is no nginx; on Debian: apt-get install nginx-light")
        return [program, "-e", str(self.folder / "error.log"), "-p", str(self.folder), "-c", str(self.config)]
