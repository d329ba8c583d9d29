"""Where two views do not know the same: one that was folded anew, and one by which visitors are answered. Pure.

Both may number files, contents and mirrors otherwise; what they say of them is compared by name. Load reports are left
out, since no log has them, and so is what a view keeps only in order to tell old facts from new ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import Enum
from itertools import chain
from typing import Final, NamedTuple

from msgspec import json
from msgspec.structs import asdict, replace

from events.names import SHA256_BYTES, Digest, FilePath, MirrorName
from selection.view.contents import Contents
from selection.view.file import Digests, Pieces, PublishedFile
from selection.view.fleet import FleetView
from selection.view.replicas import Told
from selection.view.roster import Mirror

NOTHING: Final = ""
_NOT_COMPARED: Final = frozenset({"name", "number", "load"})
_NAMES_OF_FILES: Final = frozenset({"number", "content", "path"})  # its name, or a view's own name for it


class Subject(Enum):
    """What two views can differ in. ``REASON`` is why a mirror lacks a content, in its own words."""

    LOG = "log"
    FILE = "file"
    CHANNEL = "channel"
    MIRROR = "mirror"
    SUBSCRIPTION = "subscription"
    COPY = "copy"
    INVENTORY = "inventory"
    WITHDRAWAL = "withdrawal"
    POSITION = "position"
    REASON = "reason"


class Difference(NamedTuple):
    """One thing of which two views say different things; empty where a view says nothing of it.

    ``name`` tells which one: a path, a mirror's name, a channel's, a content's digest, and what of it after a space.
    """

    subject: Subject
    name: str
    left: str
    right: str


def differences(left: FleetView, right: FleetView) -> Iterator[Difference]:
    """Give all differences; none where both know the same. Nothing may be folded meanwhile."""
    names = _Names(left, right)
    yield from _compare(Subject.LOG, _log(left), _log(right))
    yield from _files(left, right)
    yield from _compare(Subject.CHANNEL, _channels(left), _channels(right))
    yield from _compare(Subject.MIRROR, _mirrors(left), _mirrors(right))
    yield from _compare(Subject.SUBSCRIPTION, _subscriptions(left), _subscriptions(right))
    yield from _copies(left, right, names)
    for subject, facts in _FACTS_OF_TOLD.items():
        yield from _compare(subject, facts(left), facts(right))
    yield from _compare(Subject.WITHDRAWAL, _withdrawals(left), _withdrawals(right))
    yield from _compare(Subject.POSITION, _positions(left), _positions(right))


class _Entry(NamedTuple):
    """All that is said of a file."""

    file: PublishedFile
    digests: Digests
    pieces: Pieces


class _Names:
    """The mirrors that either view knows, in one order for both."""

    def __init__(self, left: FleetView, right: FleetView) -> None:
        known = {mirror.name for view in (left, right) for mirror in view.parts.roster.known()}
        self._bits = {name: 1 << number for number, name in enumerate(sorted(known))}
        self._names = sorted(known)

    def translation(self, view: FleetView) -> _Translation:
        """Give what makes a view's bit sets into such that can be compared."""
        return _Translation([self._bits[mirror.name] for mirror in view.parts.roster.known()])

    def text(self, bits: int) -> str:
        """Name the mirrors of a set that can be compared."""
        return " ".join(name for number, name in enumerate(self._names) if bits >> number & 1)


class _Translation:
    """From one view's bit sets to such that can be compared; whole trees have equal sets, so each is looked up."""

    def __init__(self, bits: list[int]) -> None:
        self._bits = bits
        self._known: dict[int, int] = {}

    def of(self, held: int) -> int:
        """Translate one set."""
        known = self._known.get(held)
        if known is None:
            known = self._known[held] = sum(bit for number, bit in enumerate(self._bits) if held >> number & 1)
        return known


def _compare(subject: Subject, left: Mapping[str, str], right: Mapping[str, str]) -> Iterator[Difference]:
    """Compare facts by name. A view that says nothing and one that says the empty text say the same."""
    for name in chain(left, (name for name in right if name not in left)):
        ours, theirs = left.get(name, NOTHING), right.get(name, NOTHING)
        if ours != theirs:
            yield Difference(subject, name, ours, theirs)


def _log(view: FleetView) -> dict[str, str]:
    return {
        "generation": str(view.log_generation),
        "grants revoked that begin until": str(view.revoked_start_by_s),
    }


