"""Find what is to be published: one file, or all files of a tree, each under its path in the catalogue.

Symbolic links are told of and not followed: a link can point anywhere, tomorrow elsewhere. Hidden files and folders
(``.git``, ``.DS_Store``) inside a tree are left out and counted; whoever wants one published names it.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from events.errors import InvalidNameError
from events.names import FilePath, parse_path
from master.errors import InvalidRequestError, NotFoundError, UnusableFileError

FILES_MAX: Final = 1_000_000  # of one request: a tree that large was most likely not meant
DEPTH_MAX: Final = 128  # more segments than a path of 1,024 bytes commonly has; bounds what walking keeps open


@dataclass(frozen=True, slots=True)
class Found:
    """A file to be published."""

    path: FilePath
    location: Path


@dataclass(frozen=True, slots=True)
class Unusable:
    """Something that cannot be published; ``path`` is for people."""

    path: str
    code: str
    message: str


@dataclass
class Haul:
    """What was found."""

    found: list[Found] = field(default_factory=list[Found])
    unusable: list[Unusable] = field(default_factory=list[Unusable])
    hidden: int = 0


def find(source: str, *, under: str | None) -> Haul:
    """Find what stands at ``source``. Blocks: call it in a thread.

    Args:
        source: an absolute path on this machine.
        under: the path of the file, or of the tree's root, in the catalogue; None for its own name. An empty one puts
            a tree's files at the top.

    Raises:
        InvalidRequestError: not an absolute path.
        NotFoundError: nothing is there.
    """
    location = _located(source)
    name = location.name if under is None else under
    haul = Haul()
    try:
        mode = location.lstat().st_mode
    except OSError as error:
        raise NotFoundError("source_missing", f"{shown(source)}: {error.strerror}") from error
    if stat.S_ISDIR(mode):
        _walk(location, name, haul)
    else:
        _take(location, name, mode, haul)
    return haul


def shown(text: str) -> str:
    """Write a path of the file system so that it can be sent: bytes that are no UTF-8 become question marks."""
    return text.encode("utf-8", "replace").decode()


def refusal(path: str, error: InvalidNameError | UnusableFileError) -> Unusable:
    """Tell why a file cannot be published."""
    if isinstance(error, InvalidNameError):
        return Unusable(shown(path), "path_invalid", shown(f"{error}"))
    return Unusable(shown(path), error.code, shown(f"{error.message}; {error.hint}" if error.hint else error.message))


def _located(source: str) -> Path:
    if "\0" in source or not os.path.isabs(source):  # noqa: PTH117 - pathlib would already have changed it
        raise InvalidRequestError(
            "source_invalid",
            f"{source!r} is no absolute path",
            hint="give the path on the master's disk, from the root",
        )
    location = Path(os.path.normpath(source))
    # The folder may be reached over links; what is published may not be one.
    return location.parent.resolve() / location.name if location.name else location


def _walk(root: Path, prefix: str, haul: Haul) -> None:
    def unreadable(error: OSError) -> None:
        name = str(error.filename)
        haul.unusable.append(Unusable(shown(name), "unreadable", shown(f"{name}: {error.strerror}")))

    for folder, folders, files, descriptor in os.fwalk(root, onerror=unreadable, follow_symlinks=False):
        inside = Path(folder).relative_to(root)
        haul.hidden += _leave_out_hidden(folders) + _leave_out_hidden(files)
        if len(inside.parts) >= DEPTH_MAX:
            folders.clear()
        for name in sorted(files + _links_among(folders, descriptor)):
            mode = os.stat(name, dir_fd=descriptor, follow_symlinks=False).st_mode
            _take(Path(folder) / name, "/".join(filter(None, (prefix, *inside.parts, name))), mode, haul)
        folders.sort()
        if len(haul.found) > FILES_MAX:
            raise InvalidRequestError(
                "tree_too_large", f"more than {FILES_MAX} files", hint="publish its folders one by one"
            )


def _leave_out_hidden(names: list[str]) -> int:
    """Take hidden names out of the list; give how many."""
    before = len(names)
    names[:] = [name for name in names if not name.startswith(".")]
    return before - len(names)


def _links_among(folders: list[str], descriptor: int) -> list[str]:
    """Give the names that ``fwalk`` counts among the folders because they link to one."""
    return list(_symbolic_links(folders, descriptor))


def _symbolic_links(names: list[str], descriptor: int) -> Iterator[str]:
    for name in names:
        if stat.S_ISLNK(os.stat(name, dir_fd=descriptor, follow_symlinks=False).st_mode):
            yield name


def _take(location: Path, path: str, mode: int, haul: Haul) -> None:
    try:
        _check_kind(location, mode)
        haul.found.append(Found(parse_path(path), location))
    except (InvalidNameError, UnusableFileError) as error:
        haul.unusable.append(refusal(path, error))


def _check_kind(location: Path, mode: int) -> None:
    if stat.S_ISLNK(mode):
        raise UnusableFileError("symlink", f"{location} is a symbolic link", hint="publish what it points to")
    if not stat.S_ISREG(mode):
        raise UnusableFileError("not_a_file", f"{location} is no regular file")
