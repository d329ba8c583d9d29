"""The root of all commands, with a line for each. Nothing else is imported for ``--help``."""

from __future__ import annotations

import click

from distributary.cli.command import LazyGroup

COMMANDS = {
    "init": ("init", "Write a site's folder: configuration, secret and administrator's token."),
    "demo": ("demo", "Run a whole fleet on this machine and download from it."),
    "serve": ("serve", "Run a role: master, selector, archiver, mirror, or all."),
    "publish": ("publish", "Publish files or whole trees."),
    "hold": ("hold", "Files that mirrors fetch already and visitors do not get yet."),
    "release": ("release", "Let visitors have what was held."),
    "withdraw": ("withdraw", "Take a file out of the catalogue."),
    "revoke": ("revoke", "Take back links that were given before now."),
    "ticket": ("ticket", "Make a link that expires, to a file that needs one."),
    "channel": ("channel", "Channels and their filters."),
    "mirror": ("mirror", "Invite, join, list and remove mirrors; pause, limit and watch your own."),
    "ls": ("ls", "List files, and which mirrors hold them."),
    "status": ("status", "How the site fares, and why."),
    "where": ("where", "Explain which mirror a visitor would get, and why not the others."),
    "archive": ("archive", "The log in a database: how it stands, what is made of it."),
    "events": ("events.group", "The log of all that happened: follow, list, replay, audit and keep it."),
    "config": ("config", "Show and check the configuration."),
}

EXAMPLES = """\b
Examples:
  distributary demo --exit                         everything once, on this machine
  distributary init                                then: distributary serve all
  distributary channel set iso --min-size 1MB
  distributary publish ./release -c iso
  distributary mirror invite ana -c iso
  distributary where release/a.iso --ip 203.0.113.9
"""


@click.group(
    cls=LazyGroup, lazy=COMMANDS, name="distributary", help=EXAMPLES, epilog="Exit codes and JSON shapes: docs/cli.md"
)
@click.version_option(package_name="distributary", message="distributary %(version)s")
def root() -> None:
    """Keep the common options; the sub-command does the work."""
