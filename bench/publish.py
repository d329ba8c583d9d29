"""From ``publish`` to the first possible redirect: a 10 MB file, three mirrors, all on this machine.

The clock starts when the publish request is sent (so hashing counts) and stops at the first answer of the selector
that sends a visitor to a mirror. Peers learn of a new file by scans, after minutes to a day.
"""

from __future__ import annotations

import asyncio
import http.client
import os
import secrets
import statistics
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from bench.verdict import Verdict
from distributary.fleet.broker import open_broker
from distributary.fleet.fleet import Fleet, MirrorPlan

PUBLISHES: Final = 20
FILE_BYTES: Final = 10_000_000
MIRRORS: Final = ("ana", "bob", "cat")
CHANNEL: Final = "bench"
ASK_EVERY_S: Final = 0.005  # a hundredth of the goal; each question costs the selector well under a millisecond
REDIRECT_TIMEOUT_S: Final = 30.0
MEDIAN_GOAL_S: Final = 0.5


async def measure() -> tuple[Verdict, ...]:
    """Publish, time, print each; give the median."""
    return (await asyncio.to_thread(_measure, os.environ),)


def _measure(environ: Mapping[str, str]) -> Verdict:
    with tempfile.TemporaryDirectory(prefix="distributary-bench-") as name:
        folder = Path(name)
        with open_broker(environ, folder / "broker") as broker, Fleet(folder=folder / "site", broker=broker) as fleet:
            fleet.define_channel(CHANNEL)
            fleet.join(*(MirrorPlan(name=mirror, channels=(CHANNEL,)) for mirror in MIRRORS))
            print(f"{'publish':>8} {'first redirect':>15} {'on all mirrors':>15}")
            return _verdict([_publish_once(fleet, folder, number) for number in range(1, PUBLISHES + 1)])


def _publish_once(fleet: Fleet, folder: Path, number: int) -> float:
    """Publish one new file; give the seconds until a visitor could be redirected to a mirror."""
    path = f"release-{number}.bin"
    source = folder / path
    source.write_bytes(secrets.token_bytes(FILE_BYTES))
    began_s = time.perf_counter()
    publishing = threading.Thread(target=fleet.publish, args=(source,), kwargs={"as_": path})
    publishing.start()
    _wait_for_redirect(fleet, path)
    first_s = time.perf_counter() - began_s
    publishing.join()
    fleet.wait_copies([path], MIRRORS)
    all_s = time.perf_counter() - began_s
    print(f"{number:>8} {first_s:>13.3f} s {all_s:>13.3f} s")
    return first_s


def _wait_for_redirect(fleet: Fleet, path: str) -> None:
    """Ask the selector, as a visitor would, until it names a mirror. The master's own copy does not count."""
    site, master = urlsplit(fleet.site_url), urlsplit(fleet.master.url)
    connection = http.client.HTTPConnection(site.netloc, timeout=REDIRECT_TIMEOUT_S)
    deadline_s = time.perf_counter() + REDIRECT_TIMEOUT_S
    while time.perf_counter() < deadline_s:
        connection.request("HEAD", f"/{path}")
        answer = connection.getresponse()
        answer.read()
        location = answer.headers["Location"]
        if location and urlsplit(location).netloc != master.netloc:
            connection.close()
            return
        time.sleep(ASK_EVERY_S)
    raise TimeoutError(f"no mirror for {path} within {REDIRECT_TIMEOUT_S:.0f} s")


def _verdict(seconds: list[float]) -> Verdict:
    print(f"{'worst':>8} {max(seconds):>13.3f} s")
    median_s = statistics.median(seconds)
    return Verdict(name="publish to first redirect, median", figure=median_s, goal=MEDIAN_GOAL_S, unit="s")
