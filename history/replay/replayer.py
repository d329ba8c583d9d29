"""The fleet view as the log makes it, up to any place in the log or moment. Pure but for reading the source.

Entries are read as a selector reads them: what it refuses is refused here, too, and nothing can stop the fold. So the
view up to some entry is the one that each selector had when it had read that entry, but for the load reports.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import aclosing
from typing import Final, TypeAlias

from broker.reading import read_envelope
from events.envelope import MASTER_SOURCE, Envelope
from events.errors import LanguageError, UnknownEventTypeError
from events.proven import ProvenReader
from events.routing import GRANTS
from events.schemas import TAGS, DecisionsRecorded, StandingRecorded
from history.entry import Entry, Position
from history.sources.port import Bodies, Proving, Source
from selection.view.fleet import FleetView
from selection.view.folding import EXCERPTS, FOLDED

Until: TypeAlias = Position | int
"""Up to and with an entry's place, or a moment of the log's time in nanoseconds of the Unix time."""

RECORDS: Final = frozenset(tag for tag, kind in TAGS.items() if kind in {StandingRecorded, DecisionsRecorded})
"""The types of entries that tell of decisions: they are about the view and no part of it."""

_SELECTOR_PREFIX: Final = "selector/"


class Replayer:
    """Folds entries in the log's order.

    Attributes:
        view: what the log tells up to ``position``.
        position: the place of the last entry; None before the first.
        message_id: that entry's.
        log_time_ns: the moment that the log has reached by the clocks of the site's own sources; mirrors' clocks are
            not believed. Some entries may be of an earlier moment, none that was folded of a later one.
        entries: how many were folded, those that were refused among them.
        refused: how many cannot be read, are forged, or are nothing that the view can take.
        unknown_types: how many a newer version may know.
    """

    def __init__(self, *, vhost: str) -> None:
        self._vhost = vhost
        self._proven = ProvenReader(FOLDED, EXCERPTS)
        self.view = FleetView()
        self.position: Position | None = None
        self.message_id = ""
        self.log_time_ns = 0
        self.entries = 0
        self.refused = 0
        self.unknown_types = 0

    def fold(self, entry: Entry, *, is_sound: bool = False) -> Envelope | None:
        """Take one entry; give what it says, where it can be believed and is no record of decisions.

        ``is_sound``: it was read before and is. Then of events is given what the view has a use for.
        """
        envelope = self._read_sound(entry) if is_sound else self._read(entry)
        self._take(entry, envelope)
        return envelope

    def fold_until(self, entries: Sequence[Entry], until: Until | None) -> bool:
        """Take entries up to a place or moment; tell whether more of them may follow."""
        if until is None:
            for entry in entries:
                self.fold(entry)
            return True
        return all(self._fold_one_until(entry, until) for entry in entries)

    def fold_proven(self, some: Bodies, until: Until | None) -> bool:
        """Take all of some proven bodies, or none where a moment lies among them; tell whether it took them."""
        envelopes = self._proven.decode_all(some.bodies)
        own_ns = [  # as is_of_the_site has it, without a call for each
            each.time_ns
            for each in envelopes
            if each.source == MASTER_SOURCE or each.source.startswith(_SELECTOR_PREFIX)
        ]
        latest_ns = max(own_ns, default=0)
        if isinstance(until, int) and latest_ns > until:
            return False
        self.view.apply_all(envelopes)
        self.position, self.message_id = some.last, some.message_id
        self.log_time_ns = max(self.log_time_ns, latest_ns)
        self.entries += len(envelopes)
        return True

    def _fold_one_until(self, entry: Entry, until: Until) -> bool:
        """Take an entry unless it is beyond; tell whether more may follow."""
        if isinstance(until, Position):
            if entry.position <= until:
                self.fold(entry)
            return entry.position < until
        envelope = self._read(entry)
        if envelope is not None and is_of_the_site(envelope) and envelope.time_ns > until:
            return False
        self._take(entry, envelope)
        return True

    def _read_sound(self, entry: Entry) -> Envelope | None:
        return None if is_record(entry) else self._proven.decode(entry.body)

    def _read(self, entry: Entry) -> Envelope | None:
        if is_record(entry):
            return None
        try:
            return read_envelope(entry.delivery, vhost=self._vhost)
        except UnknownEventTypeError:
            self.unknown_types += 1
        except LanguageError:
            self.refused += 1
        return None

    def _take(self, entry: Entry, envelope: Envelope | None) -> None:
        self.position, self.message_id = Position(entry.generation, entry.offset), entry.message_id
        self.entries += 1
        if envelope is None:
            return
        if envelope.time_ns > self.log_time_ns and is_of_the_site(envelope):
            self.log_time_ns = envelope.time_ns
        try:
            self.view.apply(envelope, heard_s=0.0)
        except Exception:  # noqa: BLE001 - the selector goes on, too: it reports what its view cannot take
            self.refused += 1


def is_record(entry: Entry) -> bool:
    """Tell whether an entry records decisions: selectors read no further than that, wherever nobody else may write."""
    return entry.type in RECORDS and entry.exchange == GRANTS


def is_of_the_site(envelope: Envelope) -> bool:
    """Tell whether the site itself says this, by its own clock."""
    return envelope.source == MASTER_SOURCE or envelope.source.startswith(_SELECTOR_PREFIX)


async def replay(
    source: Source, *, until: Until | None = None, progress: Callable[[Replayer], None] = lambda _: None
) -> Replayer:
    """Fold a source up to a place, a moment, or its end. ``progress`` is called after each batch.

    Raises:
        SourceError: it cannot be read.
    """
    replayer = Replayer(vhost=source.vhost)
    if isinstance(source, Proving):
        await _replay_proven(source, replayer, until, progress)
    async with aclosing(source.batches(after=replayer.position)) as batches:
        async for batch in batches:
            goes_on = replayer.fold_until(batch, until)
            progress(replayer)
            if not goes_on:
                break
    return replayer


async def _replay_proven(
    source: Proving, replayer: Replayer, until: Until | None, progress: Callable[[Replayer], None]
) -> None:
    """Fold what can be taken many at a time; what is left is taken entry by entry."""
    up_to = until if isinstance(until, Position) else None
    async with aclosing(source.proven(up_to=up_to)) as parts:
        async for some in parts:
            if not replayer.fold_proven(some, until):
                break
            progress(replayer)
