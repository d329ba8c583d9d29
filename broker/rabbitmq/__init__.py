"""RabbitMQ behind the port, on aio-pika's plain connection. Only this package imports ``aio_pika`` and its ``aiormq``.

``session`` keeps one connection alive, ``publisher``, ``consumer`` and ``follower`` each use AMQP channels of their own
on it, ``errors`` turns what they raise into the port's families. aio-pika's robust connection is not used: it resumes a
stream at its old offset and loses consumers silently.
"""

from broker.rabbitmq.admin import RabbitAdmin
from broker.rabbitmq.broker import RabbitBroker

__all__ = ["RabbitAdmin", "RabbitBroker"]
