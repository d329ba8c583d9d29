"""The demo: a broker, a master, a selector and mirrors as processes; publish, fetch, redirect, download, verify."""

from __future__ import annotations

import signal
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from distributary.answers import number, text, words
from distributary.cli.output import Output
from distributary.cli.own_name import own_name
from distributary.cli.progress import progress
from distributary.cli.where import print_where
from distributary.client import JsonObject
from distributary.demo.download import download, file_url
from distributary.demo.interrupts import Interrupts
from distributary.demo.story import Story
from distributary.demo.wheels import collect_wheels
from distributary.errors import CommandError
from distributary.exits import ExitCode
from distributary.fleet.broker import open_broker
from distributary.fleet.fleet import Fleet, MirrorPlan
from distributary.fleet.waiting import wait_until

CHANNEL: Final = "demo"
# Three real places, so that `where` has distances to show once a GeoIP file is configured.
NAMES: Final = ("ana", "bob", "cat", "dia", "eve", "fay", "gil", "hal", "ida", "jon")
PLACES: Final = ("41.15,-8.61", "59.91,10.75", "40.42,-3.70", "52.52,13.40", "48.86,2.35")
COPIES_TIMEOUT_S: Final = 600.0  # a folder of several gigabytes over one machine's disk
VISITOR: Final = "127.0.0.1"


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoPlan:
    """What to show: a folder (None: real release files), how many mirrors, and whether to leave at the end."""

    folder: Path | None
    mirrors: int
    leave: bool


def run_demo(plan: DemoPlan, output: Output, environ: Mapping[str, str]) -> ExitCode:
    """Run the demo; whatever was started is stopped when it returns.

    Raises:
        CommandError: something that it needs is not to be had.
    """
    story = Story(output)
    with Interrupts(output.note) as interrupts:
        source = plan.folder if plan.folder is not None else _wheels(story)
        with tempfile.TemporaryDirectory(prefix="distributary-demo-") as name:
            folder = Path(name)
            story.step("starting", "looking for a broker: DISTRIBUTARY_AMQP_URL, Docker, or a private RabbitMQ node")
            with open_broker(environ, folder / "broker") as broker:
                story.step("broker", broker.origin, origin=broker.origin)
                with Fleet(folder=folder / "site", broker=broker, archives=True) as fleet:
                    try:
                        return _show(plan, source, fleet, story)
                    finally:
                        interrupts.end()


def _wheels(story: Story) -> Path:
    story.step("files", "no FOLDER given: taking the wheels of Distributary's own locked dependencies")
    return collect_wheels()


def _show(plan: DemoPlan, source: Path, fleet: Fleet, story: Story) -> ExitCode:
    story.step("ready", f"master at {fleet.master.url}, selector at {fleet.site_url}", site_url=fleet.site_url)
    mirrors = _join(fleet, plan.mirrors, story)
    began_s = time.monotonic()
    published = fleet.publish(source)
    story.published(published)
    paths = [text(each, "path") for each in published if each.get("type") == "published"]
    if not paths:
        raise CommandError("nothing_published", f"{source}: there is no file in it that can be published")
    files = _watch(fleet, paths, mirrors, story)
    story.matrix(files, mirrors, time.monotonic() - began_s)
    chosen = max(files, key=lambda each: number(each, "size_bytes"))
    exit_code = _download(fleet, chosen, story)
    if exit_code is ExitCode.OK and not plan.leave:
        story.next_steps(
            fleet.config,
            fleet.site_url,
            text(chosen, "path"),
            command=own_name(sys.argv[0], sys.executable, Path.cwd()),
        )
        _stay(story)
    return exit_code


def _join(fleet: Fleet, count: int, story: Story) -> list[str]:
    fleet.define_channel(CHANNEL)
    plans = [
        MirrorPlan(name=name, channels=(CHANNEL,), location=PLACES[place % len(PLACES)])
        for place, name in enumerate(NAMES[:count])
    ]
    fleet.join(*plans)
    names = [plan.name for plan in plans]
    urls = [fleet.mirrors[name].url for name in names]
    listed = ", ".join(f"{name} ({url})" for name, url in zip(names, urls, strict=True))
    story.step("joined", f"mirrors joined by invitation: {listed}", mirrors=names)
    return names


def _watch(fleet: Fleet, paths: Sequence[str], mirrors: Sequence[str], story: Story) -> list[JsonObject]:
    """Show the mirrors fetch until each holds every file; give the files as the selector sees them."""
    wanted = set(paths)
    with progress(story.output, "mirrors fetch") as update:

        def look() -> list[JsonObject] | None:
            files = [each for each in fleet.files() if text(each, "path") in wanted]
            copies = [len(set(words(each, "mirrors")) & set(mirrors)) for each in files]
            sizes = [number(each, "size_bytes") for each in files]
            done_bytes = sum(size * count for size, count in zip(sizes, copies, strict=True))
            update(f"{sum(copies)} of {len(wanted) * len(mirrors)} copies", done_bytes, sum(sizes) * len(mirrors))
            return files if sum(copies) == len(wanted) * len(mirrors) else None

        return wait_until(look, within_s=COPIES_TIMEOUT_S, what="every mirror holds every file")


def _download(fleet: Fleet, file: JsonObject, story: Story) -> ExitCode:
    path = text(file, "path")
    with tempfile.TemporaryDirectory(prefix="distributary-visitor-") as visitor:
        result = download(file_url(fleet.site_url, path), Path(visitor) / "download")
    exit_code = story.downloaded(result, path, text(file, "sha256"))
    answer = fleet.where(path, VISITOR)
    if story.output.json:
        story.output.line({"type": "where", **answer})
    else:
        story.output.text(f"\nwhere {path} --ip {VISITOR}:")
        print_where(story.output, answer)
    return exit_code


def _stay(story: Story) -> None:
    """Wait for Ctrl-C or a plain kill."""
    try:
        while True:
            signal.pause()
    except KeyboardInterrupt:
        story.output.note("\nending the fleet")
