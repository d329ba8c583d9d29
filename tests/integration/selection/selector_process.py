"""A selector that writes its snapshot all the time: ``python selector_process.py BROKER_URL NAME STATE_DIR``.

Prints its URL when it is ready.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from broker.config import BrokerConfig
from broker.rabbitmq import RabbitBroker
from events.names import SelectorName
from selection.app import run_on
from selection.config import SelectorConfig
from selection.following import snapshots
from selection.places.files import PlaceFiles

SECRET = b"the site's secret, 32 bytes long"  # as conftest.py has it


async def main(broker_url: str, name: str, state_dir: Path) -> None:
    """Run it."""
    setattr(snapshots, "WRITE_EVERY_S", 0.01)  # noqa: B010 - plain assignment wants what is not final
    config = SelectorConfig(
        name=SelectorName(name),
        listen_port=0,
        master_url="http://master.example",
        broker=BrokerConfig(url=broker_url),
        secret=SECRET,
        state_dir=state_dir,
    )
    broker = RabbitBroker(config.broker)
    await run_on(broker, config, connection=broker, places=PlaceFiles(), on_ready=tell)


def tell(url: str) -> None:
    """Print where it is."""
    sys.stdout.write(f"{url}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], Path(sys.argv[3])))
