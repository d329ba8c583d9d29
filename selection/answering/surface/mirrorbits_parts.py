"""What this selector knows of one file, told as mirrorbits would. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from msgspec import UNSET

from events.names import MirrorName
from events.schemas import EVERYBODY, Location
from selection.answering.surface.mirrorbits import ClientInfo, FileInfo, MirrorInfo
from selection.answering.surface.offers import Offer
from selection.answering.surface.words import moment
from selection.places.countries import country_of
from selection.places.place import Place, distance_km
from selection.policy.choice import Choice, Rejection
from selection.view.file import Digests, PublishedFile
from selection.view.fleet import FleetView

_ONLINE: Final = 3  # the criterion of a mirror that is not there: what mirrorbits calls down
_USUAL_WEIGHT_PERCENT: Final = 100
_NO_LOCATION: Final = Location(latitude=0.0, longitude=0.0)


def file_info(file: PublishedFile, digests: Digests) -> FileInfo:
    """Tell of a file."""
    return FileInfo(
        path=f"/{file.path}",
        size=file.size_bytes,
        mod_time=f"{moment(file.published_at_ns):%Y-%m-%dT%H:%M:%SZ}",
        sha1=digests.sha1.hex(),
        sha256=file.sha256.hex(),
        md5=digests.md5.hex(),
    )


def client_info(place: Place) -> ClientInfo:
    """Tell where a visitor is."""
    return ClientInfo(
        country_code=place.country,
        continent_code=place.continent,
        latitude=place.latitude or 0.0,
        longitude=place.longitude or 0.0,
        as_num=place.asn,
    )


def mirrors_of(offers: Sequence[Offer], place: Place, view: FleetView) -> tuple[MirrorInfo, ...]:
    """Tell of the servers that a visitor is offered, in their order."""
    return tuple(
        _mirror(MirrorName(offer.mirror), view, place, url=offer.url, score=len(offers) - rank)
        for rank, offer in enumerate(offers)
    )


def excluded_of(choice: Choice, place: Place, view: FleetView) -> tuple[MirrorInfo, ...]:
    """Tell of the mirrors that do not qualify, by name."""
    qualified = {candidate.mirror for candidate in choice.ranked}
    return tuple(
        _mirror(name, view, place, rejection=rejection)
        for name, rejection in sorted(choice.rejected.items())
        if name not in qualified
    )


def _mirror(
    name: MirrorName,
    view: FleetView,
    place: Place,
    *,
    url: str = "",
    score: int = 0,
    rejection: Rejection | None = None,
) -> MirrorInfo:
    mirror = view.mirror(name)
    profile, ruled = mirror.profile, mirror.ruled
    location = (profile.location if profile else None) or _NO_LOCATION
    country = country_of(location.country)
    reaches = (profile.reach if profile else EVERYBODY, ruled.reach)
    return MirrorInfo(
        id=mirror.number,
        name=name,
        http_url=f"{profile.url}/" if profile else "",
        continent_only=any(reach.continents_only for reach in reaches),
        country_only=any(reach.countries_only for reach in reaches),
        score=ruled.weight_percent - _USUAL_WEIGHT_PERCENT,
        latitude=location.latitude,
        longitude=location.longitude,
        continent_code=country.continent if country else "",
        country_codes=location.country,
        excluded_country_codes=" ".join(sorted({code for reach in reaches for code in reach.countries_excluded})),
        asnum=profile.asn if profile else 0,
        enabled=ruled.enabled,
        http_down_reason=rejection.reason.text if rejection and rejection.reason.criterion == _ONLINE else UNSET,
        distance=(distance_km(place, location) or 0.0) if location is not _NO_LOCATION else 0.0,
        computed_score=score,
        absolute_url=url,
        exclude_reason=rejection.reason.text if rejection else UNSET,
    )
