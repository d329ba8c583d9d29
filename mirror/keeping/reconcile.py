"""Brings tables and bytes into line at a start, before anything else is done with them."""

from __future__ import annotations

import asyncio
from concurrent.futures import Executor

import structlog

from events.names import Digest
from events.schemas import LossReason
from mirror.content.objects import Objects
from mirror.state.store import Store

log = structlog.stdlib.get_logger()


async def reconcile(store: Store, objects: Objects, executor: Executor) -> set[Digest]:
    """Bring tables and bytes into line after a start; give all contents that are to be fetched.

    A row without its bytes is lost and said to be. Bytes without a row are what a crash left between the two: what
    nobody wants, and what had to make room, is removed at once, so that the first announcement can say that it is gone;
    the rest is hashed again before it is trusted. Damaged copies that no crash let reach the quarantine are among it.
    """
    loop = asyncio.get_running_loop()
    found = await loop.run_in_executor(executor, lambda: dict(objects.listing()))
    lost = {
        sha256: LossReason.MISSING
        for sha256, replica in store.replicas.items()
        if found.get(sha256) != replica.size_bytes
    }
    unwanted = {sha256: LossReason.WITHDRAWN for sha256 in store.replicas if store.catalogue.wanted(sha256) is None}
    await store.lose_replicas(lost | unwanted)
    for sha256 in lost:
        log.error("replica.missing", sha256=sha256.hex(), found_bytes=found.get(sha256))
    wanted = set(store.catalogue.wanted_digests())
    keepable = wanted - set(store.wants.evicted)

    def tidy() -> None:
        for sha256, size_bytes in found.items():
            if sha256 in lost or size_bytes < 0 or (sha256 not in store.replicas and sha256 not in keepable):
                objects.remove(sha256)
            elif sha256 not in store.replicas:
                objects.demote(sha256)
        for sha256 in objects.parts():
            if sha256 not in wanted:
                objects.remove_part(sha256)

    await loop.run_in_executor(executor, tidy)
    return keepable - store.replicas.keys()
