"""What the master heard of mirrors in the log. Plain records; the store keeps them, the tracker works with them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from events.names import Digest, MirrorName
from events.schemas import Profile


class LogPosition(NamedTuple):
    """The last entry of the log that was folded."""

    generation: int
    offset: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Announced:
    """What a mirror last said of itself. ``profile`` is None where the log has its replicas and not its presence."""

    mirror: MirrorName
    online: bool
    profile: Profile | None
    key_epoch: int


class Ban(NamedTuple):
    """A mirror was sent wrong bytes of a content by a source."""

    sha256: Digest
    source: MirrorName
    mirror: MirrorName


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """What one portion of the log changed.

    Attributes:
        announced: mirrors that said something of themselves.
        left: mirrors that are no longer part of the fleet.
        replicas: whether a mirror holds a content now, of all single facts.
        replaced: mirrors of whose replicas anything may have changed besides: an inventory came, or a new beginning.
        bans: sources that sent wrong bytes.
    """

    announced: tuple[Announced, ...]
    left: frozenset[MirrorName]
    replicas: Mapping[tuple[MirrorName, Digest], bool]
    replaced: frozenset[MirrorName]
    bans: tuple[Ban, ...]
