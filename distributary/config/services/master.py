"""What the master is told."""

from __future__ import annotations

from distributary.config.load import Settings
from distributary.config.secrets import read_admin_token, read_site_secret
from distributary.config.services.shared import broker_config, checked, retentions
from master.checksums import Checksum
from master.config import MasterConfig


def master_config(settings: Settings) -> MasterConfig:
    """Configure the master.

    Raises:
        ConfigError: with all problems.
        UsageError: a secret cannot be read.
    """
    section = settings.master
    config = MasterConfig(
        listen_host=section.listen.host,
        listen_port=section.listen.port,
        public_url=settings.site.master_url,
        site_url=settings.site.url,
        data_folder=section.data_dir,
        database_url=section.database_url,
        broker=broker_config(settings, name="master"),
        retentions=retentions(settings),
        mirrors_broker_url=settings.broker.mirror_url,
        shared_broker_user=settings.broker.shared_user,
        secret=read_site_secret(settings),
        admin_token=read_admin_token(settings),
        proxies=section.trusted_proxies,
        slots=section.slots,
        seeds_max=section.seeds_max,
        escape_after_s=float(section.escape_after),
        mirror_rate=None if section.mirror_rate is None else int(section.mirror_rate),
        checksums=frozenset(Checksum(name) for name in section.digests),
    )
    return checked(config, settings, "master")
