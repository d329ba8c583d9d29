"""The port to RabbitMQ and its in-memory twin. It knows bytes, keys and outcomes; nothing of files or mirrors.

``port`` is what services see. ``rabbitmq`` (the only package that imports ``aio_pika``) and ``memory`` implement it and
pass one conformance suite. ``topology`` is data: what exists in the broker and who may do what.
"""
