r"""What the fields of events may hold. A reader trusts a decoded event, so the wire is checked here, once.

The patterns are anchored by ``$(?!\n)`` because Python's ``$`` also stands before a last line feed, and JSON Schema
knows no ``\Z``. Numbers end where a database's 64 bit integers do.
"""

from __future__ import annotations

from typing import Annotated, Final, TypeAlias

from msgspec import Meta, Struct
from msgspec.structs import force_setattr

from events.grants import GRANT_ID_BYTES, KEY_EPOCH_MAX
from events.names import (
    MEDIA_TYPE_LENGTH_MAX,
    PATH_BYTES_MAX,
    SHA256_BYTES,
    ChannelName,
    Digest,
    FilePath,
    MirrorName,
    SelectorName,
    Tag,
)

INTEGER_MAX: Final = 2**63 - 1
NS_PER_S: Final = 1_000_000_000
TIMESTAMP_S_MAX: Final = 2**32 - 1  # a grant's token has four bytes for each of its moments
MD5_BYTES: Final = 16
SHA1_BYTES: Final = 20
GENERATION_MAX: Final = 2**31 - 1  # a new content every second for 68 years
TEXT_LENGTH_MAX: Final = 500  # a sentence or two for people; the details belong in the speaker's own log
URL_LENGTH_MAX: Final = 2000  # what all browsers and proxies take
NETWORK_LENGTH_MAX: Final = 49  # an IPv6 address written out, with a prefix
ADDRESS_LENGTH_MAX: Final = 45  # an IPv4-mapped IPv6 address written out
TRACEPARENT_LENGTH_MAX: Final = 55  # W3C Trace Context §3.2.2, version 00
TAGS_MAX: Final = 64  # a handful each; a rule of a filter may name a few dozen
MEDIA_TYPES_MAX: Final = 100  # whole families can be named by one pattern
NETWORKS_MAX: Final = 1000  # a university has dozens
GLOBS_MAX: Final = 1000  # a filter is written by a person
CHANNELS_MAX: Final = 10_000  # an invitation to every channel that a large site may have
SELECTORS_MAX: Final = 1000  # one process each
MIRRORS_MAX: Final = 10_000  # beyond the largest fleets known, about 1,000
INVENTORY_PAGE_MAX: Final = 10_000  # digests; speakers write 1,000
INVENTORY_PAGES_MAX: Final = 1_000_000
DOWNLOADS_MAX: Final = 1000  # in one report; speakers write 400
GRANTS_MAX: Final = 1000  # in one notice; speakers write 400
DECISIONS_MAX: Final = 1000  # in one record; speakers write 400
DETOURS_MAX: Final = 64  # a selector sends a visitor to no more mirrors in a row than hops_max, 3 by default
MESSAGE_ID_LENGTH_MAX: Final = 128  # a source's name and two numbers
CONTINENTS: Final = ("AF", "AN", "AS", "EU", "NA", "OC", "SA")
WEIGHT_PERCENT_MAX: Final = 10_000  # a mirror a hundred times as strong as its slots say
CONTINENTS_MAX: Final = len(CONTINENTS)
COUNTRIES_MAX: Final = 300  # ISO 3166-1 has 249
SLOTS_MAX: Final = 1_000_000  # no server holds more connections
RETRY_AFTER_S_MAX: Final = 366 * 24 * 3600

LINE_END: Final = r"$(?!\n)"

_BIN: Final = "MessagePack bin; base64 stands for it where a schema knows JSON alone"
_NAME_PATTERN: Final = r"^[a-z0-9][a-z0-9-]{0,30}$(?!\n)"

