"""What the selector is told."""

from __future__ import annotations

from distributary.config.load import Settings
from distributary.config.secrets import find_ticket_key, read_site_secret
from distributary.config.services.shared import broker_config, checked
from events.names import SelectorName
from selection.config import SelectorConfig


def selector_config(settings: Settings) -> SelectorConfig:
    """Configure the selector.

    Raises:
        ConfigError: with all problems.
        UsageError: a secret cannot be read.
    """
    section = settings.selector
    config = SelectorConfig(
        name=SelectorName(section.name),
        listen_host=section.listen.host,
        listen_port=section.listen.port,
        site_url=settings.site.url,
        master_url=settings.site.master_url,
        broker=broker_config(settings, name=f"selector {section.name}"),
        secret=read_site_secret(settings),
        geoip_files=section.geoip_files,
        places_file=section.places_file,
        ticket_key=find_ticket_key(settings),
        site_access_url=section.site_access_url,
        site_access_timeout_s=float(section.site_access_timeout),
        site_access_cache_s=float(section.site_access_cache),
        trusted_proxies=section.trusted_proxies,
        state_dir=section.state_dir,
        statistics_days=section.statistics_days,
        silent_after_s=float(section.silent_after),
        load_threshold=section.load_threshold,
        near_km=section.near_km,
        share_percent_max=section.share_percent_max,
        sticky_tags=section.sticky_tags,
        decisions_percent=section.decisions_percent,
        processes=section.processes,
        fast_lane=section.fast_lane,
    )
    return checked(config, settings, "selector")
