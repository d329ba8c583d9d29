"""What stands in requests and answers. On the wire of the broker structs are arrays; here everything has its name."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from ipaddress import ip_network
from typing import Annotated, Literal, TypeVar

import msgspec
from aiohttp import web
from msgspec import UNSET, Meta, Struct, UnsetType

from edge.errors import ApiError
from events.names import ChannelName
from events.schemas import AddressPolicy, Filter, Location, Profile, Reach
from events.schemas.fields import (
    CHANNELS_MAX,
    MEDIA_TYPES_MAX,
    NETWORKS_MAX,
    NS_PER_S,
    SLOTS_MAX,
    TAGS_MAX,
    URL_LENGTH_MAX,
    Bytes,
    Continents,
    Countries,
    Country,
    Globs,
    Latitude,
    Longitude,
    MediaTypePattern,
    Networks,
    SharePercent,
    Tags,
    WeightPercent,
)
from master.catalogue import PublishedFile
from master.channels import Definition
from master.errors import InvalidRequestError
from master.joining import EXPIRES_IN_S_DEFAULT
from master.mirrors import Rule
from master.store.catalogue import Channel

_Body = TypeVar("_Body", bound=Struct)


class PublishBody(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``POST /-/api/v1/files``."""

    source: str
    under: str | None = msgspec.field(default=None, name="as")
    tags: Annotated[list[str], Meta(max_length=TAGS_MAX)] = []
    channels: list[str] | None = None
    networks: Annotated[list[str], Meta(max_length=NETWORKS_MAX)] = []
    access: Literal["public", "ticket", "site"] = "public"
    media_type: str | None = None
    hold: bool = False
    wait: str | None = None
    dry_run: bool = False


