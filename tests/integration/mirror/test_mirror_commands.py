"""The operator's commands, as they are typed, against a mirror that runs."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from events.schemas import ReplicaLost

if TYPE_CHECKING:
    from conftest import Stage

pytestmark = pytest.mark.processes


async def run(folder: Path, *arguments: str, command: str = "mirror") -> tuple[int, str, str]:
    """Run ``distributary mirror``, or another command, in a folder."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "distributary", command, *arguments),
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


async def told(folder: Path, *arguments: str) -> dict[str, Any]:
    code, out, err = await run(folder, *arguments, "--json")
    assert code == 0, err
    return json.loads(out)


async def test_the_operator_runs_his_mirror_by_commands(stage: Stage, tmp_path: Path) -> None:
    (tmp_path / "distributary.toml").write_text(f'[mirror]\ndata_dir = "{stage.config.data_folder}"\n')
    async with stage.running():
        await stage.publish_ready("dir/a.iso", b"content")
        assert (await told(tmp_path, "show"))["schema"] == "distributary/mirror.own/1"
        assert (await run(tmp_path, "pause", "--for", "0.5h"))[1].startswith("ana is paused until 20")
        assert (await run(tmp_path, "resume"))[1] == "ana is open\n"
        code, _, err = await run(tmp_path, "pause", "--for", "400d", "--json")
        assert (code, json.loads(err)["error"]["message"]) == (2, "a pause lasts 366d at most")
        state = await told(tmp_path, "set", "--monthly", "50GB", "--hours", "none", "--slots", "3", "--rate", "10MB")
        assert {each["name"]: each["value"] for each in state["limits"] if each["from"] == "set"} == {
            "monthly_bytes": 50_000_000_000,
            "hours": "",
            "slots": 3,
            "rate_bytes_per_second": 10_000_000,
        }
        _, shown, _ = await run(tmp_path, "show")
        assert "0 of 3 taken" in shown
        assert "50 GB left until" in shown
        assert (await run(tmp_path, "set", "--slots", "config"))[0] == 0
        code, _, err = await run(tmp_path, "set", "--hours", "22-7", "--json")
        assert (code, json.loads(err)["error"]["code"]) == (2, "setting_unfit")
        assert (await run(tmp_path, "leave"))[0] == 2, "nobody can be asked"
        assert (await run(tmp_path, "leave", "--yes"))[1].startswith("ana left the fleet")
        assert (await run(tmp_path, "show"))[1].startswith("mirror    ana, left the fleet: left by its operator\n")
        code, _, err = await run(tmp_path, "leave")
        assert code == 4
        assert "left the fleet already: left by its operator" in err
        assert "new invitation" in err
    code, _, err = await run(tmp_path, "show", "--json")
    assert (code, json.loads(err)["error"]["code"]) == (5, "mirror_not_running")


async def test_what_had_to_make_room_is_named_with_the_reason(stage: Stage, tmp_path: Path) -> None:
    (tmp_path / "distributary.toml").write_text(f'[mirror]\ndata_dir = "{stage.config.data_folder}"\n')
    async with stage.running():
        await stage.publish_ready("dir/a.iso", bytes(600_000))
        assert (await run(tmp_path, "set", "--disk", "500kB"))[0] == 0
        await stage.log.until(ReplicaLost)
        state = await told(tmp_path, "show")
        assert state["holds"]["evicted"] == 1
        assert [each["path"] for each in state["evicted"]] == ["dir/a.iso"]
        shown = (await run(tmp_path, "show"))[1]
        assert "0 of 1 files, 0 B of 500 kB" in shown
        assert "1 evicted: no room under the disk limit" in shown
        assert "dir/a.iso" in shown


async def test_a_mirror_that_the_master_knows_no_more_ends_with_a_code_of_its_own(stage: Stage, tmp_path: Path) -> None:
    credentials = stage.config.credentials
    content = {
        "mirror": "ana",
        "broker_url": credentials.broker_url,
        "token": credentials.token,
        "grant_keys": {"1": "00" * 32},
        "master_url": credentials.master_url,
        "site_url": credentials.site_url,
    }
    (tmp_path / "credentials.json").write_text(json.dumps(content))
    (tmp_path / "distributary.toml").write_text(
        '[mirror]\ndata_dir = "data"\ncredentials_file = "credentials.json"\nlisten = "127.0.0.1:0"\n'
        'url = "http://127.0.0.1:9"\n'
    )
    stage.master.knows_us = False
    code, out, err = await run(tmp_path, "mirror", "--json", command="serve")
    assert (code, out) == (4, "")
    assert json.loads(err.splitlines()[-1])["error"]["code"] == "not_a_member"


async def test_a_mirror_that_does_without_nginx_says_so_beside_its_configuration(tmp_path: Path) -> None:
    config = tmp_path / "distributary.toml"
    config.write_text('[mirror]\nurl = "http://files.example.org"\n')
    code, out, err = await run(tmp_path, "nginx")
    assert (code, "server {" in out) == (0, True)
    assert 'set serve = "external"' in err
    config.write_text('[mirror]\nurl = "http://files.example.org"\nserve = "external"\n')
    assert (await run(tmp_path, "nginx"))[2] == ""


async def test_what_a_killed_mirror_left_behind_is_no_running_one(stage: Stage, tmp_path: Path) -> None:
    (tmp_path / "distributary.toml").write_text(f'[mirror]\ndata_dir = "{stage.config.data_folder}"\n')
    stage.config.data_folder.mkdir()
    (stage.config.data_folder / "control.json").write_text('{"url": "http://127.0.0.1:9", "token": "old"}')
    code, _, err = await run(tmp_path, "drain", "--json")
    assert (code, json.loads(err)["error"]["code"]) == (5, "mirror_not_running")
