"""One connection to RabbitMQ, kept alive.

Entering connects; afterwards every loss is noticed through aio-pika's close callback (its plain connection's
``is_closed`` stays False) and mended with growing, jittered waits. Nothing is replayed: whoever has AMQP channels on
the connection opens new ones.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Final, NoReturn, Self

import aio_pika
import structlog
from aio_pika.abc import AbstractChannel
from aio_pika.exceptions import InvalidFrameError
from yarl import URL

from broker.backoff import backoff_s
from broker.config import BrokerConfig
from broker.port import AccessRefusedError, BrokerError, DisconnectedError, Health
from broker.rabbitmq.errors import translated

CONNECT_TIMEOUT_S: Final = (
    10.0  # a handshake takes milliseconds; a broker that is still booting takes the TCP part only
)
RPC_TIMEOUT_S: Final = 10.0  # opening an AMQP channel, declaring, subscribing: milliseconds, a second on a busy broker
CLOSE_TIMEOUT_S: Final = 3.0  # a blocked connection has taken 2 s to close
RECONNECT_FIRST_S: Final = 0.1  # a reset link is usable again at once
RECONNECT_MAX_S: Final = 5.0  # bounds how long a recovered broker waits for us
# A broker takes connections before all of its queues and streams answer. What is broken for good looks the same.
BOOT_PATIENCE_S: Final = 15.0
BLOCKED_CHECK_EVERY_S: Final = 1.0  # aio-pika has no callback for it
# A virtual host refuses us while it is missing, closed to us, or full of our own dead connections; RabbitMQ drops those
# after two heartbeats. aio-pika does not pass on which it is, so the first connection is patient before it gives up.
VHOST_PATIENCE_S: Final = 20.0

log = structlog.stdlib.get_logger()


class VhostRefusedError(AccessRefusedError):
    """The password is right, but the virtual host is missing, closed to this user, or takes no more connections."""


@dataclass(frozen=True, slots=True)
class _Link:
    """One connection, and the future that tells why it was lost."""

    connection: aio_pika.Connection
    lost: asyncio.Future[str]


async def _nothing_to_restore() -> bool:
    return False


class Session:
    """The connection of one user; see the module.

    ``restore`` is asked whenever the broker refuses us, since it may be an empty one in the place of a lost one. It
    tells whether it made something, so that trying again can help.
    """

    def __init__(
        self,
        config: BrokerConfig,
        *,
        rng: random.Random | None = None,
        restore: Callable[[], Awaitable[bool]] = _nothing_to_restore,
    ) -> None:
        self._config = config
        self._restore = restore
        self._rng = rng or random.Random()  # noqa: S311 - jitter, not secrets
        self._link: _Link | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._up = asyncio.Event()
        self._callbacks: list[Callable[[], None]] = []
        self._blocked = False
        self._since_s = 0.0
        self._reconnects = 0
        self._last_error = ""

    @property
    def health(self) -> Health:
        """Tell how the connection fares now."""
        return Health(
            connected=self._up.is_set(),
            blocked=self._blocked,
            since_s=self._since_s,
            reconnects=self._reconnects,
            last_error=self._last_error,
        )

    @property
    def is_fresh(self) -> bool:
        """Tell whether the broker may be coming up only now."""
        return asyncio.get_running_loop().time() - self._since_s < BOOT_PATIENCE_S

    async def open(self) -> None:
        """Connect; try until it succeeds.

        Raises:
            AccessRefusedError: wrong user, password or virtual host.
        """
        self._now_connected(await self._connect_at_first())
        self._keeper = asyncio.create_task(self._keep(), name="broker-session")

    async def close(self) -> None:
        """Disconnect, within ``CLOSE_TIMEOUT_S``."""
        if self._keeper is not None:
            self._keeper.cancel()
            with suppress(asyncio.CancelledError):
                await self._keeper
        self._up.clear()
        if self._link is not None:
            await _close(self._link.connection)
            self._link = None

    async def __aenter__(self) -> Self:
        """Open."""
        await self.open()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close."""
        await self.close()

    @asynccontextmanager
    async def on_connected(self, callback: Callable[[], None]) -> AsyncGenerator[None]:
        """Call back after each reconnection, while the block is entered."""
        self._callbacks.append(callback)
        try:
            yield
        finally:
            self._callbacks.remove(callback)

    async def until_up(self) -> None:
        """Wait for the connection."""
        await self._up.wait()

    async def until_unblocked(self) -> None:
        """Wait while the broker's alarm blocks the connection: what is written meanwhile piles up and arrives later."""
        if self._link is not None and self._link.connection.transport is not None:
            await self._link.connection.transport.ready()

    async def open_channel(self, *, confirms: bool = False) -> AbstractChannel:
        """Open an AMQP channel on the connection; waits for the connection, without a limit.

        Raises:
            DisconnectedError: the connection was lost meanwhile, or did not answer in time.
        """
        await self._up.wait()
        if self._link is None:
            raise DisconnectedError("the session is closed")
        try:
            async with asyncio.timeout(RPC_TIMEOUT_S):
                with translated():
                    # An unroutable message is an error only with on_return_raises.
                    amqp_channel = self._link.connection.channel(publisher_confirms=confirms, on_return_raises=confirms)
                    await amqp_channel.initialize()
                    return amqp_channel
        except TimeoutError:
            raise DisconnectedError(f"no AMQP channel within {RPC_TIMEOUT_S:.0f} s") from None

    async def _connect_at_first(self) -> _Link:
        tries = 0
        refused_since_s = None
        now_s = asyncio.get_running_loop().time
        while True:
            try:
                return await self._connect()
            except AccessRefusedError as error:
                refused_since_s = refused_since_s or now_s()
                patience_s = VHOST_PATIENCE_S if isinstance(error, VhostRefusedError) else 0.0
                if not await self._restore() and now_s() - refused_since_s >= patience_s:
                    raise
                await self._wait_after(error, tries)
            except BrokerError as error:
                await self._wait_after(error, tries)
            tries += 1

    async def _keep(self) -> NoReturn:
        while True:
            if self._link is not None:
                await self._watch(self._link)
            link = await self._reconnect()
            self._reconnects += 1
            self._now_connected(link)
            self._call_back()

    async def _watch(self, link: _Link) -> None:
        """Return once the link is lost."""
        while not link.lost.done():
            await asyncio.wait([link.lost], timeout=BLOCKED_CHECK_EVERY_S)
            blocked = not link.lost.done() and await _is_blocked(link.connection)
            if blocked != self._blocked:
                self._blocked = blocked
                log.warning("broker.blocked" if blocked else "broker.unblocked", broker=self._config.safe_url)
        self._up.clear()
        self._blocked = False
        self._since_s = asyncio.get_running_loop().time()
        self._last_error = link.lost.result()
        log.warning("broker.lost", broker=self._config.safe_url, error=self._last_error)
        await _close(link.connection)

    async def _reconnect(self) -> _Link:
        tries = 0
        while True:
            try:
                return await self._connect()
            except BrokerError as error:
                # Refusals, too: a broker that boots refuses for a while, and an account can come back.
                restored = isinstance(error, AccessRefusedError) and await self._restore()
                tries = 0 if restored else tries
                await self._wait_after(error, tries)
                tries += 1

    async def _wait_after(self, error: BrokerError, tries: int) -> None:
        self._last_error = str(error)
        wait_s = backoff_s(tries, first_s=RECONNECT_FIRST_S, max_s=RECONNECT_MAX_S, rng=self._rng)
        log.warning("broker.unreachable", broker=self._config.safe_url, error=self._last_error, retry_after_s=wait_s)
        await asyncio.sleep(wait_s)

    async def _connect(self) -> _Link:
        url = URL(self._config.url).update_query(heartbeat=self._config.heartbeat_s, name=self._config.name)
        connection = aio_pika.Connection(url)
        lost = asyncio.get_running_loop().create_future()
        connection.close_callbacks.add(lambda _, error: _tell(lost, error))
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                with translated():
                    await _connect(connection)
        except TimeoutError:
            await _close(connection)
            raise DisconnectedError(f"no handshake within {CONNECT_TIMEOUT_S:.0f} s") from None
        except BaseException:
            await _close(connection)
            raise
        return _Link(connection, lost)

    def _now_connected(self, link: _Link) -> None:
        self._link = link
        self._since_s = asyncio.get_running_loop().time()
        self._up.set()
        log.info("broker.connected", broker=self._config.safe_url, reconnects=self._reconnects)

    def _call_back(self) -> None:
        for callback in tuple(self._callbacks):
            try:
                callback()
            except Exception:  # a callback's failure is not the connection's
                log.exception("broker.callback_failed")


async def _connect(connection: aio_pika.Connection) -> None:
    try:
        await connection.connect()
    except InvalidFrameError as error:
        if "Connection.Close" in str(error):
            raise VhostRefusedError(
                "the virtual host is missing, closed to this user, or takes no more connections from it"
            ) from error
        raise


async def _is_blocked(connection: aio_pika.Connection) -> bool:
    """Ask without waiting: what is ready does not suspend, and a time limit of 0 ends what does."""
    if connection.transport is None:
        return False
    try:
        async with asyncio.timeout(0):
            await connection.transport.ready()
    except TimeoutError:
        return True
    return False


async def _close(connection: aio_pika.Connection) -> None:
    try:
        async with asyncio.timeout(CLOSE_TIMEOUT_S):
            with translated():
                await connection.close()
    except (TimeoutError, BrokerError) as error:
        log.info("broker.close_unanswered", error=str(error))


def _tell(lost: asyncio.Future[str], error: BaseException | None) -> None:
    if not lost.done():
        lost.set_result(str(error or "closed") or type(error).__name__)
