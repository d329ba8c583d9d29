"""Killed at any step, a mirror announces no bad and no missing copy, and goes on where it was."""

from __future__ import annotations

import asyncio
import hashlib
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import pytest

from events.codec import decode
from events.names import Digest, MirrorName
from events.schemas import ChannelFollowed, LossReason, ReplicaLost, ReplicaReady
from mirror.content.objects import Objects
from mirror.content.parts import Part
from mirror.content.piecemap import PieceLayout
from mirror.keeping.reconcile import reconcile
from mirror.state.store import Store

# as crash_points.py has them
CONTENTS = {
    Digest(hashlib.sha256(content).digest()): content
    for content in (b"content of a file" * 1000, b"what another one has" * 700)
}
EventT = TypeVar("EventT")


@pytest.mark.processes
@pytest.mark.parametrize(
    ("life", "steps_of", "commits"),
    [
        pytest.param("live", {"pwrite", "fsync", "fchmod", "rename", "commit", "unlink"}, 4, id="fetch and withdraw"),
        pytest.param("evict", {"pwrite", "rename", "commit", "unlink"}, 3, id="evict", marks=pytest.mark.faults),
        pytest.param(
            "condemn", {"pwrite", "rename", "commit"}, 2, id="put into quarantine and mend", marks=pytest.mark.faults
        ),
    ],
)
async def test_no_crash_leaves_a_copy_announced_that_is_not_there_nor_bytes_that_nobody_wants(
    tmp_path: Path, life: str, steps_of: set[str], commits: int
) -> None:
    script = Path(__file__).with_name("crash_points.py")
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(script), life, str(tmp_path), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    steps = out.decode().splitlines()
    seen = Counter(step.partition(" ")[2] for step in steps)
    assert seen.keys() >= steps_of
    assert seen["commit"] == 2 * commits
    for number, step in enumerate(steps):
        await _check(tmp_path / str(number), f"{number} {step}", damaged=life == "condemn")


async def _check(folder: Path, step: str, *, damaged: bool) -> None:
    """Look at what a crash left, as it is and after the next start."""
    objects = Objects(folder)
    with ThreadPoolExecutor(1) as executor:
        async with Store.opened(folder / "state.db", MirrorName("ana"), time.time_ns) as store:
            if not damaged:
                await _check_announced(store, objects, step)
            await _check_acknowledged(store, objects, step)
            to_fetch = await reconcile(store, objects, executor)
            reasons = [one.reason for one in await _said(store, ReplicaLost)]
            assert LossReason.MISSING not in reasons, step
            stays_out = set(store.wants.evicted)
            assert not stays_out & {sha256 for sha256, _ in objects.listing()}, step
            for sha256 in to_fetch:
                await _fetch(store, objects, sha256, step)
            if LossReason.CORRUPT in reasons or not damaged:
                await _check_announced(store, objects, step)
            assert set(store.replicas) == set(store.catalogue.wanted_digests()) - stays_out, step
            assert {sha256 for sha256, _ in objects.listing()} == set(store.replicas), step
            assert objects.parts() == [], step
            assert list((folder / "tmp").iterdir()) == [], step


async def _fetch(store: Store, objects: Objects, sha256: Digest, step: str) -> None:
    """Do as the keeper does, with a source at hand."""
    wanted = store.catalogue.wanted(sha256)
    assert wanted is not None, step
    content = CONTENTS[sha256]
    part = Part(objects, PieceLayout.of(wanted))
    for piece in set(range(part.layout.count)) - set(part.pieces):
        landing = part.land(piece)
        landing.append([content[landing.span.start : landing.span.stop]])
        assert landing.finish(), step
    part.commit()
    part.close()
    assert await store.add_replica(wanted.sha256, wanted.size_bytes), step


async def _check_announced(store: Store, objects: Objects, step: str) -> None:
    """What is held in the tables is whole on the disk, and what was said agrees with the tables."""
    for sha256 in store.replicas:
        assert hashlib.sha256(objects.path(sha256).read_bytes()).digest() == sha256, step
    said = len(await _said(store, ReplicaReady)) - len(await _said(store, ReplicaLost))
    assert said == len(store.replicas), step


async def _check_acknowledged(store: Store, objects: Objects, step: str) -> None:
    """What was said to be gone is gone."""
    if await _said(store, ChannelFollowed):
        assert list(objects.listing()) == [], step


async def _said(store: Store, kind: type[EventT]) -> list[EventT]:
    events = [decode(row.message.body).event for row in await store.database.pending(100)]
    return [event for event in events if isinstance(event, kind)]
