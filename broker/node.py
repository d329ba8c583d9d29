"""A private RabbitMQ node: own data folder, own ports, loopback only, beside whatever else runs on the machine.

For ``distributary demo``, for tests, and for fault tests, which kill it and start it again on the same data and ports.
It takes Debian's ``rabbitmq-server`` package and needs no root. Everything here blocks (a start takes 10 to 20 s): call
it from a thread where an event loop turns.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from broker.port import BrokerError
from broker.ports import draw_ports, is_free
from broker.site import BrokerSite, SiteError

# The package's own start script. /usr/sbin/rabbitmq-server is a wrapper that changes to the user "rabbitmq" and drops
# the environment, which is all that makes a node private.
SERVER: Final = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
CTL: Final = SERVER.with_name("rabbitmqctl")
COMMAND_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

PORTS_A_NODE: Final = 4
PORT_DRAWS_MAX: Final = 3  # another process can take a port between our look and the node's

START_TIMEOUT_S: Final = 120.0  # 7 to 22 s are usual; three at once on two cores have taken 50
CTL_TIMEOUT_S: Final = 60.0  # it boots an Erlang of its own: 1 to 3 s are usual
STOP_TIMEOUT_S: Final = 30.0  # 1 to 6 s are usual
EPMD_TIMEOUT_S: Final = 10.0
POLL_EVERY_S: Final = 0.05
PROBE_TIMEOUT_S: Final = 2.0
# RabbitMQ's 512 MB would be held in memory, too: a node that has worked for a while would take a gigabyte.
WAL_BYTES_MAX: Final = 32 * 1024 * 1024
LOG_TAIL_CHARS: Final = 8000  # RabbitMQ says the cause first and then buries it under two crash reports

AMQP_HEADER: Final = b"AMQP\x00\x00\x09\x01"
AMQP_METHOD_FRAME: Final = b"\x01"  # what connection.start begins with; a refused version begins with "A"


class NodeError(BrokerError):
    """The private node cannot be had. The message says what to do."""


class NodeMissingError(NodeError):
    """RabbitMQ is not installed on this machine. Install it, or use a broker that runs elsewhere."""

    def __init__(self, missing: str) -> None:
        super().__init__(
            f"RabbitMQ is not installed ({missing} is not there). Install it with `apt-get install rabbitmq-server`, "
            "or give the URL of a running broker in DISTRIBUTARY_AMQP_URL.",
        )
        self.missing = missing


class NodeStartError(NodeError):
    """The node did not come up. ``log`` is the end of what it said."""

    def __init__(self, reason: str, *, log: str) -> None:
        super().__init__(f"the private RabbitMQ node did not come up: {reason}\n{log}")
        self.reason, self.log = reason, log


@dataclass(frozen=True, slots=True, kw_only=True)
class NodePorts:
    """Where a node listens, all on 127.0.0.1."""

    amqp: int
    management: int
    distribution: int
    epmd: int

    def are_free(self) -> bool:
        """Tell whether nobody listens on any of them."""
        return all(is_free(port) for port in (self.amqp, self.management, self.distribution, self.epmd))


class PrivateNode:
    """One node over one data folder. ``with PrivateNode(folder) as node:`` starts and stops it.

    ``site``, ``amqp_url`` and ``management_url`` hold from the first ``start`` on and never change afterwards.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder.resolve()
        self._ports = draw_node_ports()
        self._ports_known = False
        self._server: subprocess.Popen[bytes] | None = None
        self._epmd: subprocess.Popen[bytes] | None = None
        self._guard: subprocess.Popen[bytes] | None = None

    @property
    def site(self) -> BrokerSite:
        """Where the node is."""
        return BrokerSite(
            amqp_url=f"amqp://guest:guest@127.0.0.1:{self._ports.amqp}/",
            management_url=f"http://guest:guest@127.0.0.1:{self._ports.management}",
        )

    @property
    def amqp_url(self) -> str:
        """The default virtual host, as administrator."""
        return self.site.amqp_url

    @property
    def management_url(self) -> str:
        """RabbitMQ's management API and page, as administrator."""
        return self.site.management_url

    @property
    def pid(self) -> int | None:
        """The broker's process; None while it does not run."""
        return self._server.pid if self._server is not None and self._server.poll() is None else None

    @property
    def log_file(self) -> Path:
        """What the node says."""
        return self._folder / "console.log"

    def start(self) -> None:
        """Start the node and wait until it takes connections; also after ``stop`` and ``kill``, with all data.

        Raises:
            NodeMissingError: RabbitMQ is not installed.
            NodeStartError: it ended or did not get ready in time.
        """
        if self.pid is not None:
            return
        for draws_left in reversed(range(PORT_DRAWS_MAX)):
            try:
                self._start_on_these_ports()
            except NodeStartError:
                self._end_all()
                if self._ports_known or not draws_left or self._ports.are_free():
                    raise
                self._ports = draw_node_ports()
            except BaseException:
                self._end_all()
                raise
            else:
                self._ports_known = True
                return

    def stop(self) -> None:
        """End the node in good order; it may be started again. Does nothing when it does not run."""
        if self._server is not None:
            self._server.terminate()
            try:
                self._server.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self.kill()
        self._end_all()

    def kill(self) -> None:
        """End the node as a power failure would (SIGKILL), with all its helpers."""
        self._dismiss_guard()
        if self._server is not None:
            if self._server.poll() is None:
                os.killpg(self._server.pid, signal.SIGKILL)
            self._server.wait()
            self._server = None

    def ctl(self, *command: str) -> str:
        """Run a ``rabbitmqctl`` command on the running node; give what it says.

        Raises:
            NodeError: it did not succeed.
        """
        name = (self._folder / "node-name").read_text()
        done = subprocess.run(  # noqa: S603 - a constant; the command is a test's or a developer's
            [CTL, "--node", name, *command],
            env=self._environment(name),
            capture_output=True,
            text=True,
            check=False,
            timeout=CTL_TIMEOUT_S,
        )
        if done.returncode:
            raise NodeError(f"rabbitmqctl {' '.join(command)}: {done.stdout}{done.stderr}")
        return done.stdout

    def __enter__(self) -> Self:
        """Start."""
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop."""
        self.stop()

    def _start_on_these_ports(self) -> None:
        epmd_command = _installed_epmd()
        name = self._prepare_folder()
        deadline_s = time.monotonic() + START_TIMEOUT_S
        epmd = self._start_epmd(epmd_command)
        with self.log_file.open("wb") as log:
            self._server = subprocess.Popen(  # noqa: S603 - a constant
                [SERVER],
                env=self._environment(name),
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # an interrupt at the terminal is for us; kill() takes the whole group
            )
        self._guard = _guard(self._server.pid, epmd.pid)
        while not self._is_ready(name):
            self._check_alive(deadline_s)
            time.sleep(POLL_EVERY_S)

    def _start_epmd(self, command: str) -> subprocess.Popen[bytes]:
        """Start Erlang's port mapper as our child, so that it ends with us; the node would leave one behind."""
        if self._epmd is not None and self._epmd.poll() is None:
            return self._epmd
        self._epmd = epmd = subprocess.Popen(  # noqa: S603 - the path comes from this machine's packages
            [command, "-port", str(self._ports.epmd), "-address", "127.0.0.1"],
            env={"PATH": COMMAND_PATH},
            cwd=self._folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        if not _holds_within(EPMD_TIMEOUT_S, lambda: epmd.poll() is None and _listens(self._ports.epmd)):
            raise NodeStartError("its port mapper does not listen", log="")
        return epmd

    def _check_alive(self, deadline_s: float) -> None:
        log = self.log_file.read_text(errors="replace")[-LOG_TAIL_CHARS:]
        if self.pid is None:
            raise NodeStartError("it ended", log=log)
        if time.monotonic() > deadline_s:
            raise NodeStartError(f"it was not ready after {START_TIMEOUT_S:.0f} s", log=log)

    def _is_ready(self, name: str) -> bool:
        """Tell whether the node takes connections; the name proves that it is ours and not another on our ports."""
        if not _speaks_amqp(self._ports.amqp):
            return False
        try:
            return self.site.node_name() == name
        except SiteError:
            return False

    def _end_all(self) -> None:
        self.kill()
        if self._epmd is not None:
            self._epmd.kill()
            self._epmd.wait()
            self._epmd = None

    def _dismiss_guard(self) -> None:
        if self._guard is not None:
            self._guard.kill()
            self._guard.communicate()
            self._guard = None

    def _prepare_folder(self) -> str:
        """Write the configuration; give the node's name, which is part of the data and so is kept with it."""
        (self._folder / "home").mkdir(parents=True, exist_ok=True)
        self._folder.chmod(0o700)
        (self._folder / "rabbitmq.conf").write_text(
            f"listeners.tcp.1 = 127.0.0.1:{self._ports.amqp}\n"
            "management.tcp.ip = 127.0.0.1\n"
            f"management.tcp.port = {self._ports.management}\n"
            "loopback_users = none\n"
            f"raft.wal_max_size_bytes = {WAL_BYTES_MAX}\n",
        )
        (self._folder / "advanced.config").write_text("[].\n")
        (self._folder / "enabled_plugins").write_text("[rabbitmq_management].\n")
        name_file = self._folder / "node-name"
        if not name_file.exists():
            name_file.write_text(f"d{secrets.token_hex(6)}@localhost")
        return name_file.read_text()

    def _environment(self, name: str) -> dict[str, str]:
        """Give all that the node sees: nothing of ours, since a stray RABBITMQ_ variable would un-private it."""
        return {
            "PATH": COMMAND_PATH,
            "LANG": "C.UTF-8",
            "HOME": str(self._folder / "home"),  # an own Erlang cookie
            "RABBITMQ_CONF_ENV_FILE": os.devnull,  # not /etc/rabbitmq's
            "RABBITMQ_CONFIG_FILE": str(self._folder / "rabbitmq.conf"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(self._folder / "advanced.config"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self._folder / "enabled_plugins"),
            "RABBITMQ_GENERATED_CONFIG_DIR": str(self._folder / "generated"),
            "RABBITMQ_MNESIA_BASE": str(self._folder / "data"),
            "RABBITMQ_LOG_BASE": str(self._folder / "log"),
            "RABBITMQ_PID_FILE": str(self._folder / "pid"),
            "RABBITMQ_NODENAME": name,
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self._ports.amqp),
            "RABBITMQ_DIST_PORT": str(self._ports.distribution),
            "ERL_EPMD_PORT": str(self._ports.epmd),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_SCHEDULER_BIND_TYPE": "u",  # several nodes bound to the same core would starve each other
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+sbwt none -kernel inet_dist_use_interface {127,0,0,1}",
            "ERL_CRASH_DUMP_SECONDS": "0",  # a refused start would write megabytes before it ends
            "detached": "1",  # the script becomes the broker, so that our child's pid is the broker's
        }


def draw_node_ports() -> NodePorts:
    """Draw a node's ports."""
    amqp, management, distribution, epmd = draw_ports(PORTS_A_NODE)
    return NodePorts(amqp=amqp, management=management, distribution=distribution, epmd=epmd)


def _installed_epmd() -> str:
    epmd = shutil.which("epmd", path=COMMAND_PATH)
    if not SERVER.exists() or epmd is None:
        raise NodeMissingError(str(SERVER) if not SERVER.exists() else "epmd")
    return epmd


def _guard(*pids: int) -> subprocess.Popen[bytes]:
    """Start a process that kills these, with their groups, once we are gone, even killed: its input ends then.

    A broker would stay for ever, and nobody would know whose it is.
    """
    return subprocess.Popen(  # noqa: S603 - a constant, and our own children's ids
        ["/bin/sh", "-c", 'read -r _; kill -9 "$@"', "guard", *(f"-{pid}" for pid in pids)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), PROBE_TIMEOUT_S).close()
    except OSError:
        return False
    return True


def _speaks_amqp(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), PROBE_TIMEOUT_S) as connection:
            connection.sendall(AMQP_HEADER)
            return connection.recv(1) == AMQP_METHOD_FRAME
    except OSError:
        return False


def _holds_within(limit_s: float, condition: Callable[[], bool]) -> bool:
    deadline_s = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() > deadline_s:
            return False
        time.sleep(POLL_EVERY_S)
    return True
