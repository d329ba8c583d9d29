"""A site's folder: the configuration and its secrets, as ``distributary init`` writes them. What is there is kept."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from distributary.config.secrets import new_secret, write_private
from distributary.config.sources import FILE_NAME
from distributary.errors import UsageError

_CONFIG = """\
# A Distributary site. Every key with its meaning: docs/configuration.md; what is in force: distributary config show

[site]
# What visitors are given: the selector.
url = {site_url}
# Where mirrors and the command line reach the master.
master_url = {master_url}
secret_file = "site.secret"
admin_token_file = "admin.token"
# What links to files with `--access ticket` are signed with: docs/access.md
ticket_secret_file = "ticket.secret"

[broker]
url = {broker_url}
{management}
# Without management_url, mirrors can be invited only if each may have the user above, and with it the whole site:
# shared_user = true
# The virtual host must be this site's alone.

[master]
listen = {master_listen}
data_dir = "master"

{archive}[selector]
listen = {selector_listen}
"""


_ARCHIVE = """\
# The log in a database, for years: docs/archive.md. Without this section nothing outlasts what the broker keeps.
[archive]
listen = {archive_listen}
data_dir = "archive"

"""


@dataclass(frozen=True, slots=True, kw_only=True)
class SitePlan:
    """What goes into a new site's configuration. ``archive_listen`` is None for a site without an archive."""

    site_url: str = "http://127.0.0.1:8080"
    master_url: str = "http://127.0.0.1:8081"
    broker_url: str = "amqp://guest:guest@127.0.0.1:5672/"
    management_url: str | None = None
    master_listen: str = "127.0.0.1:8081"
    selector_listen: str = "127.0.0.1:8080"
    archive_listen: str | None = "127.0.0.1:8090"


def write_site(folder: Path, plan: SitePlan) -> dict[str, bool]:
    """Write what is missing; tell for each file whether it is new. Nothing that exists is touched.

    Raises:
        UsageError: the folder cannot be written.
    """
    secrets = {name: new_secret() + "\n" for name in ("site.secret", "admin.token", "ticket.secret")}
    contents = {FILE_NAME: _config(plan), **secrets}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return {name: _write_missing(folder / name, text) for name, text in contents.items()}
    except OSError as error:
        raise unwritable(folder, error) from error


def unwritable(folder: Path, error: OSError) -> UsageError:
    """Say that a folder cannot be written, and what to do."""
    return UsageError(
        "folder_unwritable",
        f"{folder} cannot be written: {error.strerror}",
        hint="name a folder that is yours, or give this one to the user who runs the command",
    )


def _write_missing(path: Path, text: str) -> bool:
    if path.exists():
        return False
    # The configuration may hold the broker's password, so it is private, too.
    write_private(path, text)
    return True


def _config(plan: SitePlan) -> str:
    management = (
        f"management_url = {toml_text(plan.management_url)}"
        if plan.management_url
        else '# management_url = "http://user:password@127.0.0.1:15672"   # gives each mirror its own broker user'
    )
    return _CONFIG.format(
        site_url=toml_text(plan.site_url),
        master_url=toml_text(plan.master_url),
        broker_url=toml_text(plan.broker_url),
        management=management,
        master_listen=toml_text(plan.master_listen),
        selector_listen=toml_text(plan.selector_listen),
        archive=_ARCHIVE.format(archive_listen=toml_text(plan.archive_listen)) if plan.archive_listen else "",
    )


def toml_text(text: str) -> str:
    """Write text as a TOML basic string (TOML 1.0: JSON's escapes are among its own)."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
