"""Which entries of the log somebody wants to see. Pure.

Of the values under one heading any may fit, and of the headings all must. A time is the event's own, by its source's
clock, which is also the one that is shown.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Final

from events.envelope import Envelope, mirror_source
from events.names import HELD_PREFIX, MirrorName
from events.schemas import DownloadsGranted, Event, FilePublished, ReplicaReady
from events.schemas.fields import NS_PER_S
from history.entry import Position
from history.replay.replayer import is_of_the_site
from history.telling.subjects import Subjects, subjects_of
from history.telling.told import Told

# What a source wrote before the end of the wanted time can come in later: a mirror's line was down, a relay was busy.
# Who reads up to a time reads so much more of the log. What comes in later still is found by its place.
LATE_NS: Final = 3600 * NS_PER_S
SHA256_DIGITS: Final = 64

_HEXADECIMAL: Final = frozenset("0123456789abcdef")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What is asked for; an empty heading takes everything.

    Attributes:
        types: of events, with or without version; ``*`` stands for anything: ``file.*``.
        mirrors: that an event is about, or says it.
        files: paths, folders with a slash at the end, or SHA-256 digests in hexadecimal.
        channels: that an event is about.
        sources: who says it: ``master``, ``mirror/ana``, ``selector/*``.
        from_ns: from this time on.
        until_ns: up to this time.
        last: up to and with this place.
    """

    types: Sequence[str] = ()
    mirrors: Sequence[str] = ()
    files: Sequence[str] = ()
    channels: Sequence[str] = ()
    sources: Sequence[str] = ()
    from_ns: int | None = None
    until_ns: int | None = None
    last: Position | None = None


class Filter:
    """Takes what is wanted of entries that come in the log's order.

    It learns the contents of wanted files from what it sees, since some events name a content alone.
    """

    def __init__(self, wanted: Wanted) -> None:
        self._wanted = wanted
        self._contents = {bytes.fromhex(each) for each in wanted.files if is_digest(each)}
        self._speakers = {mirror_source(MirrorName(each)) for each in wanted.mirrors}
        self._time_ns = 0

    def takes(self, told: Told) -> bool:
        """Tell whether an entry is wanted. What cannot be read has no subject, and the time of what came before it."""
        wanted, envelope = self._wanted, told.envelope
        if envelope is not None:
            self._time_ns = envelope.time_ns
            if wanted.files:
                self._learn(envelope.event)
        return (
            self._is_within()
            and (not wanted.types or any(is_of_type(told.type, each) for each in wanted.types))
            and (not self._asks_for_subjects or (envelope is not None and self._is_about(envelope)))
        )

    def is_past(self, told: Told) -> bool:
        """Tell whether nothing more that is wanted can come after this entry (with a slack of ``LATE_NS``)."""
        wanted, envelope = self._wanted, told.envelope
        if wanted.last is not None and told.entry.position >= wanted.last:
            return True
        if wanted.until_ns is None or envelope is None or not is_of_the_site(envelope):
            return False
        return envelope.time_ns > wanted.until_ns + LATE_NS

    @property
    def _asks_for_subjects(self) -> bool:
        wanted = self._wanted
        return bool(wanted.mirrors or wanted.files or wanted.channels or wanted.sources)

    def _is_within(self) -> bool:
        wanted = self._wanted
        is_late_enough = wanted.from_ns is None or self._time_ns >= wanted.from_ns
        return is_late_enough and (wanted.until_ns is None or self._time_ns <= wanted.until_ns)

    def _is_about(self, envelope: Envelope) -> bool:
        wanted, subjects = self._wanted, subjects_of(envelope.event)
        return (
            (not wanted.mirrors or self._is_about_mirrors(envelope, subjects))
            and (not wanted.channels or not subjects.channels.isdisjoint(wanted.channels))
            and (not wanted.sources or any(fnmatchcase(envelope.source, each) for each in wanted.sources))
            and (not wanted.files or self._is_about_files(subjects))
        )

    def _is_about_mirrors(self, envelope: Envelope, subjects: Subjects) -> bool:
        return envelope.source in self._speakers or not subjects.mirrors.isdisjoint(self._wanted.mirrors)

    def _is_about_files(self, subjects: Subjects) -> bool:
        return not self._contents.isdisjoint(subjects.contents) or any(map(self._is_file, subjects.paths))

    def _is_file(self, path: str) -> bool:
        plain = path.removeprefix(HELD_PREFIX)
        return any(plain == each or (each.endswith("/") and plain.startswith(each)) for each in self._wanted.files)

    def _learn(self, event: Event) -> None:
        match event:
            case FilePublished() | ReplicaReady():
                named = ((event.path, event.sha256),)
            case DownloadsGranted():
                named = tuple((each.path, each.sha256) for each in event.grants)
            case _:
                return
        self._contents.update(sha256 for path, sha256 in named if self._is_file(path))


def is_of_type(type_: str, pattern: str) -> bool:
    """Tell whether an event's type (``file.published/1``) fits a pattern with or without a version."""
    return fnmatchcase(type_, pattern) or fnmatchcase(type_.partition("/")[0], pattern)


def is_digest(text: str) -> bool:
    """Tell a SHA-256 in hexadecimal from a path."""
    return len(text) == SHA256_DIGITS and all(digit in _HEXADECIMAL for digit in text)
