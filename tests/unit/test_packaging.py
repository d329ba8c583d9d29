"""Our top-level packages have everyday names; nobody else may ship them into our environment, nor we forget one."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PACKAGES: list[str] = PYPROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]


@pytest.mark.parametrize("package", PACKAGES)
def test_no_other_distribution_ships_our_package(package: str) -> None:
    assert set(packages_distributions().get(package, [])) <= {"distributary"}
    module = __import__(package)
    assert Path(str(module.__file__)).is_relative_to(ROOT)


def test_every_package_is_shipped_and_has_its_import_directions_checked() -> None:
    folders = {each.parent.name for each in ROOT.glob("*/__init__.py")} - {"bench"}  # measures, and is not installed
    assert set(PACKAGES) == folders
    assert set(PYPROJECT["tool"]["importlinter"]["root_packages"]) == folders


def test_dockerfile_copies_every_package() -> None:
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    copied = {line.split()[1] for line in text.splitlines() if line.startswith("COPY")}
    assert set(PACKAGES) <= copied


def test_uv_has_one_version_everywhere() -> None:
    texts = [(ROOT / file).read_text(encoding="utf-8") for file in (".ci/setup", "Dockerfile")]
    versions = [re.findall(r"UV_VERSION=([0-9.]+)", text) for text in texts]
    assert versions[0] == versions[1]
    assert len(versions[0]) == 1
