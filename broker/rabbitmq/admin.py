"""``RabbitAdmin``: provisioning over AMQP, and accounts over the management API where there is one.

Where it is refused, the broker may be an empty one in the place of a lost one: then it makes the virtual host and the
site's own user again, by the management API, as far as that lets it. Everybody else of the site waits for that.
"""

from __future__ import annotations

import random
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Self

import structlog

from broker.config import BrokerConfig
from broker.port import AccessRefusedError, BrokerError, TopologyError, UnansweredError
from broker.rabbitmq import declarations
from broker.rabbitmq.management import Management
from broker.rabbitmq.session import Session
from broker.topology import Account, Exchange, Policy, Queue, is_stream
from events.routing import Binding

log = structlog.stdlib.get_logger()


class RabbitAdmin:
    """Implements ``broker.port.Admin``. ``async with RabbitAdmin(config)``, on a connection of its own."""

    def __init__(self, config: BrokerConfig, *, rng: random.Random | None = None) -> None:
        self._config = config
        self._session = Session(config, rng=rng, restore=self._restored)
        self._management = Management(config) if config.management_url else None
        self._resources = AsyncExitStack()

    @property
    def vhost(self) -> str:
        """The virtual host that is provisioned."""
        return self._config.vhost

    @property
    def keeps_accounts(self) -> bool:
        """Tell whether users can be managed."""
        return self._management is not None

    async def __aenter__(self) -> Self:
        """Connect; try until the broker is there.

        Raises:
            AccessRefusedError: wrong user, password or virtual host.
        """
        async with AsyncExitStack() as resources:
            if self._management is not None:
                await resources.enter_async_context(self._management)
            resources.push_async_callback(self._session.close)
            await self._session.open()
            self._resources = resources.pop_all()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Disconnect."""
        await self._resources.aclose()

    async def ensure_exchange(self, exchange: Exchange) -> None:
        """Declare an exchange. See ``broker.port.Admin``."""
        await declarations.declare_exchange(self._session, exchange)

    async def ensure_queue(self, queue: Queue) -> bool:
        """Declare a queue or stream with its bindings; tell whether it is new. See ``broker.port.Admin``."""
        is_new = not await declarations.exists(self._session, queue.name)
        if is_new or not is_stream(queue.name):
            await declarations.declare_queue(self._session, queue)
        await declarations.bind_queue(self._session, queue)
        return is_new

    async def is_declared_so(self, queue: Queue) -> bool:
        """Tell whether a queue or stream that is there has just these arguments. See ``broker.port.Admin``."""
        try:
            await declarations.declare_queue(self._session, queue)
        except UnansweredError:
            raise
        except TopologyError:
            return False
        return True

    async def ensure_policy(self, policy: Policy) -> bool:
        """Let queues and streams be as a policy says. See ``broker.port.Admin``."""
        if self._management is None:
            return False
        await self._management.ensure_policy(policy)
        return True

    async def unbind(self, queue: str, binding: Binding) -> None:
        """Take a binding away. See ``broker.port.Admin``."""
        await declarations.unbind(self._session, queue, binding)

    async def exists(self, queue: str) -> bool:
        """Tell whether a queue or stream is there. See ``broker.port.Admin``."""
        return await declarations.exists(self._session, queue)

    async def prove(self, queue: str) -> None:
        """Write a probe, see it confirmed and, from a stream, read it back. See ``broker.port.Admin``."""
        if is_stream(queue):
            await declarations.prove_stream(self._session, queue)
        else:
            await declarations.prove_queue(self._session, queue)

    async def delete_queue(self, queue: str) -> None:
        """Delete a queue, if it is there. See ``broker.port.Admin``."""
        await declarations.delete_queue(self._session, queue)

    async def ensure_account(self, user: str, password: str, account: Account) -> None:
        """Create or change a user. See ``broker.port.Admin``."""
        await self._accounts.ensure_account(user, password, account)

    async def remove_account(self, user: str) -> None:
        """Delete a user; its connections are closed at once. See ``broker.port.Admin``."""
        await self._accounts.remove_account(user)

    async def _restored(self) -> bool:
        """Make the site's ground in the node, where it is missing and we may; tell whether anything was made."""
        if self._management is None:
            return False
        try:
            made = await self._management.ensure_ground()
        except BrokerError as error:
            log.warning(
                "broker.unrestorable",
                broker=self._config.safe_url,
                error=str(error),
                hint="make the virtual host and the user, or give broker.management_url an administrator of the node",
            )
            return False
        if made:
            log.warning("broker.restored", broker=self._config.safe_url, made=made)
        return bool(made)

    @property
    def _accounts(self) -> Management:
        if self._management is None:
            raise AccessRefusedError("users cannot be managed without RabbitMQ's management API")
        return self._management
