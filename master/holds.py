"""Files that are held: published to mirrors, and to nobody else until they are released. Pure.

A held file stands in the catalogue, and in channels, under ``held_path`` of its path; the filters of channels see the
path itself. So mirrors fetch it like any other, and what stands under the path already goes on. A release publishes it
under its path and withdraws it from where it was held, in that order: its content is wanted all the time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum
from typing import Final, TypeAlias

from events.errors import InvalidNameError
from events.names import HELD_PREFIX, PATH_BYTES_MAX, ChannelName, MirrorName, held_path, unheld_path
from events.schemas import Filter, WithdrawMode
from events.schemas.fields import MIRRORS_MAX
from master import catalogue
from master.catalogue import Change, Fact, PublishedFile, Standing, Wish
from master.errors import InvalidRequestError

RELEASED: Final = "it was released"
REPLACED: Final = "something newer was published in its place"
HELD_PATH_BYTES_MAX: Final = PATH_BYTES_MAX - len(HELD_PREFIX)

_ALL: Final = "all"
_PERCENT_MAX: Final = 100
_DIGITS_MAX: Final = 9  # more than any number that is allowed has


@dataclass(frozen=True, slots=True)
class AtLeast:
    """Released when so many mirrors have it, however many there are."""

    mirrors: int

    def needed(self, _followers: int) -> int:
        """Give how many mirrors must have it."""
        return self.mirrors

    def __str__(self) -> str:
        """Write it as it is read."""
        return str(self.mirrors)


@dataclass(frozen=True, slots=True)
class ShareOf:
    """Released when this share of the mirrors that follow its channels has it; one at least."""

    percent: int

    def needed(self, followers: int) -> int:
        """Give how many mirrors must have it, of so many."""
        return max(1, -(-followers * self.percent // _PERCENT_MAX))

    def __str__(self) -> str:
        """Write it as it is read."""
        return _ALL if self.percent == _PERCENT_MAX else f"{self.percent}%"


Condition: TypeAlias = AtLeast | ShareOf


def parse_condition(text: str) -> Condition:
    """Read when to release: ``3`` mirrors, ``50%`` of those that follow, or ``all`` of them.

    Raises:
        InvalidRequestError: it says none of that.
    """
    digits = text.removesuffix("%")
    number = int(digits) if digits.isascii() and digits.isdigit() and len(digits) <= _DIGITS_MAX else 0
    if text == _ALL:
        return ShareOf(_PERCENT_MAX)
    if digits != text and 1 <= number <= _PERCENT_MAX:
        return ShareOf(number)
    if digits == text and 1 <= number <= MIRRORS_MAX:
        return AtLeast(number)
    raise InvalidRequestError("wait_invalid", f"cannot wait for {text!r}", hint="write it like 3, 50% or all")


class HoldState(Enum):
    """How a hold fares. ``OPEN``: its files are still coming. ``ENDED``: they were withdrawn, or others took over."""

    OPEN = "open"
    HELD = "held"
    RELEASED = "released"
    ENDED = "ended"


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """The files of one request, to be released together; ``condition`` is None where a person does it."""

    number: int
    condition: Condition | None
    state: HoldState
    began_at_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldFile:
    """A held file, the generation that it will be, and how many mirrors have its content."""

    file: PublishedFile
    generation: int
    channels: tuple[ChannelName, ...]
    copies: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """How far mirrors are with a hold.

    ``followers`` may have all of it: of each file that is in a channel at all, they follow one. ``complete`` are those
    of them that do.
    """

    followers: tuple[MirrorName, ...]
    complete: tuple[MirrorName, ...]

    def meets(self, condition: Condition) -> bool:
        """Tell whether it can be released."""
        return len(self.complete) >= condition.needed(len(self.followers))


@dataclass(frozen=True, slots=True)
class PathState:
    """What stands under a path, and what is held for it."""

    standing: Standing
    held: Standing


@dataclass(frozen=True, slots=True)
class Turn:
    """What becomes of both, and the facts that say so, in their order."""

    standing: Change
    held: Change

    @property
    def facts(self) -> tuple[Fact, ...]:
        """Give all facts."""
        return (*self.standing.facts, *self.held.facts)

    @property
    def after(self) -> PathState:
        """Give what is then."""
        return PathState(self.standing.standing, self.held.standing)


def publish(state: PathState, wish: Wish, filters: Mapping[ChannelName, Filter], *, now_ns: int) -> Turn:
    """Let a wish stand under its path at once. What is held for that path is older, and must not replace it later."""
    return Turn(catalogue.publish(state.standing, wish, filters, now_ns=now_ns), _drop(state.held, REPLACED))


def hold(state: PathState, wish: Wish, filters: Mapping[ChannelName, Filter], *, now_ns: int) -> Turn:
    """Hold a wish for its path. What stands there just like that needs no release, and so is not held.

    Raises:
        InvalidNameError: the path is too long to be held.
    """
    if len(wish.path.encode()) > HELD_PATH_BYTES_MAX:
        raise InvalidNameError("path", wish.path, f"to be held it may have at most {HELD_PATH_BYTES_MAX} bytes")
    stays = Change(state.standing, ())
    if catalogue.publish(state.standing, wish, filters, now_ns=now_ns).standing == state.standing:
        return Turn(stays, _drop(state.held, REPLACED))
    aside = replace(wish, path=held_path(wish.path))
    return Turn(stays, catalogue.publish(state.held, aside, filters, now_ns=now_ns))


def release(state: PathState, filters: Mapping[ChannelName, Filter], *, now_ns: int) -> Turn:
    """Let what is held for a path stand under it."""
    if state.held.file is None:
        return Turn(Change(state.standing, ()), Change(state.held, ()))
    wish = _wish_of(state.held.file)
    return Turn(catalogue.publish(state.standing, wish, filters, now_ns=now_ns), _drop(state.held, RELEASED))


def _drop(held: Standing, reason: str) -> Change:
    return catalogue.withdraw(held, reason=reason, mode=WithdrawMode.DRAIN)


def _wish_of(held: PublishedFile) -> Wish:
    """Give what a person wanted when it was held."""
    return Wish(
        path=unheld_path(held.path),
        size_bytes=held.size_bytes,
        sha256=held.sha256,
        media_type=held.media_type,
        pieces=held.pieces,
        checksums=held.checksums,
        tags=held.tags,
        access=held.access,
        named_channels=held.named_channels,
    )
