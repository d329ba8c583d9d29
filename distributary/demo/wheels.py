"""Real release files for the demo: the wheels of the project's own locked dependencies, fetched by pip.

They are kept in the project's ``.cache``; pip checks each against the lock's hashes, and we do again before use.
"""

from __future__ import annotations

import hashlib
import importlib.util
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib.metadata import distributions
from pathlib import Path
from typing import Final

from distributary.demo.lock import Locked, locked_dependencies
from distributary.errors import UnavailableError

PROJECT_FOLDER: Final = Path(__file__).resolve().parent.parent.parent
CACHE: Final = Path(".cache") / "demo-wheels"
TOOLS: Final = Path(".cache") / "tools"
DOWNLOAD_TIMEOUT_S: Final = 600.0  # 20 MB; a slow line needs minutes
ERROR_CHARS: Final = 600

_NAME_RUN: Final = re.compile(r"[-_.]+")


def collect_wheels() -> Path:
    """Give a folder with the wheels, fetching what is missing.

    Raises:
        UnavailableError: they cannot be had; a folder of one's own files does as well.
    """
    lock_file = PROJECT_FOLDER / "uv.lock"
    if not lock_file.is_file():
        raise _unavailable("this is no source tree: there is no uv.lock that names the release files")
    locked = locked_dependencies(lock_file.read_text(encoding="utf-8"), _installed())
    folder = PROJECT_FOLDER / CACHE
    if len(_sound_wheels(folder, locked)) < len(locked):
        _download(locked, folder)
    sound = _sound_wheels(folder, locked)
    if not sound:
        raise _unavailable("pip fetched no wheel that the lock names")
    for stray in set(folder.iterdir()) - set(sound):
        stray.unlink()
    return folder


def _installed() -> dict[str, str]:
    return {_NAME_RUN.sub("-", each.metadata["Name"]).lower(): each.version for each in distributions()}


def _sound_wheels(folder: Path, locked: Sequence[Locked]) -> list[Path]:
    known = {each for package in locked for each in package.hashes}
    return [wheel for wheel in sorted(folder.glob("*.whl")) if f"sha256:{_sha256(wheel)}" in known]


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _download(locked: Sequence[Locked], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    said = "no pip and no uv on this machine"
    with tempfile.NamedTemporaryFile("w", suffix=".txt", encoding="utf-8") as requirements:
        requirements.write("\n".join(each.requirement() for each in locked) + "\n")
        requirements.flush()
        for pip in _pips():
            said = _run([*pip, *_download_arguments(folder, requirements.name)])
            if not said:
                return
    raise _unavailable(said)


def _download_arguments(folder: Path, requirements: str) -> list[str]:
    return [
        "download", "--quiet", "--disable-pip-version-check", "--no-deps", "--only-binary", ":all:", "--require-hashes",
        "--dest", str(folder), "--requirement", requirements,
    ]  # fmt: skip


def _pips() -> list[list[str]]:
    """Give the ways to pip on this machine, best first. Its Python must be ours in version, for the same wheels."""
    pips: list[list[str]] = []
    if importlib.util.find_spec("pip") is not None:
        pips.append([sys.executable, "-m", "pip"])
    base = Path(sys.base_prefix) / "bin" / f"python{sys.version_info.major}.{sys.version_info.minor}"
    if base.exists() and sys.prefix != sys.base_prefix:
        pips.append([str(base), "-m", "pip"])
    uvs = [shutil.which("uv"), *map(str, (PROJECT_FOLDER / TOOLS).glob("uv-*/bin/uv"))]
    pips += [[uv, "tool", "run", "--python", sys.executable, "pip"] for uv in uvs if uv]
    return pips


def _run(command: Sequence[str]) -> str:
    """Run pip; give the end of what it complained about, or nothing."""
    try:
        done = subprocess.run(  # noqa: S603 - pip, as found on this machine
            command, capture_output=True, text=True, timeout=DOWNLOAD_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return (done.stderr.strip()[-ERROR_CHARS:] or "pip failed") if done.returncode else ""


def _unavailable(reason: str) -> UnavailableError:
    return UnavailableError(
        "demo_files_unavailable",
        f"the demo's release files cannot be fetched: {reason}",
        hint="give a folder of your own files: `distributary demo FOLDER`",
    )
