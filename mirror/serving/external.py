"""Serving through nginx: the mirror decides and accounts, nginx sends (``[mirror] serve = "external"``).

A visit that is handed over stays open until nginx says what became of it. It says so as a datagram, and in its log
file, which is read every ``RECONCILE_EVERY_S``: a datagram may be lost, when the mirror is busy or is being started. A
visit of which neither ever tells (nginx was killed) ends with its grant and is then counted as wholly sent, so that no
limit is exceeded. A transfer that runs in nginx cannot be cut from here.

What the kernel takes from nginx in one go is counted as sent at once, as it is where the mirror sends itself; nginx
tells of it only if it was not sent, and has ``PRESUMED_S`` for that before its end is told (docs/adr/0015).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import asynccontextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Final, NamedTuple

import structlog

from edge.files import FIELDS_REMEMBERED_MAX, Content, ContentGoneError, require
from edge.pacing import Pacing
from events.grants import CLOCK_SKEW_S
from events.names import Digest
from mirror.serving.nginx import Account, read_account
from mirror.serving.orders import Order, order_of
from mirror.serving.transfers import Visit

FOLDER_NAME: Final = "nginx"
REQUESTS_NAME: Final = "requests.socket"
SOCKET_NAME: Final = "accounts.socket"
LOG_NAME: Final = "accounts.log"
RECONCILE_EVERY_S: Final = 10.0  # with nginx's flush of 5 s: how long a lost datagram may hold a slot
RECONCILED_BYTES_MAX: Final = 1 << 20  # in one turn: some 12,000 requests, a few tens of milliseconds
LOG_BYTES_MAX: Final = 64 << 20  # read up to its end, the log is emptied at this size
DATAGRAM_BYTES_MAX: Final = 2048  # syslog's own limit; a line of ours has about 100
DATAGRAMS_MAX: Final = 100  # in one turn of the loop
RECEIVE_BUFFER_BYTES: Final = 1 << 20
PRESUMED_BYTES_MAX: Final = 64 << 10  # a socket's buffer takes it, whoever reads at the other end
PRESUMED_S: Final = 1.0  # nginx says within a millisecond what it could not read; to tell it often costs more
LOOK_EVERY_S: Final = 1.0  # nginx opens a file some time after it was looked at here, whatever this is
SHARE_BYTES_PER_SECOND_MIN: Final = 10_000  # slower nobody waits for; only such shares can exceed the rate together
_CLIENT_LEFT: Final = 499  # nginx's own: the client left before there was an answer
_CONTENT_SENT: Final = frozenset({HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT})

log = structlog.stdlib.get_logger()


class _HandedOver(NamedTuple):
    """A visit that nginx sends for. ``share`` is the bytes per second it may send, 0 for no limit."""

    visit: Visit
    until_s: float
    share: int


class External:
    """The transfers that nginx makes for one mirror. ``run`` it beside the server."""

    def __init__(self, folder: Path, *, pacing: Pacing, clock_s: Callable[[], float]) -> None:
        self._folder = folder
        self._pacing = pacing
        self._clock_s = clock_s
        self._handed_over: dict[str, _HandedOver] = {}
        self._presumed: dict[str, Visit] = {}
        self._shares = 0  # of all that run, together
        self._read_bytes = 0
        self._accounts: socket.socket | None = None
        self._seen_s: dict[Digest, float] = {}  # when each file was last found as it was promised

    def __len__(self) -> int:
        """Count the transfers that nginx has not told the end of."""
        return len(self._handed_over)

    def __contains__(self, request: str) -> bool:
        """Tell whether nginx sends for a request of this name already."""
        return request in self._handed_over or request in self._presumed

    def hand_over(self, request: str, content: Content, visit: Visit) -> Order:
        """Let nginx send what a visit asks for by a request of this name; it ends when nginx has told so.

        Raises:
            ContentGoneError: the file is not as it was promised; there is nothing to be sent, and the visit has ended.
        """
        try:
            self._require(content)
        except ContentGoneError:
            visit.end()
            raise
        share = self._next_share()
        presumed = not share and visit.asked_bytes <= PRESUMED_BYTES_MAX
        if presumed:
            visit.count_as(visit.asked_bytes)
            self._presumed[request] = visit
        else:
            until_s = visit.grant.finish_by_s + CLOCK_SKEW_S
            self._handed_over[request] = _HandedOver(visit, until_s, share)
            self._shares += share
        whole = visit.asked_bytes == content.size_bytes
        order = order_of(
            content.sha256, content.media_type, content.file_name, content.changed_s, whole=whole, presumed=presumed
        )
        return order.at(share)

    def settle(self, account: Account) -> None:
        """Close the books on a transfer, once."""
        handed_over = self._taken_back(account.request)
        visit = self._presumed.pop(account.request, None) if handed_over is None else handed_over.visit
        if visit is None:
            return  # told before, or an answer of our own that nginx passed on
        sent = account.status in _CONTENT_SENT
        if not sent and account.status != _CLIENT_LEFT:
            log.error("external.unsent", status=account.status, sha256=visit.grant.sha256.hex())
        sent_bytes = min(account.body_bytes, visit.asked_bytes) if sent else 0
        completed = sent and account.completed and sent_bytes == visit.asked_bytes
        if handed_over is None:
            visit.tell_as(sent_bytes, completed=completed)  # it stays counted as wholly sent
        else:
            visit.settle(sent_bytes, completed=completed)

    def believe(self, requests: Iterable[str]) -> None:
        """Tell what was presumed to be sent of these, unless nginx has told otherwise."""
        for request in requests:
            visit = self._presumed.pop(request, None)
            if visit is not None:
                visit.tell_as(visit.asked_bytes, completed=True)

    def hear(self) -> bool:
        """Take what nginx has told up to now; tell whether there was anything.

        A visitor may ask for the next file before the loop has come to what was told of his last one.
        """
        heard = False
        if self._accounts is not None:
            with contextlib.suppress(BlockingIOError):
                for _ in range(DATAGRAMS_MAX):
                    self._read_line(self._accounts.recv(DATAGRAM_BYTES_MAX))
                    heard = True
        return heard

    def expire(self) -> None:
        """End what nginx should have told the end of long ago, and count all of it as sent."""
        now_s = self._clock_s()
        for name in [name for name, each in self._handed_over.items() if each.until_s < now_s]:
            self._give_up(name)

    @asynccontextmanager
    async def listening(self) -> AsyncGenerator[None]:
        """Hear what nginx tells while the block is entered. At its end, what it did not tell is counted as sent.

        Raises:
            OSError: the socket or the log cannot be made.
        """
        accounts = self._bound(SOCKET_NAME, socket.SOCK_DGRAM)
        accounts.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
        log_file = os.open(self._folder / LOG_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        os.ftruncate(log_file, 0)  # what a former process handed over is booked already
        with accounts:
            self._accounts = accounts
            loop = asyncio.get_running_loop()
            loop.add_reader(accounts, self.hear)
            tasks = (
                loop.create_task(self._reconcile_for_ever(log_file), name="external-log"),
                loop.create_task(self._believe_for_ever(), name="external-presumed"),
            )
            try:
                yield
            finally:
                for task in tasks:
                    task.cancel()
                loop.remove_reader(accounts)
                self.hear()
                self._accounts = None
                self._reconcile(log_file)
                os.close(log_file)
                self.believe(tuple(self._presumed))
                for name in tuple(self._handed_over):
                    self._give_up(name)  # nginx may go on sending all that it was told to

    def _require(self, content: Content) -> None:
        now_s = self._clock_s()
        if 0 <= now_s - self._seen_s.get(content.sha256, float("-inf")) < LOOK_EVERY_S:
            return
        require(content)
        if len(self._seen_s) >= FIELDS_REMEMBERED_MAX:
            self._seen_s.clear()
        self._seen_s[content.sha256] = now_s

    def _next_share(self) -> int:
        """Give half of what the running shares leave: nginx cannot lower them when the next visitor comes."""
        rate = self._pacing.bytes_per_second
        if rate is None:
            return 0
        left = rate - self._shares
        return max(left // 2, min(SHARE_BYTES_PER_SECOND_MIN, rate))

    def _taken_back(self, request: str) -> _HandedOver | None:
        handed_over = self._handed_over.pop(request, None)
        if handed_over is not None:
            self._shares -= handed_over.share
        return handed_over

    def _give_up(self, request: str) -> None:
        """Wait no longer for nginx's word on a transfer: it may have sent all of it."""
        handed_over = self._taken_back(request)
        if handed_over is not None:
            log.warning("external.untold", sha256=handed_over.visit.grant.sha256.hex())
            handed_over.visit.settle(handed_over.visit.asked_bytes, completed=False)

    def door(self) -> socket.socket:
        """Give a bound socket, through which nginx is to ask; it has to be listened on.

        Raises:
            OSError: it cannot be made.
        """
        return self._bound(REQUESTS_NAME, socket.SOCK_STREAM)

    def _bound(self, name: str, kind: socket.SocketKind) -> socket.socket:
        self._folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        path = self._folder / name
        path.unlink(missing_ok=True)
        bound = socket.socket(socket.AF_UNIX, kind | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        bound.bind(os.fspath(path))
        path.chmod(0o666)  # nginx's workers have a user of their own; the folder decides who comes this far
        return bound

    async def _believe_for_ever(self) -> None:
        while True:
            presumed = tuple(self._presumed)
            await asyncio.sleep(PRESUMED_S)
            self.hear()
            self.believe(presumed)

    async def _reconcile_for_ever(self, log_file: int) -> None:
        while True:
            await asyncio.sleep(RECONCILE_EVERY_S)
            self._reconcile(log_file)
            self.expire()

    def _reconcile(self, log_file: int) -> None:
        """Read what was added to the log: it holds the datagrams that were lost, too."""
        data = os.pread(log_file, RECONCILED_BYTES_MAX, self._read_bytes)
        whole = data[: data.rfind(b"\n") + 1]
        self._read_bytes += len(whole)
        if self._handed_over:
            for line in whole.splitlines():
                if line.partition(b" ")[0].decode("ascii", "replace") in self:  # most were told before
                    self._read_line(line)
        if self._read_bytes >= LOG_BYTES_MAX and len(data) < RECONCILED_BYTES_MAX:
            os.ftruncate(log_file, 0)  # nginx appends; what it adds in this very moment only the grant's end tells
            self._read_bytes = 0

    def _read_line(self, line: bytes) -> None:
        account = read_account(line.decode("ascii", "replace"))
        if account is not None:
            self.settle(account)