class ReleaseBody(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``POST /-/api/v1/releases``."""

    paths: Annotated[list[str], Meta(min_length=1)] | None = None
    all: bool = False


class ReachBody(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whom a mirror is sent; what is left out stays as it is."""

    countries_only: Countries | UnsetType = UNSET
    countries_excluded: Countries | UnsetType = UNSET
    continents_only: Continents | UnsetType = UNSET
    networks_only: Networks | UnsetType = UNSET

    def applied(self, reach: Reach) -> Reach:
        """Give a reach with these changes.

        Raises:
            InvalidRequestError: a network is none.
        """
        changes = _set_in(self)
        if self.networks_only is not UNSET:
            changes["networks_only"] = networks_of(self.networks_only)
        return msgspec.structs.replace(reach, **changes)


class RuleBody(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``PATCH /-/api/v1/mirrors/M``; what is left out stays as it is."""

    enabled: bool | UnsetType = UNSET
    weight_percent: WeightPercent | UnsetType = UNSET
    share_percent_max: SharePercent | UnsetType = UNSET
    reach: ReachBody = ReachBody()

    def applied(self, rule: Rule) -> Rule:
        """Give a rule with these changes."""
        return msgspec.structs.replace(rule, **_set_in(self) | {"reach": self.reach.applied(rule.reach)})


class FilterBody(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A filter by names."""

    size_bytes_min: Bytes | None = None
    size_bytes_max: Bytes | None = None
    tags_any: Tags = ()
    tags_none: Tags = ()
    paths_any: Globs = ()
    paths_none: Globs = ()
    media_types: Annotated[tuple[MediaTypePattern, ...], Meta(max_length=MEDIA_TYPES_MAX)] = ()

    def filter(self) -> Filter:
        """Give the filter itself."""
        return Filter(**msgspec.structs.asdict(self))


class ChannelBody(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``PUT /-/api/v1/channels/C``."""

    filter: FilterBody = FilterBody()
    description: str = ""
    address_policy: Literal["strict", "prefix", "off"] = "strict"

    def channel(self, name: ChannelName) -> Channel:
        """Give the channel itself."""
        policy = AddressPolicy(self.address_policy)
        return Channel(name=name, filter=self.filter.filter(), description=self.description, address_policy=policy)


class TestBody(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``POST /-/api/v1/channels/C/test``."""

    filter: FilterBody | None = None


class InviteBody(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``POST /-/api/v1/mirrors/M/invitation``."""

    channels: Annotated[list[str], Meta(max_length=CHANNELS_MAX)] = []
    expires_in_s: int = EXPIRES_IN_S_DEFAULT


class RotateBody(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``POST /-/api/v1/mirrors/M/keys``."""

    cut: bool = False


class RevokeBody(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``POST /-/api/v1/revocations``."""

    path: str | None = None
    mirror: str | None = None
    grant_id: str | None = None
    network: str | None = None
    reason: str = ""


class LocationBody(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where a mirror stands."""

    latitude: Latitude
    longitude: Longitude
    country: Country = ""


class ProfileBody(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a mirror offers."""

    url: Annotated[str, Meta(pattern=r"^https?://[!-\"$->@-~]+$(?!\n)", max_length=URL_LENGTH_MAX)]
    slots: Annotated[int, Meta(ge=1, le=SLOTS_MAX)]
    monthly_bytes: Bytes | None = None
    location: LocationBody | None = None
    software: Annotated[str, Meta(max_length=100)] = ""

    def profile(self) -> Profile:
        """Give the profile itself."""
        place = self.location
        return Profile(
            url=self.url.rstrip("/"),
            slots=self.slots,
            monthly_bytes=self.monthly_bytes,
            location=None if place is None else Location(**msgspec.structs.asdict(place)),
            software=self.software,
        )


class JoinBody(Struct, frozen=True, kw_only=True):
    """``POST /-/api/v1/join``. What a newer mirror says besides is ignored."""

    secret: Annotated[str, Meta(min_length=1, max_length=200)]
    name: str
    profile: ProfileBody


def _set_in(body: Struct) -> dict[str, object]:
    """Give what a body sets."""
    return {name: value for name, value in msgspec.structs.asdict(body).items() if value is not UNSET}


async def read_body(request: web.Request, kind: type[_Body]) -> _Body:
    """Read a JSON body; none at all counts as an empty object.

    Raises:
        msgspec.DecodeError: it is not of this kind.
        ApiError: it is not JSON in UTF-8 at all.
    """
    raw = await request.read() or b"{}"
    try:
        return msgspec.json.decode(raw, type=kind)
    except UnicodeDecodeError as error:
        raise ApiError("body_invalid", f"not UTF-8: {error}") from error


def answer(body: object) -> web.Response:
    """Answer with JSON."""
    return web.Response(
        body=msgspec.json.encode(body), content_type="application/json", headers={"Cache-Control": "no-store"}
    )


def filter_json(rules: Filter) -> dict[str, object]:
    """Write a filter by names."""
    return msgspec.structs.asdict(rules)


def profile_json(profile: Profile) -> dict[str, object]:
    """Write a profile by names, as it was joined with: all else a mirror says when it comes online."""
    place = profile.location
    named: dict[str, object] = {name: getattr(profile, name) for name in ProfileBody.__struct_fields__}
    return named | {"location": None if place is None else msgspec.structs.asdict(place)}


def rule_json(rule: Rule) -> dict[str, object]:
    """Write what the site rules for a mirror."""
    named: dict[str, object] = msgspec.structs.asdict(rule)
    return named | {"reach": msgspec.structs.asdict(rule.reach)}


def channel_json(channel: Channel, *, files: int) -> dict[str, object]:
    """Write a channel."""
    return {
        "channel": channel.name,
        "filter": filter_json(channel.filter),
        "description": channel.description,
        "address_policy": channel.address_policy.value,
        "files": files,
    }


def definition_json(definition: Definition) -> dict[str, object]:
    """Write what became of a channel."""
    described = channel_json(definition.channel, files=definition.files)
    return described | {"entered": definition.entered, "left": definition.left}


def file_json(file: PublishedFile) -> dict[str, object]:
    """Write a file of the catalogue."""
    return {
        "path": file.path,
        "generation": file.generation,
        "size_bytes": file.size_bytes,
        "sha256": file.sha256.hex(),
        "media_type": file.media_type,
        "tags": file.tags,
        "networks": file.access.networks,
        "access": file.access.mode.value,
        "md5": file.checksums.md5.hex(),
        "sha1": file.checksums.sha1.hex(),
    }


def networks_of(texts: Sequence[str]) -> tuple[str, ...]:
    """Read CIDR blocks.

    Raises:
        InvalidRequestError: one is none.
    """
    try:
        return tuple(sorted({str(ip_network(text)) for text in texts}))
    except ValueError as error:
        raise InvalidRequestError("network_invalid", str(error), hint="write it like 192.0.2.0/24") from error


def rfc3339(time_ns: int) -> str:
    """Write a moment."""
    return datetime.fromtimestamp(time_ns / NS_PER_S, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
