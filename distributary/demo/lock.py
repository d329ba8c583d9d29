"""What of ``uv.lock`` this machine runs: names, versions and the hashes that its wheels may have. Pure."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

PROJECT = "distributary"


@dataclass(frozen=True, slots=True, order=True)
class Locked:
    """One package of the lock; ``hashes`` are of its wheels, for all platforms, as ``sha256:<hex>``."""

    name: str
    version: str
    hashes: tuple[str, ...]

    def requirement(self) -> str:
        """Write it as a line of pip's requirements file."""
        return f"{self.name}=={self.version} " + " ".join(f"--hash={each}" for each in self.hashes)


def locked_dependencies(lock_text: str, installed: Mapping[str, str]) -> list[Locked]:
    """Give what the project needs to run, itself left out, as far as it is installed here in the locked version.

    ``installed`` maps normalised names to versions: what a marker leaves out on this machine is not in it.
    """
    packages = {
        str(each["name"]): each for each in cast("list[dict[str, object]]", tomllib.loads(lock_text)["package"])
    }
    needed: set[str] = set()
    to_see = _dependencies(packages.get(PROJECT, {}))
    while to_see:
        name = to_see.pop()
        if name in needed or name not in packages or installed.get(name) != packages[name].get("version"):
            continue
        needed.add(name)
        to_see += _dependencies(packages[name])
    return sorted(locked for name in needed if (locked := _locked(packages[name])).hashes)


def _dependencies(package: Mapping[str, object]) -> list[str]:
    listed = cast("list[dict[str, object]]", package.get("dependencies", []))
    return [str(each["name"]) for each in listed]


def _locked(package: Mapping[str, object]) -> Locked:
    wheels = cast("list[dict[str, str]]", package.get("wheels", []))
    return Locked(str(package["name"]), str(package["version"]), tuple(each["hash"] for each in wheels))
