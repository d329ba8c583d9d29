"""Newer masters and mirrors say more of each thing than this version knows: a selector folds what it knows."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import msgspec

from broker.memory import MemoryBroker
from broker.port import Message

if TYPE_CHECKING:
    from conftest import Site


class NewerBroker(MemoryBroker):
    """Adds fields to the end of each event and of its envelope, as a newer version may."""

    async def publish(self, message: Message) -> None:
        """Publish what is said, and more."""
        envelope: list[Any] = msgspec.msgpack.decode(message.body)
        envelope[-1] += ["a field of tomorrow", {"nested": [1, None]}]
        envelope += ["one of the envelope's", 7]
        await super().publish(replace(message, body=msgspec.msgpack.encode(envelope)))


async def test_events_with_fields_of_a_newer_version_are_folded_like_any_other(memory_site: Site) -> None:
    assert memory_site.memory is not None
    memory_site.said.broker = NewerBroker(memory_site.memory)
    await memory_site.said.published("a.iso")
    await memory_site.said.published("b.iso")
    await memory_site.said.serving("ana", "a.iso", "b.iso")
    await memory_site.said.withdrawn("b.iso")
    async with memory_site.selector() as selector:
        await selector.until_chosen("a.iso", "ana")
        assert (await selector.visit("/a.iso")).headers["Location"].startswith("http://ana.example/d/")
        assert (await selector.visit("/b.iso")).status == 404
        assert (await selector.ask("/-/api/v1/status"))["events"]["unreadable"] == 0
