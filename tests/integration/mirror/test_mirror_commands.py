"""The operator's commands, as they are typed, against a mirror that runs."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from conftest import Stage

pytestmark = pytest.mark.processes


async def run(folder: Path, *arguments: str) -> tuple[int, str, str]:
    """Run ``distributary mirror`` in a folder."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "distributary", "mirror", *arguments),
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


async def test_what_a_killed_mirror_left_behind_is_no_running_one(stage: Stage, tmp_path: Path) -> None:
    (tmp_path / "distributary.toml").write_text(f'[mirror]\ndata_dir = "{stage.config.data_folder}"\n')
    stage.config.data_folder.mkdir()
    (stage.config.data_folder / "control.json").write_text('{"url": "http://127.0.0.1:9", "token": "old"}')
    code, _, err = await run(tmp_path, "drain", "--json")
    assert (code, json.loads(err)["error"]["code"]) == (5, "mirror_not_running")
