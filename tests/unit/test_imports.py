"""The import contracts catch what they are for: each forbidden import, planted in a copy of the tree, is refused."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Final, cast

import pytest

ROOT: Final = Path(__file__).parents[2]
LINT: Final = Path(sys.executable).with_name("lint-imports")
WIDE: Final = {"COLUMNS": "250"}  # no name of a contract is folded
FUTURE: Final = "from __future__ import annotations\n"

LAYERS: Final = "Services stand on broker and edge"
PURE_EVENTS: Final = "events is pure"
PURE_DECISIONS: Final = "What services and the broker decide, they decide purely"
AMQP: Final = "Only broker.rabbitmq speaks AMQP"
SQL: Final = "Only the stores speak SQL"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of all packages and of the contracts."""
    for package in packages():
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def packages() -> list[str]:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    return cast("list[str]", settings["tool"]["importlinter"]["root_packages"])


def plant(tree: Path, module: str, imported: str) -> None:
    """Let a module import another at its top."""
    file = (tree / module.replace(".", "/")).with_suffix(".py")
    source = file.read_text()
    assert FUTURE in source
    file.write_text(source.replace(FUTURE, f"{FUTURE}\nimport {imported}\n", 1))


def lint(tree: Path) -> tuple[int, str]:
    """Judge a tree; give the exit code and what was said."""
    done = subprocess.run(  # noqa: S603 - the linter of our own environment
        [LINT, "--no-cache"], cwd=tree, env={**os.environ, **WIDE}, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout + done.stderr


def broken(told: str) -> list[str]:
    """Give the names of the contracts that were broken."""
    return [line.partition(" BROKEN")[0] for line in told.splitlines() if " BROKEN" in line]


def test_tree_as_it_is_keeps_all_contracts(tree: Path) -> None:
    exit_code, told = lint(tree)
    assert exit_code == 0, told
    assert broken(told) == []


@pytest.mark.parametrize(
    ("module", "imported", "contract"),
    [
        pytest.param("master.catalogue", "mirror.state.plan", LAYERS, id="a service imports another service"),
        pytest.param("broker.port", "selection.view.fleet", LAYERS, id="the broker's port imports a service"),
        pytest.param("events.names", "asyncio", PURE_EVENTS, id="events import asyncio"),
        pytest.param("selection.policy.policy", "time", PURE_DECISIONS, id="the policy reads the clock"),
        pytest.param("mirror.app", "aio_pika", AMQP, id="a mirror speaks AMQP by itself"),
        pytest.param("selection.following.follower", "sqlalchemy", SQL, id="a selector speaks SQL"),
    ],
)
def test_forbidden_import_breaks_its_contract(tree: Path, module: str, imported: str, contract: str) -> None:
    plant(tree, module, imported)
    exit_code, told = lint(tree)
    assert exit_code == 1, told
    assert any(name.startswith(contract) for name in broken(told)), told
    assert f"{module} -> {imported} (" in told, "the import itself is named, with its line"
