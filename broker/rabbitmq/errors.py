"""aio-pika's errors, turned into the port's. The decisions are pure; ``translated`` applies them."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from contextlib import contextmanager

from aio_pika.exceptions import (
    CONNECTION_EXCEPTIONS,
    AuthenticationError,
    ChannelNotFoundEntity,
    ChannelPreconditionFailed,
    InvalidFrameError,
    ProbableAuthenticationError,
)
from aiormq.exceptions import ChannelAccessRefused, ChannelLockedResource, ConnectionNotAllowed

from broker.port import AccessRefusedError, BrokerError, DisconnectedError, Message, TopologyError

_REFUSALS = (ChannelAccessRefused, ProbableAuthenticationError, AuthenticationError, ConnectionNotAllowed)
_WRONG_TOPOLOGY = (ChannelNotFoundEntity, ChannelPreconditionFailed, ChannelLockedResource)

# A broker that comes up has several words for a stream or queue that does not answer yet ("is down or inaccessible",
# "does not have a replica on the local node"); these are its words for what will not mend itself.
_FINAL_SIGNS = ("no queue '", "no exchange '", "inequivalent arg")


class InaccessibleError(TopologyError):
    """The queue or stream is known but does not answer: the broker has just come up, or it is broken for good."""


class UnreadableFrameError(DisconnectedError):
    """RabbitMQ sent what aio-pika cannot decode, which ended the connection; it will be sent again on the next one."""


def port_error(error: Exception) -> BrokerError:
    """Give the port's error for one of aio-pika's."""
    if isinstance(error, BrokerError):
        return error
    if isinstance(error, _REFUSALS):
        return AccessRefusedError(_text(error))
    if isinstance(error, _WRONG_TOPOLOGY):
        is_final = any(sign in _text(error) for sign in _FINAL_SIGNS)
        return (TopologyError if is_final else InaccessibleError)(_text(error))
    return (UnreadableFrameError if isinstance(error, InvalidFrameError) else DisconnectedError)(_text(error))


def is_blamed(message: Message, reply: str) -> bool:
    """Tell whether the broker's reason for closing an AMQP channel is about this message.

    One refused publish closes the channel under all that are in flight on it. The reply names the exchange and, for a
    topic permission, the routing key: ``access to topic 'a.b' in exchange 'files' in vhost '/' refused for user 'u'``.
    """
    names_exchange = f"exchange '{message.exchange}'" in reply
    return names_exchange and ("access to topic" not in reply or f"topic '{message.routing_key}'" in reply)


@contextmanager
def translated() -> Generator[None]:
    """Raise the port's errors instead of aio-pika's.

    aio-pika also raises ``CancelledError`` when the connection is lost, though nobody cancelled anything; it is told
    from a true cancellation by the task, which knows of it.
    """
    task = asyncio.current_task()
    cancellations = task.cancelling() if task else 0
    try:
        yield
    except asyncio.CancelledError as error:
        if task is None or task.cancelling() > cancellations:
            raise
        raise DisconnectedError("the connection was lost") from error
    except TimeoutError:
        raise  # the time limit is whoever's set it; and TimeoutError is an OSError
    except CONNECTION_EXCEPTIONS as error:
        raise port_error(error) from error


def _text(error: Exception) -> str:
    return str(error) or type(error).__name__
