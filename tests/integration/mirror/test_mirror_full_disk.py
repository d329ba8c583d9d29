"""A disk that is really full, so that not even the database can be written."""

from __future__ import annotations

import os
import random
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import aiohttp
import pytest

from events.envelope import Envelope, mirror_source
from events.names import MirrorName
from events.schemas import DeclineReason, LoadReported, ReplicaDeclined, ReplicaReady

if TYPE_CHECKING:
    from conftest import Stage

DISK = "24m"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", folder], capture_output=True)  # noqa: S603, S607, PLW1510 - fixed words; its failure is looked at
    if mount.returncode != 0:
        pytest.skip("only root may mount a small disk")
    yield folder
    subprocess.run(["umount", folder], check=True)  # noqa: S603, S607 - fixed words


@pytest.mark.faults
async def test_a_mirror_on_a_full_disk_serves_reports_and_recovers_by_itself(
    stage: Stage, http: aiohttp.ClientSession, small_disk: Path
) -> None:
    stage.reconfigure(data_folder=small_disk / "ana")
    content = random.Random(1).randbytes(10_000_000)  # noqa: S311 - any bytes will do
    async with stage.running():
        kept = await stage.publish_ready("kept", content)
        await stage.publish("too large", random.Random(2).randbytes(12_000_000))  # noqa: S311 - any bytes will do
        (declined, *_) = await stage.log.until(ReplicaDeclined)
        assert declined.reason is DeclineReason.DISK_FULL

        fill(small_disk / "somebody else's")
        await stage.publish("small", b"small")
        reports = len(stage.load.of(LoadReported))
        await stage.load.until(LoadReported, reports + 5)
        async with http.get(stage.link(stage.grant(kept))) as response:
            assert await response.read() == content

        (small_disk / "somebody else's").unlink()
        await stage.log.until(ReplicaReady, 2)
        await stage.say(stage.master.withdraw("kept"))
        await stage.log.until_true(
            lambda: {one.path for one in stage.log.of(ReplicaReady)} == {"kept", "small", "too large"}
        )
    own = [envelope for envelope in stage.log.envelopes if envelope.source == mirror_source(MirrorName("ana"))]
    facts: dict[int, Envelope] = {}
    for envelope in own:
        assert facts.setdefault(envelope.sequence, envelope) == envelope, "one number, one fact"
    assert sorted(facts) == list(range(1, len(facts) + 1))


def fill(path: Path) -> None:
    """Write until the disk is full."""
    descriptor = os.open(path, os.O_CREAT | os.O_WRONLY)
    try:
        while True:
            os.write(descriptor, bytes(4096))
    except OSError:
        os.close(descriptor)
