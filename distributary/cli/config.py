"""``distributary config``: what is in force, where it was written, and what is wrong with it."""

from __future__ import annotations

from typing import cast

import click
import msgspec

from distributary.cli.command import LazyGroup
from distributary.cli.invocation import current
from distributary.client import JsonObject
from distributary.config.load import ConfigError, Settings, is_secret
from distributary.config.schema import SECTIONS
from distributary.config.services.archive import archive_config
from distributary.config.services.master import master_config
from distributary.config.services.mirror import mirror_config
from distributary.config.services.selector import selector_config
from distributary.errors import UsageError

REDACTED = "(secret)"


@click.group(cls=LazyGroup, name="config")
def command() -> None:
    """Show and check the configuration."""


@command.command(name="show")
def show() -> None:
    """Print each setting that is in force with its origin. Secrets are not shown."""
    invocation = current()
    rows = shown(invocation.settings)
    output = invocation.output
    if output.json:
        output.snapshot("config", {"file": _file(invocation.settings), "settings": rows})
        return
    output.note(f"file: {_file(invocation.settings) or 'none; these are the defaults'}")
    cells = [(str(row["key"]), _cell(row["value"]), str(row["origin"])) for row in rows]
    output.table(("key", "value", "origin"), cells)


@command.command(name="check")
def check() -> None:
    """Check the configuration: every unknown key and wrong value, by line. Exits 2 where there is one."""
    invocation = current()
    settings = invocation.settings
    check_services(settings)
    output = invocation.output
    if output.json:
        output.snapshot("config.check", {"file": _file(settings), "ok": True})
    else:
        output.text(f"{_file(settings) or 'the defaults'}: ok")


def check_services(settings: Settings) -> None:
    """Let each service that is configured check its part, secrets included.

    Raises:
        ConfigError: with the problems of all of them.
    """
    site_is_here = settings.site.secret_file.exists() or settings.mirror is None
    makers = [master_config, selector_config] if site_is_here else []
    problems: list[str] = []
    archive = [archive_config] if settings.archive is not None else []
    mirror = [mirror_config] if settings.mirror is not None else []
    for make in (*makers, *archive, *mirror):
        try:
            make(settings)
        except UsageError as error:
            problems += error.problems if isinstance(error, ConfigError) else [error.message]
    if problems:
        raise ConfigError(list(dict.fromkeys(problems)))


def shown(settings: Settings) -> list[JsonObject]:
    """List every setting of the configured sections with its value and origin, secrets redacted."""
    rows: list[JsonObject] = []
    for name in SECTIONS:
        section = getattr(settings, name)
        if section is None:
            continue
        for key, value in msgspec.structs.asdict(section).items():
            plain = _plain(value)
            hidden = plain is not None and is_secret(name, key)
            rows.append(
                {
                    "key": f"{name}.{key}",
                    "value": REDACTED if hidden else plain,
                    "origin": settings.origins[name, key],
                }
            )
    return rows


def _plain(value: object) -> object:
    if isinstance(value, tuple):
        return list(cast("tuple[str, ...]", value))
    return value if value is None or isinstance(value, int | float) else str(value)


def _cell(value: object) -> str:
    if value is None:
        return "-"
    return ", ".join(cast("list[str]", value)) if isinstance(value, list) else str(value)


def _file(settings: Settings) -> str | None:
    return None if settings.file is None else str(settings.file)
