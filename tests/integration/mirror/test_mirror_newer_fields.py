"""A newer master says more of each thing than this version knows: a mirror takes what it knows and goes on."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import msgspec

from broker.memory import MemoryBroker
from broker.port import Message
from events.schemas import EventUnreadable

if TYPE_CHECKING:
    from conftest import Stage


class NewerBroker(MemoryBroker):
    """Adds fields to the end of each event and of its envelope, as a newer version may."""

    async def publish(self, message: Message) -> None:
        """Publish what is said, and more."""
        envelope: list[Any] = msgspec.msgpack.decode(message.body)
        envelope[-1] += ["a field of tomorrow", {"nested": [1, None]}]
        envelope += ["one of the envelope's", 7]
        await super().publish(replace(message, body=msgspec.msgpack.encode(envelope)))


async def test_events_with_fields_of_a_newer_version_are_followed_like_any_other(stage: Stage) -> None:
    stage.broker = NewerBroker(stage.site)
    async with stage.running():
        file = await stage.publish_ready("a.iso", b"a")
        assert stage.object_path(file.sha256).read_bytes() == b"a"
        await stage.say(stage.master.withdraw("a.iso"))
        await stage.until(lambda: not stage.object_path(file.sha256).exists())
        assert stage.log.of(EventUnreadable) == []
