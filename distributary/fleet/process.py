"""One role as a real process: started, ready when it says so, killed or stopped by its own pid, started again."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from distributary.config.sources import VARIABLE_PREFIX
from distributary.errors import CommandError, DeadlineError

READY_TIMEOUT_S: Final = 90.0  # two seconds are usual; the imports of eight roles at once on two cores have taken 30
STOP_TIMEOUT_S: Final = 20.0  # a mirror tells the broker that it leaves, and ends its transfers
LOG_TAIL_CHARS: Final = 2000


class RoleStartError(CommandError):
    """A role ended before it was ready. The message holds the end of its log."""

    def __init__(self, name: str, log_file: Path) -> None:
        super().__init__("role_failed", f"{name} ended before it was ready:\n{log_tail(log_file)}", hint=str(log_file))


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleCommand:
    """How to start a role: its name in the fleet, the role, its configuration and where its log goes."""

    name: str
    role: str
    config: Path
    log_file: Path
    overrides: tuple[str, ...] = ()

    def arguments(self) -> list[str]:
        """Give the command line. ``-I``: nothing of the caller's environment or folder leaks in."""
        settings = [part for override in self.overrides for part in ("--set", override)]
        where = ["--config", str(self.config), "--json", *settings]
        return [sys.executable, "-I", "-m", "distributary", "serve", self.role, *where]


class RoleProcess:
    """A role's process. ``url`` holds once it is ready."""

    def __init__(self, command: RoleCommand) -> None:
        self.command = command
        self.url = ""
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """The process; None while it does not run."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    def start(self) -> None:
        """Start it; ``wait_ready`` tells when it works."""
        with self.command.log_file.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own interpreter on our own module
                self.command.arguments(),
                env=_clean_environment(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,  # an interrupt at the terminal is for us; we stop it in good order
            )

    def wait_ready(self, timeout_s: float = READY_TIMEOUT_S) -> str:
        """Wait for its word that it is ready; give the URL that it listens on.

        Raises:
            RoleStartError: it ended.
            DeadlineError: it said nothing in time.
        """
        line = self._first_line(time.monotonic() + timeout_s)
        self.url = str(json.loads(line)["url"])
        return self.url

    def kill(self) -> None:
        """End it as a power failure would."""
        self._signal(signal.SIGKILL)
        self._reap(STOP_TIMEOUT_S)

    def ask_to_stop(self) -> None:
        """Tell it to end, and do not wait."""
        self._signal(signal.SIGTERM)

    def stop(self) -> None:
        """End it in good order; one that does not end is killed. Does nothing when it does not run."""
        self._signal(signal.SIGTERM)
        try:
            self._reap(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.kill()

    def suspend(self) -> None:
        """Freeze it: it keeps its connections and says nothing."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on after ``suspend``."""
        self._signal(signal.SIGCONT)

    def restart(self) -> str:
        """Start it again after ``kill`` or ``stop`` and wait until it is ready."""
        self.start()
        return self.wait_ready()

    def _first_line(self, deadline_s: float) -> bytes:
        process = self._process
        if process is None or process.stdout is None:
            raise RoleStartError(self.command.name, self.command.log_file)
        line = b""
        while not line.endswith(b"\n"):
            readable, _, _ = select.select([process.stdout], [], [], max(0.0, deadline_s - time.monotonic()))
            if not readable:
                told = log_tail(self.command.log_file)
                raise DeadlineError("role_not_ready", f"{self.command.name} is not ready:\n{told}")
            chunk = os.read(process.stdout.fileno(), 4096)
            if not chunk:
                self._reap(STOP_TIMEOUT_S)
                raise RoleStartError(self.command.name, self.command.log_file)
            line += chunk
        return line

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)

    def _reap(self, timeout_s: float) -> None:
        if self._process is None:
            return
        self._process.wait(timeout_s)
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._process = None


def stop_all(processes: Sequence[RoleProcess]) -> None:
    """Stop several at once: each gets its signal first, then all are waited for."""
    for process in processes:
        process.ask_to_stop()
    for process in processes:
        process.stop()


def log_tail(log_file: Path) -> str:
    """Give the end of a log."""
    try:
        return log_file.read_text(errors="replace")[-LOG_TAIL_CHARS:]
    except OSError:
        return ""


def _clean_environment() -> dict[str, str]:
    """Give our environment without our own variables: they would beat the configuration of this fleet."""
    return {name: value for name, value in os.environ.items() if not name.startswith(VARIABLE_PREFIX)}
