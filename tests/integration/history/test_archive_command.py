"""``distributary archive`` over an archive in a site's folder."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from distributary.cli.app import root
from distributary.config.load import load
from distributary.config.services.archive import archive_config
from distributary.exits import ExitCode
from distributary.site_folder import SitePlan, write_site
from events.codec import encode
from events.examples import EXAMPLES
from events.routing import address_of
from events.schemas import tag_of
from events.schemas.fields import NS_PER_S
from history.archive.gap import Gap, GapKind
from history.archive.row import row_of
from history.archive.standing import Standing
from history.archive.store.database import open_database
from history.archive.store.projecting import Projection
from history.entry import Entry

NOW_NS = 1_700_000_000 * NS_PER_S
GAP = Gap(kind=GapKind.LOST, noticed_at_ns=NOW_NS, generation=1, after_offset=2, next_offset=None, detail="ruined")

Run = Callable[..., tuple[int, dict[str, Any]]]


async def fill(database_url: str) -> None:
    """Archive one event of each type, and a gap."""
    entries = [
        Entry(2, offset, (at := address_of(each.event)).exchange, at.routing_key, each.id, tag_of(each.event), "", body)
        for offset, each in enumerate(EXAMPLES.values())
        if (body := encode(each))
    ]
    rows = [
        row_of(entry, number=number, vhost="v", log_time_ns=NOW_NS, now_ns=NOW_NS)
        for number, entry in enumerate(entries, 1)
    ]
    standing = Standing(len(rows), 2, entries[-1].offset, entries[-1].message_id, NOW_NS)
    async with open_database(database_url) as database:
        await database.append(rows, standing=standing, before=Standing(), gap=GAP)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """The command over a site with an archive, whose archiver does not run."""
    write_site(tmp_path, SitePlan(archive_listen="127.0.0.1:1"))
    settings = load(config=tmp_path, overrides=(), environ={}, cwd=tmp_path)
    asyncio.run(fill(archive_config(settings).store_url))

    def run_it(*arguments: str) -> tuple[int, dict[str, Any]]:
        done = CliRunner().invoke(root, ["archive", *arguments, "--json", "--config", str(tmp_path)])
        return done.exit_code, json.loads((done.stdout or done.stderr).splitlines()[-1])

    return run_it


def test_status_tells_place_gaps_and_that_the_archiver_is_not_there(run: Run) -> None:
    exit_code, told = run("status")
    assert exit_code == 0
    assert (told["schema"], told["events"]) == ("distributary/archive/1", len(EXAMPLES))
    assert told["place"] == f"g2:{len(EXAMPLES) - 1}"
    assert [gap["kind"] for gap in told["gaps"]] == ["lost"]
    assert told["archiver"].startswith("offline: ")


def test_rebuild_makes_all_projections_or_one(run: Run) -> None:
    assert run("rebuild", "readiness")[1]["projections"] == [{"name": "readiness", "number": len(EXAMPLES)}]
    exit_code, told = run("rebuild")
    assert (exit_code, told["type"]) == (0, "done")
    assert [each["name"] for each in told["projections"]] == [each.value for each in Projection]


def test_forget_counts_first_wants_a_yes_and_then_does_it(run: Run) -> None:
    before = ("forget", "--before", "2024-01-01")
    dry = run(*before, "--dry-run")[1]
    assert dry["events"] > 0
    assert dry["changed"] == 0
    assert run(*before)[0] == ExitCode.USAGE
    assert run(*before, "--yes")[1]["changed"] == dry["events"]
    assert run(*before, "--dry-run")[1]["events"] == 0


@pytest.mark.parametrize("before", ["g1:7", "yesteryear"])
def test_forget_wants_a_time(run: Run, before: str) -> None:
    assert run("forget", "--before", before, "--yes")[0] == ExitCode.USAGE


def test_a_site_without_an_archive_is_told_how_to_have_one(tmp_path: Path) -> None:
    write_site(tmp_path, SitePlan(archive_listen=None))
    done = CliRunner().invoke(root, ["archive", "status", "--json", "--config", str(tmp_path)])
    assert done.exit_code == ExitCode.USAGE
    assert json.loads(done.stderr)["error"]["code"] == "archive_unconfigured"


def test_an_archive_that_nobody_wrote_yet_is_unavailable(tmp_path: Path) -> None:
    write_site(tmp_path, SitePlan())
    done = CliRunner().invoke(root, ["archive", "status", "--json", "--config", str(tmp_path)])
    assert done.exit_code == ExitCode.UNAVAILABLE
    assert not (tmp_path / "archive").exists()
