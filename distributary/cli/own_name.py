"""How this command is called from where it was called, for the commands that it suggests. Pure."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Final

NAME: Final = "distributary"


def own_name(argv0: str, executable: str, cwd: Path, which: Callable[[str], str | None] = shutil.which) -> str:
    """Give what to type in place of ``distributary``: the name where it is found, else the path, shell-quoted.

    A path under ``cwd`` is written from there; a command that was run as a module is named as one.
    """
    if which(NAME) is not None:
        return NAME
    script = cwd / argv0
    if script.name == NAME and script.exists():
        return shlex.quote(_from(cwd, script))
    return f"{shlex.quote(_from(cwd, Path(executable)))} -m {NAME}"


def _from(cwd: Path, path: Path) -> str:
    return str(path.relative_to(cwd)) if path.is_relative_to(cwd) else str(path)