Mirror: TypeAlias = Annotated[MirrorName, Meta(pattern=_NAME_PATTERN)]
Channel: TypeAlias = Annotated[ChannelName, Meta(pattern=_NAME_PATTERN)]
Selector: TypeAlias = Annotated[SelectorName, Meta(pattern=_NAME_PATTERN)]
Reader: TypeAlias = Annotated[str, Meta(pattern=r"^(master|(mirror|selector)/[a-z0-9][a-z0-9-]{0,30})$(?!\n)")]
Sha256: TypeAlias = Annotated[Digest, Meta(min_length=SHA256_BYTES, max_length=SHA256_BYTES, description=_BIN)]
GrantId: TypeAlias = Annotated[bytes, Meta(min_length=GRANT_ID_BYTES, max_length=GRANT_ID_BYTES, description=_BIN)]
Path: TypeAlias = Annotated[FilePath, Meta(min_length=1, max_length=PATH_BYTES_MAX)]
TagName: TypeAlias = Annotated[Tag, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+=:-]{0,63}$(?!\n)")]
Tags: TypeAlias = Annotated[tuple[TagName, ...], Meta(max_length=TAGS_MAX)]
MediaType: TypeAlias = Annotated[
    str,
    Meta(
        pattern=r"^[a-z0-9][a-z0-9!#$&^_.+-]*/[a-z0-9][a-z0-9!#$&^_.+-]*$(?!\n)",
        max_length=MEDIA_TYPE_LENGTH_MAX,
    ),
]
MediaTypePattern: TypeAlias = Annotated[str, Meta(min_length=1, max_length=MEDIA_TYPE_LENGTH_MAX)]
Network: TypeAlias = Annotated[str, Meta(max_length=NETWORK_LENGTH_MAX)]
Glob: TypeAlias = Annotated[str, Meta(min_length=1, max_length=PATH_BYTES_MAX)]
Globs: TypeAlias = Annotated[tuple[Glob, ...], Meta(max_length=GLOBS_MAX)]
Bytes: TypeAlias = Annotated[int, Meta(ge=0, le=INTEGER_MAX)]
Count: TypeAlias = Annotated[int, Meta(ge=0, le=INTEGER_MAX)]
Sequence: TypeAlias = Annotated[int, Meta(ge=1, le=INTEGER_MAX)]
Generation: TypeAlias = Annotated[int, Meta(ge=1, le=GENERATION_MAX)]
Slots: TypeAlias = Annotated[int, Meta(ge=0, le=SLOTS_MAX)]
KeyEpoch: TypeAlias = Annotated[int, Meta(ge=1, le=KEY_EPOCH_MAX)]
TimeNs: TypeAlias = Annotated[int, Meta(ge=0, le=INTEGER_MAX)]
TimeS: TypeAlias = Annotated[int, Meta(ge=0, le=TIMESTAMP_S_MAX)]
RetryAfterS: TypeAlias = Annotated[float, Meta(ge=0, le=RETRY_AFTER_S_MAX)]
Address: TypeAlias = Annotated[str, Meta(min_length=2, max_length=ADDRESS_LENGTH_MAX)]
AddressOrNone: TypeAlias = Annotated[str, Meta(max_length=ADDRESS_LENGTH_MAX)]
Traceparent: TypeAlias = Annotated[str, Meta(max_length=TRACEPARENT_LENGTH_MAX)]
Url: TypeAlias = Annotated[str, Meta(pattern=r"^https?://[!-~]+$(?!\n)", max_length=URL_LENGTH_MAX)]
Country: TypeAlias = Annotated[str, Meta(pattern=r"^([A-Z]{2})?$(?!\n)")]
CountryCode: TypeAlias = Annotated[str, Meta(pattern=r"^[A-Z]{2}$(?!\n)")]
Countries: TypeAlias = Annotated[tuple[CountryCode, ...], Meta(max_length=COUNTRIES_MAX)]
ContinentCode: TypeAlias = Annotated[str, Meta(pattern=rf"^({'|'.join(CONTINENTS)})$(?!\n)")]
Continents: TypeAlias = Annotated[tuple[ContinentCode, ...], Meta(max_length=CONTINENTS_MAX)]
Networks: TypeAlias = Annotated[tuple[Network, ...], Meta(max_length=NETWORKS_MAX)]
AutonomousSystem: TypeAlias = Annotated[int, Meta(ge=0, le=2**32 - 1)]
WeightPercent: TypeAlias = Annotated[int, Meta(ge=1, le=WEIGHT_PERCENT_MAX)]
SharePercent: TypeAlias = Annotated[int, Meta(ge=1, le=100)]
Md5: TypeAlias = Annotated[bytes, Meta(max_length=MD5_BYTES, description=_BIN)]
Sha1: TypeAlias = Annotated[bytes, Meta(max_length=SHA1_BYTES, description=_BIN)]
Latitude: TypeAlias = Annotated[float, Meta(ge=-90, le=90)]
Longitude: TypeAlias = Annotated[float, Meta(ge=-180, le=180)]


def tidy(event: Struct, *names: str) -> None:
    """Make the named fields of a new event plain text: short, on one line, nothing that steers a terminal.

    Cut and not refused: a speaker that reports a long error must be heard.
    """
    for name in names:
        text: str = getattr(event, name)
        if len(text) > TEXT_LENGTH_MAX or not text.isprintable():
            force_setattr(event, name, plain(text))


def plain(text: str) -> str:
    """Put a sign in the place of each character that cannot be seen, and cut the text to a sentence or two."""
    cut = text if len(text) <= TEXT_LENGTH_MAX else text[: TEXT_LENGTH_MAX - 1] + "…"
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in cut)
