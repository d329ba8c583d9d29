"""What the mirror is told: its own settings, and the credentials that the master gave it."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec

from distributary.config.load import ConfigError, Settings
from distributary.config.schema import ByteSize, MirrorSection
from distributary.config.services.shared import checked
from distributary.errors import UsageError
from distributary.units import UnitError, parse_location
from events.names import MirrorName
from events.schemas import Location, Reach
from mirror.config import Family, MirrorConfig, MirrorCredentials, Serving

CREDENTIALS_BYTES_MAX: Final = 65_536  # a few keys and URLs


class CredentialsFile(msgspec.Struct, frozen=True, kw_only=True):
    """``credentials.json`` as ``mirror join`` keeps it: the master's answer."""

    mirror: str
    broker_url: str
    token: str
    grant_keys: dict[int, str]
    master_url: str
    site_url: str


def mirror_config(settings: Settings) -> MirrorConfig:
    """Configure the mirror.

    Raises:
        ConfigError: with all problems.
        UsageError: no mirror is configured, or its credentials cannot be read.
    """
    section = settings.mirror
    if section is None:
        raise UsageError(
            "mirror_unconfigured",
            f"{settings.file or 'the configuration'} has no [mirror]",
            hint="`distributary mirror join` writes one; name it by --config",
        )
    credentials = read_credentials(section.credentials_file)
    config = MirrorConfig(
        name=credentials.mirror,
        data_folder=section.data_dir,
        credentials=credentials,
        listen_host=section.listen.host,
        listen_port=section.listen.port,
        url=section.url,
        slots=section.slots,
        connections_per_address=section.connections_per_address,
        monthly_bytes=_plain(section.monthly),
        daily_bytes=_plain(section.daily),
        soft_limit=section.soft_limit,
        time_zone=section.time_zone,
        reset_day=section.reset_day,
        rate_bytes_per_second=_plain(section.rate),
        hours=section.hours,
        peers=section.peers,
        peer_share=section.peer_share,
        peer_slots=section.peer_slots,
        peer_rate_bytes_per_second=_plain(section.peer_rate),
        location=_location(section, settings),
        reach=_reach(section, settings),
        networks=section.networks,
        asn=section.asn,
        families=None if section.families is None else frozenset(map(Family, section.families)),
        disk_bytes_max=_plain(section.disk),
        disk_high=section.disk_high,
        disk_low=section.disk_low,
        scrub_bytes_per_second=int(section.scrub_rate),
        scrub_every_s=float(section.scrub_every),
        report_every_s=float(section.report_every),
        fetches_max=section.fetches,
        trusted_proxies=section.trusted_proxies,
        private_addresses=section.private_addresses,
        serve=Serving(section.serve),
    )
    return checked(config, settings, "mirror")


def read_credentials(path: Path) -> MirrorCredentials:
    """Read what the master gave for an invitation.

    Raises:
        UsageError: the file is not there, or not what ``mirror join`` wrote.
    """
    try:
        with path.open("rb") as file:
            content = msgspec.json.decode(file.read(CREDENTIALS_BYTES_MAX), type=CredentialsFile)
        keys = {epoch: bytes.fromhex(key) for epoch, key in content.grant_keys.items()}
    except OSError as error:
        raise UsageError(
            "credentials_unreadable", f"{path}: {error.strerror}", hint="`distributary mirror join` writes it"
        ) from error
    except ValueError as error:  # msgspec's errors are among them
        raise UsageError("credentials_invalid", f"{path}: {error}", hint="join again, into a new folder") from error
    return MirrorCredentials(
        mirror=MirrorName(content.mirror),
        broker_url=content.broker_url,
        token=content.token,
        grant_keys=keys,
        master_url=content.master_url,
        site_url=content.site_url,
    )


def _plain(size: ByteSize | None) -> int | None:
    """Give the bare number: it goes into events, whose codec takes no kin of numbers."""
    return None if size is None else int(size)


def _reach(section: MirrorSection, settings: Settings) -> Reach:
    try:
        return Reach(
            countries_only=section.countries_only,
            countries_excluded=section.countries_excluded,
            continents_only=section.continents_only,
            networks_only=section.networks_only,
        )
    except ValueError as error:
        origin = settings.origins["mirror", "networks_only"]
        raise ConfigError([f"{origin}: mirror.networks_only: {error}"]) from error


def _location(section: MirrorSection, settings: Settings) -> Location | None:
    if section.location is None:
        return None
    try:
        latitude, longitude = parse_location(section.location)
    except UnitError as error:
        origin = settings.origins["mirror", "location"]
        raise ConfigError([f"{origin}: mirror.location: {error}"]) from error
    return Location(latitude=latitude, longitude=longitude, country=section.country)
