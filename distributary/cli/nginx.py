"""``distributary mirror nginx``: nginx's configuration for the mirror of this configuration."""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit

import click

from distributary.cli.command import Command
from distributary.cli.invocation import current
from distributary.cli.output import WARNING
from distributary.config.load import Settings
from distributary.config.schema import MirrorSection
from distributary.errors import UsageError
from mirror.config import Serving, open_connections
from mirror.serving.external import FOLDER_NAME, LOG_NAME, REQUESTS_NAME, SOCKET_NAME
from mirror.serving.nginx import NginxPlan, snippet

NOT_YET: Final = (
    'this mirror sends its files itself and does not use nginx yet: set serve = "external" in [mirror] (or start '
    "it with --serve external), listen to an address for nginx alone, and trusted_proxies to nginx's (docs/external.md)"
)
_PORTS: Final = {"http": 80, "https": 443}


@click.command(cls=Command, name="nginx")
def command() -> None:
    """Print the nginx configuration that lets nginx send this mirror's files (serve = "external")."""
    invocation = current()
    settings = invocation.settings
    written = snippet(plan_of(settings))
    if settings.mirror is not None and Serving(settings.mirror.serve) is not Serving.EXTERNAL:
        invocation.output.note(NOT_YET, style=WARNING)
    if invocation.output.json:
        invocation.output.snapshot("mirror.nginx", {"configuration": written})
    else:
        click.echo(written, nl=False)


def plan_of(settings: Settings) -> NginxPlan:
    """Say what nginx has to know of a mirror.

    Raises:
        UsageError: no mirror is configured.
    """
    section = settings.mirror
    if section is None:
        raise UsageError(
            "mirror_unconfigured",
            f"{settings.file or 'the configuration'} has no [mirror]",
            hint="name the mirror's folder by --config",
        )
    folder = section.data_dir.resolve()
    listen, server_name = _public(section)
    return NginxPlan(
        name=server_name,
        listen=listen,
        server_name=server_name,
        mirror=str(section.listen),
        objects=str(folder / "obj"),
        requests=str(folder / FOLDER_NAME / REQUESTS_NAME),
        accounts=str(folder / FOLDER_NAME / SOCKET_NAME),
        log_file=str(folder / FOLDER_NAME / LOG_NAME),
        connections_per_address=open_connections(section.connections_per_address),
    )


def _public(section: MirrorSection) -> tuple[str, str]:
    """Give where visitors reach nginx, from the mirror's URL: what to listen on, and the name."""
    if section.url is None:
        raise UsageError(
            "url_missing", "mirror.url is not set, so nginx's port is not known", hint="write what visitors reach"
        )
    parts = urlsplit(section.url)
    port = parts.port or _PORTS.get(parts.scheme, 80)
    return f"{port}{' ssl' if parts.scheme == 'https' else ''}", parts.hostname or "_"