def _files(left: FleetView, right: FleetView) -> Iterator[Difference]:
    """Compare what is published, file by file: a million of them are never in memory twice."""
    for file in left.catalogue.everything():
        ours, theirs = _entry(left, file.path), _entry(right, file.path)
        if ours != theirs:
            yield from _compare(Subject.FILE, _facts(ours), _facts(theirs))
    for file in right.catalogue.everything():
        if left.catalogue.entry(file.path) is None:
            yield from _compare(Subject.FILE, {}, _facts(_entry(right, file.path)))


def _entry(view: FleetView, path: FilePath) -> _Entry | None:
    file = view.catalogue.entry(path)
    return file and _Entry(replace(file, number=0, content=0), view.digests(file), view.pieces(file))


def _facts(entry: _Entry | None) -> dict[str, str]:
    if entry is None:
        return {}
    facts = {name: value for part in entry for name, value in asdict(part).items() if name not in _NAMES_OF_FILES}
    return {f"{entry.file.path} {name}": _text(value) for name, value in facts.items()}


def _channels(view: FleetView) -> dict[str, str]:
    said = view.parts.policies.said.items()
    return {channel: f"{said.policy.value}, said at {said.sequence}" for channel, said in said}


def _mirrors(view: FleetView) -> dict[str, str]:
    """Give each fact about each mirror; what is said of one that nobody spoke of is no fact."""
    return {
        f"{mirror.name} {name}": _text(value)
        for mirror in view.parts.roster.known()
        for name, value in asdict(mirror).items()
        if name not in _NOT_COMPARED and value != getattr(_UNKNOWN, name)
    }


def _subscriptions(view: FleetView) -> dict[str, str]:
    return {mirror.name: " ".join(view.followed_by(mirror)) for mirror in view.parts.roster.known()}


def _copies(left: FleetView, right: FleetView, names: _Names) -> Iterator[Difference]:
    ours, theirs = left.parts.contents, right.parts.contents
    from_left, from_right = names.translation(left), names.translation(right)
    for sha256, held in _held(ours):
        holders, others = from_left.of(held), from_right.of(theirs.holders(theirs.find(sha256)))
        if holders != others:
            yield Difference(Subject.COPY, sha256.hex(), names.text(holders), names.text(others))
    for sha256, held in _held(theirs):
        if not ours.holders(ours.find(sha256)):
            yield Difference(Subject.COPY, sha256.hex(), NOTHING, names.text(from_right.of(held)))


def _held(contents: Contents) -> Iterator[tuple[Digest, int]]:
    """Give each content that somebody holds, and the bit set of who does."""
    for number, held in enumerate(contents.held.cells):
        if held:
            yield contents.digest(number), contents.sets.values[held]


def _told(view: FleetView) -> Iterator[tuple[MirrorName, Told]]:
    for mirror in view.parts.roster.known():
        if (told := view.parts.replicas.told.get(mirror.number)) is not None:
            yield mirror.name, told


def _inventories(view: FleetView) -> dict[str, str]:
    """Give up to which of its numbers each mirror's last whole inventory goes."""
    return {name: str(told.as_of) for name, told in _told(view) if told.as_of}


def _reasons(view: FleetView) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, told in _told(view):
        for sha256, (sequence, reason) in told.losses.items():
            found[f"{name} {sha256.hex()} lost"] = f"{reason.value}, said at {sequence}"
        for sha256, (sequence, event) in told.declined.items():
            found[f"{name} {sha256.hex()} declined"] = f"{_text(event)}, said at {sequence}"
    return found


def _withdrawals(view: FleetView) -> dict[str, str]:
    return {
        f"{path} {channel}": _text(said)
        for path, channels in view.parts.acknowledgements.withdrawals.items()
        for channel, said in channels.items()
    }


def _positions(view: FleetView) -> dict[str, str]:
    followed = view.parts.acknowledgements.followed
    return {
        f"{mirror.name} {channel}": _text(said)
        for mirror in view.parts.roster.known()
        for channel, said in followed.get(mirror.number, {}).items()
    }


def _text(value: object) -> str:
    """Write a fact for people; digests, and rows of them, in hexadecimal."""
    if isinstance(value, bytes):
        return value.hex(" ", SHA256_BYTES)
    return value if isinstance(value, str) else json.encode(value).decode()


_UNKNOWN: Final = Mirror(name=MirrorName(NOTHING), number=0)
_FACTS_OF_TOLD: Final = {Subject.INVENTORY: _inventories, Subject.REASON: _reasons}
