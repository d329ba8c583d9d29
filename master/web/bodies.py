"""What stands in requests and answers. On the wire of the broker structs are arrays; here everything has its name."""

from __future__ import annotations

from typing import Annotated, Literal, TypeVar

import msgspec
from aiohttp import web
from msgspec import Meta, Struct

from edge.errors import ApiError
from events.names import ChannelName
from events.schemas import AddressPolicy, Filter, Location, Profile
from events.schemas.fields import (
    CHANNELS_MAX,
    MEDIA_TYPES_MAX,
    NETWORKS_MAX,
    SLOTS_MAX,
    TAGS_MAX,
    URL_LENGTH_MAX,
    Bytes,
    Country,
    Globs,
    Latitude,
    Longitude,
    MediaTypePattern,
    Tags,
)
from master.catalogue import PublishedFile
from master.channels import Definition
from master.joining import EXPIRES_IN_S_DEFAULT
from master.store.catalogue import Channel

_Body = TypeVar("_Body", bound=Struct)


class PublishBody(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``POST /-/api/v1/files``."""

    source: str
    under: str | None = msgspec.field(default=None, name="as")
    tags: Annotated[list[str], Meta(max_length=TAGS_MAX)] = []
    channels: list[str] | None = None
    networks: Annotated[list[str], Meta(max_length=NETWORKS_MAX)] = []
    media_type: str | None = None
    dry_run: bool = False


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
    """Write a profile by names, as it was joined with: how a mirror sends, it says when it comes online."""
    place = profile.location
    named: dict[str, object] = msgspec.structs.asdict(profile)
    del named["external"]
    return named | {"location": None if place is None else msgspec.structs.asdict(place)}


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
    }
