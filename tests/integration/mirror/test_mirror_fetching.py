from __future__ import annotations

import hashlib

from events.schemas import (
    ReplicaReady,
)


async def test_published_file_is_fetched_verified_and_said_to_be_ready(stage):
    async with stage.running():
        event = await stage.publish("a/b.iso", b"x" * 3_000_000)
        (ready,) = await stage.log.until(ReplicaReady)
        assert (ready.sha256, ready.size_bytes, ready.path) == (event.sha256, 3_000_000, "a/b.iso")
        path = stage.object_path(event.sha256)
        assert hashlib.sha256(path.read_bytes()).digest() == event.sha256
        assert path.stat().st_mode & 0o777 == 0o440
