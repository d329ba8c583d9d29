"""One real selector for benchmarks: ``python -m bench.selector``, told by JSON on stdin. Says when it is ready."""

from __future__ import annotations

import asyncio
import sys
from typing import Final

import msgspec
import uvloop

from broker.config import BrokerConfig
from distributary.logs import configure
from distributary.running import Role, Service, raise_descriptor_limit, run_until_signal
from events.names import SelectorName
from selection.app import run
from selection.config import SelectorConfig

READY: Final = "selector is ready"
SECRET: Final = b"a secret of benchmarks, 32 bytes"
SILENT_AFTER_S: Final = 3600.0  # the made-up mirrors report once


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What a benchmark wants of its selector."""

    name: str
    amqp_url: str
    port: int
    fast_lane: bool = True
    silent_after_s: float = SILENT_AFTER_S


def config_of(order: Order) -> SelectorConfig:
    """Configure it as a site does that has a proxy on its machine."""
    return SelectorConfig(
        name=SelectorName(order.name),
        listen_port=order.port,
        site_url="https://dl.example.org",
        master_url="https://master.example.org",
        broker=BrokerConfig(url=order.amqp_url),
        secret=SECRET,
        trusted_proxies=("127.0.0.1/32",),
        silent_after_s=order.silent_after_s,
        fast_lane=order.fast_lane,
    )


def main() -> None:
    """Run until a signal ends it."""
    order = msgspec.json.decode(sys.stdin.buffer.read(), type=Order)
    configure(role=Role.SELECTOR.value, console=False)
    raise_descriptor_limit()
    service = Service(Role.SELECTOR, lambda on_ready: run(config_of(order), on_ready=on_ready))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run_until_signal([service], lambda _role, _url: print(READY, flush=True)))


if __name__ == "__main__":
    main()
