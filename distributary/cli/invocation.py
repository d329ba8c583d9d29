"""One run of the command: what holds for all sub-commands (``--json``, ``--color``, ``--config``, ``--set``).

It is the only place that reads the environment, and it makes what commands need from it: settings, clients, output.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final

import click

from distributary.cli.colour import Colour, wants_colour

if TYPE_CHECKING:
    from distributary.cli.output import Output
    from distributary.client import Api
    from distributary.config.load import Settings

_LOOPBACK: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - what is listened on everywhere is asked here


@dataclass(slots=False, kw_only=True)
class Invocation:
    """The common options, and what is made from them when a command first asks for it."""

    json: bool = False
    colour: Colour = Colour.AUTO
    config: Path | None = None
    overrides: list[str] = field(default_factory=list[str])
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)

    @cached_property
    def settings(self) -> Settings:
        """Read the configuration, once."""
        from distributary.config.load import load  # noqa: PLC0415 - help must not pay for it

        return load(config=self.config, overrides=self.overrides, environ=self.environ, cwd=Path.cwd())

    @cached_property
    def output(self) -> Output:
        """Where the command writes to."""
        from distributary.cli.output import Output  # noqa: PLC0415 - help must not pay for it

        return Output(json=self.json, colour=self.wants_colour)

    def wants_colour(self, stream: IO[str]) -> bool:
        """Decide for one stream."""
        return wants_colour(self.colour, self.environ, is_tty=stream.isatty())

    def master(self) -> Api:
        """Give the master's interface, with the administrator's token."""
        from distributary.client import Api  # noqa: PLC0415 - help must not pay for it
        from distributary.config.secrets import read_admin_token  # noqa: PLC0415

        site = self.settings.site
        token = read_admin_token(self.settings)
        return Api(site.master_url, role="master", token=token, token_from=str(site.admin_token_file))

    def selector(self) -> Api:
        """Give the selector's interface."""
        from distributary.client import Api  # noqa: PLC0415 - help must not pay for it

        return Api(self.settings.site.url, role="selector")

    def archiver(self) -> Api:
        """Give the archiver's interface, on this machine.

        Raises:
            UsageError: no archive is configured.
        """
        from distributary.client import Api  # noqa: PLC0415 - help must not pay for it
        from distributary.config.services.archive import archive_config  # noqa: PLC0415

        config = archive_config(self.settings)
        host = _LOOPBACK.get(config.listen_host, config.listen_host)
        return Api(f"http://{f'[{host}]' if ':' in host else host}:{config.listen_port}", role="archiver")


def current() -> Invocation:
    """Give the invocation of the command that runs now."""
    return click.get_current_context().ensure_object(Invocation)


def stdin_is_terminal() -> bool:
    """Tell whether a person can be asked."""
    return sys.stdin.isatty()
