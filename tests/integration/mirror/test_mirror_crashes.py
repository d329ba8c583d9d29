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
from events.schemas import LossReason, ReplicaLost, ReplicaReady
from mirror.objects import Objects
from mirror.parts import Part
from mirror.piecemap import PieceLayout
from mirror.reconcile import reconcile
from mirror.store import Store

CONTENT = b"content of a file" * 1000  # as crash_points.py has it
EventT = TypeVar("EventT")


@pytest.mark.processes
async def test_no_crash_leaves_a_copy_announced_that_is_not_there(tmp_path: Path) -> None:
    script = Path(__file__).with_name("crash_points.py")
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(script), str(tmp_path), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    steps = out.decode().splitlines()
    seen = Counter(step.partition(" ")[2] for step in steps)
    assert seen.keys() >= {"pwrite", "fsync", "fchmod", "rename", "commit", "unlink"}
    assert seen["commit"] == 2 * 3, "told, taken in, withdrawn"
    for number, step in enumerate(steps):
        await _check(tmp_path / str(number), step)


async def _check(folder: Path, step: str) -> None:
    """Look at what a crash left, as it is and after the next start."""
    objects = Objects(folder)
    with ThreadPoolExecutor(1) as executor:
        async with Store.opened(folder / "state.db", MirrorName("ana"), time.time_ns) as store:
            await _check_announced(store, objects, step)
            to_consider = await reconcile(store, objects, executor)
            assert LossReason.MISSING not in [one.reason for one in await _said(store, ReplicaLost)], step
            for sha256 in to_consider:
                await _settle(store, objects, sha256, step)
            await _check_announced(store, objects, step)
            assert set(store.replicas) == set(store.catalogue.wanted_digests()), step
            assert {sha256 for sha256, _ in objects.listing()} == set(store.replicas), step
            assert objects.parts() == [], step


async def _settle(store: Store, objects: Objects, sha256: Digest, step: str) -> None:
    """Do as the keeper does, with a source at hand."""
    wanted = store.catalogue.wanted(sha256)
    if wanted is None:
        objects.remove(sha256)
        return
    part = Part(objects, PieceLayout.of(wanted))
    if not part.pieces.complete:
        landing = part.land(0)
        landing.append([CONTENT])
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


async def _said(store: Store, kind: type[EventT]) -> list[EventT]:
    events = [decode(row.message.body).event for row in await store.database.pending(100)]
    return [event for event in events if isinstance(event, kind)]
