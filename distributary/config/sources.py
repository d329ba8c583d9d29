"""Where settings come from, highest first: ``--set``, the environment, the file. Reading, no judging.

The file is ``--config``, else ``$DISTRIBUTARY_CONFIG``, else ``./distributary.toml``, else
``/etc/distributary/distributary.toml``, else none. Every setting has a variable ``DISTRIBUTARY_<SECTION>_<KEY>``;
two have the short names that people and containers already use.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, cast

from distributary.config.lines import Lines, key_lines
from distributary.errors import UsageError

CONFIG_VARIABLE: Final = "DISTRIBUTARY_CONFIG"
VARIABLE_PREFIX: Final = "DISTRIBUTARY_"
SHORT_VARIABLES: Final = {
    "DISTRIBUTARY_AMQP_URL": ("broker", "url"),
    "DISTRIBUTARY_MANAGEMENT_URL": ("broker", "management_url"),
}
# What is no setting of a role: where the file is, the short names, and what the demo and the tests take.
OTHER_VARIABLES: Final = (CONFIG_VARIABLE, *SHORT_VARIABLES, "DISTRIBUTARY_RABBITMQ_IMAGE")
FILE_NAME: Final = "distributary.toml"
SYSTEM_FILE: Final = Path("/etc/distributary") / FILE_NAME


@dataclass(frozen=True, slots=True)
class Value:
    """One setting as it was written, and where: ``distributary.toml:12``, ``$DISTRIBUTARY_AMQP_URL``, ``--set``."""

    raw: object
    origin: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """All that was written. ``values`` holds the winner for each (section, key), known or not."""

    file: Path | None
    folder: Path
    values: dict[tuple[str, str], Value] = field(default_factory=dict[tuple[str, str], Value])
    problems: tuple[str, ...] = ()


def read_sources(
    *, config: Path | None, overrides: Sequence[str], environ: Mapping[str, str], cwd: Path, known: set[tuple[str, str]]
) -> Sources:
    """Find and read the file, then lay the environment and the overrides over it.

    Raises:
        UsageError: a file that was asked for by name is not there or cannot be read.
    """
    path = _find(config, environ, cwd)
    values, problems = _from_file(path) if path is not None else ({}, [])
    values |= _from_environment(environ, known)
    overriding, override_problems = _from_overrides(overrides)
    values |= overriding
    folder = path.resolve().parent if path is not None else cwd
    return Sources(file=path, folder=folder, values=values, problems=(*problems, *override_problems))


def _find(config: Path | None, environ: Mapping[str, str], cwd: Path) -> Path | None:
    named = config if config is not None else (Path(text) if (text := environ.get(CONFIG_VARIABLE)) else None)
    if named is not None:
        file = cwd / named
        return file / FILE_NAME if file.is_dir() else file
    return next((candidate for candidate in (cwd / FILE_NAME, SYSTEM_FILE) if candidate.is_file()), None)


def _from_file(path: Path) -> tuple[dict[tuple[str, str], Value], list[str]]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise UsageError(
            "config_unreadable", f"{path}: {reason}", hint="write one with `distributary init`, or name it by --config"
        ) from error
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        return {}, [f"{path}: not TOML: {error}"]
    return _flatten(document, path, key_lines(text))


def _flatten(document: dict[str, object], path: Path, lines: Lines) -> tuple[dict[tuple[str, str], Value], list[str]]:
    values: dict[tuple[str, str], Value] = {}
    problems: list[str] = []
    for section, content in document.items():
        if not isinstance(content, dict):
            problems.append(f"{path}:{lines.get(('', section), 1)}: {section!r} stands outside of any [section]")
            continue
        values[section, ""] = Value(None, f"{path}:{lines.get((section, ''), 1)}")
        for key, raw in cast("dict[str, object]", content).items():
            values[section, key] = Value(raw, f"{path}:{lines.get((section, key), 1)}")
    return values, problems


def variable_of(section: str, key: str) -> str:
    """Name the variable of a setting."""
    return f"{VARIABLE_PREFIX}{section}_{key}".upper()


def _from_environment(environ: Mapping[str, str], known: set[tuple[str, str]]) -> dict[tuple[str, str], Value]:
    """Take the variables that name a setting. Other programs may use the prefix, so the rest is not judged here."""
    names = {variable_of(section, key): (section, key) for section, key in known if key}
    return {
        place: Value(environ[variable], f"${variable}")
        for variable, place in (*names.items(), *SHORT_VARIABLES.items())
        if environ.get(variable)
    }


def _from_overrides(overrides: Sequence[str]) -> tuple[dict[tuple[str, str], Value], list[str]]:
    values: dict[tuple[str, str], Value] = {}
    problems: list[str] = []
    for override in overrides:
        name, equals, raw = override.partition("=")
        section, dot, key = name.strip().partition(".")
        if not equals or not dot or not section or not key:
            problems.append(f"--set {override}: write SECTION.KEY=VALUE, like master.listen=127.0.0.1:8081")
            continue
        values[section, key] = Value(raw.strip(), f"--set {section}.{key}")
    return values, problems
