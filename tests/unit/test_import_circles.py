"""No module imports itself by way of others, not even for types alone."""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Collection, Iterator
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Final, cast

ROOT: Final = Path(__file__).parents[2]


def packages() -> list[str]:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    return cast("list[str]", settings["tool"]["importlinter"]["root_packages"])


def modules() -> dict[str, Path]:
    files = [file for package in packages() for file in (ROOT / package).rglob("*.py")]
    return {".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): file for file in files}


def imported(file: Path, known: Collection[str]) -> Iterator[str]:
    """Give all that a file imports, within functions and for types alone, too."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (each.name for each in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            names = [f"{node.module}.{each.name}" for each in node.names]
            yield from (name if name in known else node.module for name in names)


def test_no_modules_import_each_other_in_a_circle() -> None:
    known = modules()
    assert len(known) > 100, "the packages were found"
    graph = {name: (known.keys() & set(imported(file, known))) - {name} for name, file in known.items()}
    TopologicalSorter(graph).prepare()  # names the circle
