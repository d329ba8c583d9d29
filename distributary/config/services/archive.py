"""What the archiver is told."""

from __future__ import annotations

from distributary.config.load import Settings
from distributary.config.services.shared import broker_config, checked, retentions
from distributary.errors import UsageError
from history.archive.config import ArchiveConfig
from history.privacy import Addresses


def archive_config(settings: Settings) -> ArchiveConfig:
    """Configure the archiver.

    Raises:
        ConfigError: with all problems.
        UsageError: no archive is configured.
    """
    section = settings.archive
    if section is None:
        raise UsageError(
            "archive_unconfigured",
            f"{settings.file or 'the configuration'} has no [archive]",
            hint="write a line with [archive] there; its keys have defaults (docs/archive.md)",
        )
    config = ArchiveConfig(
        listen_host=section.listen.host,
        listen_port=section.listen.port,
        data_folder=section.data_dir,
        database_url=section.database_url,
        broker=broker_config(settings, name="archiver"),
        log=retentions(settings).log,
        addresses=Addresses(section.addresses),
        addresses_days=section.addresses_days,
    )
    return checked(config, settings, "archive")
