"""Fetches one content until it is whole or the process is killed: ``python fetching_process.py FOLDER MASTER ENTRY``.

``ENTRY`` is JSON: sha256, size_bytes, piece_bytes and piece_digests, the digests in hexadecimal.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from edge.clients import new_session
from events.names import ChannelName, Digest, FilePath, MirrorName
from mirror.config import FetchLimits
from mirror.content.objects import Objects
from mirror.fetching.blame import Blame
from mirror.fetching.fetch import Fetcher
from mirror.fetching.guard import peer_session
from mirror.fetching.origin import Origin
from mirror.fetching.sources import Neighbourhood
from mirror.state.plan import Entry
from mirror.state.traces import Said

STALL_S = 600.0  # nobody is given up here: who is asked when is what the test looks at


async def main(folder: Path, master_url: str, told: dict[str, object]) -> None:
    """Fetch it."""
    limits = FetchLimits(retry_first_s=0.02, retry_max_s=0.1)
    entry = Entry(
        channel=ChannelName("iso"),
        path=FilePath("a"),
        sequence=1,
        generation=1,
        sha256=Digest(bytes.fromhex(str(told["sha256"]))),
        size_bytes=int(str(told["size_bytes"])),
        piece_bytes=int(str(told["piece_bytes"])),
        piece_digests=bytes.fromhex(str(told["piece_digests"])),
    )
    with ThreadPoolExecutor(4) as executor:
        async with new_session(read_timeout_s=STALL_S) as session, peer_session((), read_timeout_s=STALL_S) as peers:
            around = Neighbourhood(
                mirror=MirrorName("ana"),
                origin=Origin(session, master_url, "mirror-token"),
                peers=peers,
                blame=Blame(origin_ban_s=limits.origin_ban_s),
                say=say_nothing,
            )
            rng = random.Random(1)  # noqa: S311 - jitter
            async with Fetcher(around, Objects(folder), executor, limits, rng).fetched(entry):
                pass


async def say_nothing(said: Said) -> None:
    """Have nobody to tell."""
    del said


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3])))
