"""``RabbitRestorer``: writes again what was written before, in its order and in the names of those who wrote it.

RabbitMQ lets nobody sign with another's name but a user with the tag ``impersonator``. Where the management API can be
used, there is such a user for as long as a restorer is entered, and it can do nothing else; without it, the site's own
user must have the tag.

All goes over one AMQP channel at a time, since the order of what is published on two is anybody's guess. What is said
in ``lanes`` of a shared one does not hold here: all that is restored goes into the log's stream, once.
"""

from __future__ import annotations

import asyncio
import random
import secrets
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from types import TracebackType
from typing import Final, Self, cast

import structlog
from aio_pika.exceptions import ChannelNotFoundEntity, ChannelPreconditionFailed, DeliveryError, PublishError
from aiormq import spec
from aiormq.channel import Channel as UnderlayChannel
from yarl import URL

from broker.accounts import importer_user
from broker.backoff import backoff_s
from broker.config import BrokerConfig
from broker.port import (
    AccessRefusedError,
    BrokerError,
    Delivery,
    DisconnectedError,
    NackedError,
    PublishTimeoutError,
    UnroutableError,
)
from broker.rabbitmq.declarations import PERSISTENT
from broker.rabbitmq.errors import port_error, translated
from broker.rabbitmq.gate import LogGate
from broker.rabbitmq.management import Management
from broker.rabbitmq.session import Session
from broker.rabbitmq.subscription import close_channel
from broker.topology import importer_account
from events.codec import CONTENT_TYPE

RESTORE_TIMEOUT_S: Final = 60.0  # a thousand entries take a second; a broker that restarts is back in half a minute
TRIES_MAX: Final = 5  # a broker that was away for five minutes is not coming back while somebody waits
RETRY_FIRST_S: Final = 0.5
RETRY_MAX_S: Final = 5.0

log = structlog.stdlib.get_logger()


class RabbitRestorer:
    """Implements ``history.export.importing.Restorer``. ``async with RabbitRestorer(config)``."""

    def __init__(self, config: BrokerConfig, *, rng: random.Random | None = None) -> None:
        self._config = config
        self._rng = rng or random.Random()  # noqa: S311 - jitter, not secrets
        self._session = Session(config, rng=self._rng)
        self._resources = AsyncExitStack()
        self._passed: int | None = None
        self._room = asyncio.Lock()

    async def __aenter__(self) -> Self:
        """Connect, as a user who may write in others' names.

        Raises:
            AccessRefusedError: the broker does not let us make one, or log in, or write so.
            DisconnectedError: the management API does not answer.
        """
        async with AsyncExitStack() as resources:
            if self._config.management_url is not None:
                self._session = Session(await self._as_importer(resources), rng=self._rng)
            self._gate = LogGate(self._session)
            resources.push_async_callback(self._session.close)
            await self._session.open()
            if self._config.management_url is None:
                await self._verify_leave()
            self._resources = resources.pop_all()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Disconnect, and take the user away."""
        await self._resources.aclose()

    async def restore(self, deliveries: Sequence[Delivery]) -> None:
        """Write them, in this order; return once the log has them all.

        After a lost connection it begins with the first of them again: some may then stand there twice.

        Raises:
            AccessRefusedError: this user may not write there, or not in others' names.
            UnroutableError: the topology is missing.
            BrokerError: the broker takes nothing. What was written stays.
        """
        tries = 0
        while True:
            try:
                return await self._in_time(deliveries)
            except (AccessRefusedError, UnroutableError):
                raise
            except BrokerError as error:
                tries += 1
                if tries == TRIES_MAX:
                    raise
                wait_s = backoff_s(tries, first_s=RETRY_FIRST_S, max_s=RETRY_MAX_S, rng=self._rng)
                log.warning("broker.restoring_interrupted", error=str(error), retry_after_s=wait_s)
                await asyncio.sleep(wait_s)

    async def _as_importer(self, resources: AsyncExitStack) -> BrokerConfig:
        user, password = importer_user(self._config.vhost), secrets.token_urlsafe()
        management = await resources.enter_async_context(Management(self._config))
        resources.push_async_callback(management.remove_account, user)
        await management.ensure_account(user, password, importer_account())
        return replace(self._config, url=str(URL(self._config.url).with_user(user).with_password(password)))

    async def _verify_leave(self) -> None:
        """Make sure that we may write in others' names before anything is written: try it with what nobody takes."""
        nobody = importer_user(self._config.vhost)
        with suppress(UnroutableError):
            await self._in_time(
                [Delivery(exchange="", routing_key=nobody, message_id=nobody, type="", user_id=nobody, body=b"")]
            )

    async def _in_time(self, deliveries: Sequence[Delivery]) -> None:
        try:
            async with asyncio.timeout(RESTORE_TIMEOUT_S):
                await self._until_log_answers()
                await self._write(deliveries)
        except TimeoutError:
            raise PublishTimeoutError(f"{len(deliveries)} entries were not confirmed in time") from None

    async def _until_log_answers(self) -> None:
        await self._session.until_up()
        connection = self._session.health.reconnects
        if self._passed != connection:
            await self._gate.passed()
            self._passed = connection

    async def _write(self, deliveries: Sequence[Delivery]) -> None:
        amqp_channel = await self._session.open_channel(confirms=True)
        try:
            with translated():
                underlay = cast("UnderlayChannel", await amqp_channel.get_underlay_channel())
                await self._session.until_unblocked()
                sent = [self._send(underlay, delivery) for delivery in deliveries]
                results = await asyncio.gather(*sent, return_exceptions=True)
        finally:
            await close_channel(amqp_channel)
        errors = [_as_error(result) for result in results if isinstance(result, BaseException)]
        if errors:
            raise next((error for error in errors if not isinstance(error, DisconnectedError)), errors[0])

    async def _send(self, underlay: UnderlayChannel, delivery: Delivery) -> None:
        """Write one and wait for its confirmation. Who was first to be called is first to write."""
        frames = cast("asyncio.Queue[object]", underlay.connection.write_queue)
        async with self._room:
            while frames.full():  # noqa: ASYNC110 - aiormq's writer tells nobody; it empties the queue in one turn
                await asyncio.sleep(0)
        await underlay.basic_publish(
            delivery.body,
            exchange=delivery.exchange,
            routing_key=delivery.routing_key,
            properties=_properties(delivery),
            mandatory=True,
            wait=False,
        )


def _properties(delivery: Delivery) -> spec.Basic.Properties:
    return spec.Basic.Properties(
        content_type=CONTENT_TYPE,
        delivery_mode=PERSISTENT,
        message_id=delivery.message_id,
        message_type=delivery.type,
        user_id=delivery.user_id or None,
    )


def _as_error(error: BaseException) -> BrokerError:
    match error:
        case ChannelPreconditionFailed():
            return AccessRefusedError(
                "the broker lets this user not write in others' names: configure the management API's URL, or give the"
                f" user RabbitMQ's tag `impersonator` ({error})"
            )
        case PublishError() | ChannelNotFoundEntity():
            return UnroutableError(f"no queue takes what is to be restored ({error})")
        case DeliveryError():
            return NackedError("the broker could not take what is to be restored")
        case Exception():
            return port_error(error)
        case _:
            return DisconnectedError("the connection was lost")
