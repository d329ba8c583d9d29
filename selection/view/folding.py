"""How events become what a view knows: each kind by its own rule, each source in its own order. Pure.

Sources are never compared, so of many events at once those of one source are folded together: copies that a mirror
tells of in a row then cost a fraction of what they cost one by one.

Whoever gives envelopes here has made sure that each is said by whom it is about (``events.routing.verify_address``).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import groupby
from types import MappingProxyType
from typing import Any, Final, NamedTuple, TypeAlias, cast

from msgspec import Struct

from events.envelope import MASTER_SOURCE, Envelope, Version, mirror_source
from events.names import MirrorName
from events.schemas import (
    EVENT_TYPES,
    AvailabilityChanged,
    CatalogueRestated,
    ChannelDefined,
    ChannelFollowed,
    ChannelRemoved,
    DecisionsRecorded,
    DownloadsGranted,
    DownloadsReported,
    Event,
    EventUnreadable,
    FilePublished,
    FileWithdrawn,
    GrantClaimed,
    GrantsRevoked,
    InventoryAnnounced,
    KeysRotated,
    LoadReported,
    LogOpened,
    MirrorCameOnline,
    MirrorInvited,
    MirrorJoined,
    MirrorLeft,
    MirrorRuled,
    MirrorWentOffline,
    QuotaReached,
    ReplicaDeclined,
    ReplicaLost,
    ReplicaReady,
    SelectorCameOnline,
    SourceBanned,
    StandingRecorded,
    SubscriptionGranted,
    SubscriptionRevoked,
)
from events.twins import Excerpt, Unread
from selection.view.acknowledgements import Acknowledgements
from selection.view.catalogue import Catalogue
from selection.view.contents import Contents
from selection.view.policies import AddressPolicies
from selection.view.replicas import Replicas, Told
from selection.view.roster import Roster
from selection.view.sequences import SequenceTrack

SAYS_NOTHING: Final = frozenset[type[Event]]({
    MirrorInvited,
    StandingRecorded,
    DecisionsRecorded,
    DownloadsGranted,
    DownloadsReported,
    SelectorCameOnline,
    EventUnreadable,
    SourceBanned,
    QuotaReached,
    GrantClaimed,
})  # fmt: skip
"""The kinds of events that say nothing of what a view knows. Of them only the numbers count, as of any."""

FOLDED: Final = frozenset(EVENT_TYPES) - SAYS_NOTHING
"""The kinds that a reader for a view has to read."""

EXCERPTS: Final[Mapping[type[Struct], str]] = MappingProxyType({ReplicaReady: "sha256"})
"""Of which of them it need not read what stands after this field. Most events tell of a copy, and only whose and of
which content it is counts."""

TOGETHER_MIN: Final = 4  # events of one source in a row; below it is as quick to fold each by itself
_MIRROR_PREFIX: Final = mirror_source(MirrorName(""))

_Fold: TypeAlias = Callable[[Any, int, SequenceTrack], None]  # the event, its source's number of it, and all of those


class Run(NamedTuple):
    """Events that one source said in a row; it gave them the numbers from ``first`` on."""

    source: str
    first: int
    events: Sequence[Event]


_FoldRun: TypeAlias = Callable[[Run, SequenceTrack], None]


class Folding:
    """What the events of the log and the load reports add up to, and the numbers of each source."""

    def __init__(self) -> None:
        self.contents = Contents()
        self.catalogue = Catalogue(self.contents)
        self.roster = Roster()
        self.replicas = Replicas(self.contents)
        self.acknowledgements = Acknowledgements()
        self.policies = AddressPolicies()
        self.tracks: dict[str, SequenceTrack] = {}
        self.floor = 0
        self.log_generation = 0
        self.revoked_start_by_s = 0
        self._told_by_name: dict[MirrorName, Told] = {}
        self._folds: dict[type, _Fold] = {
            ReplicaReady: self._ready,
            ReplicaLost: self._lose,
            ReplicaDeclined: self._decline,
            InventoryAnnounced: self._list,
            FilePublished: self._publish,
            FileWithdrawn: self._withdraw,
            ChannelFollowed: self._follow,
            ChannelDefined: self._define,
            ChannelRemoved: self._define,
            MirrorJoined: self._enrol,
            MirrorLeft: self._enrol,
            MirrorRuled: self._rule,
            SubscriptionGranted: self._subscribe,
            SubscriptionRevoked: self._subscribe,
            MirrorCameOnline: self._attend,
            MirrorWentOffline: self._attend,
            AvailabilityChanged: self._open,
            KeysRotated: self._rotate,
            GrantsRevoked: self._revoke,
            LogOpened: self._open_log,
            CatalogueRestated: self._restate,
            LoadReported: _telemetry,
        }
        self._together: dict[type, _FoldRun] = {
            ReplicaReady: self._tell_all,
            ReplicaLost: self._tell_all,
            FilePublished: self._publish_all,
        }

    def apply(self, envelope: Envelope, heard_s: float) -> None:
        """Fold one event."""
        event = envelope.event
        fold = self._folds.get(type(event)) or self._learn(type(event))
        if fold is _telemetry:  # it may have gaps and keeps no history
            self.roster.weigh(cast("LoadReported", event), version=envelope.version, heard_s=heard_s)
            return
        sequence = envelope.sequence
        track = self.tracks.get(envelope.source)
        if track is None or track.epoch != envelope.epoch:
            track = self._begin_epoch(envelope.source, envelope.epoch, sequence, track)
            if track is None:
                return
        elif sequence == track.last + 1:
            track.last = sequence
        elif not track.note(sequence):
            return
        if sequence >= self.floor or not self._is_void(envelope.source, sequence, event):
            fold(event, sequence, track)

    def pass_over(self, source: str, epoch: int, sequence: int) -> None:
        """Note the number of an event of which nothing is folded."""
        track = self.tracks.get(source)
        if track is None or track.epoch != epoch:
            self._begin_epoch(source, epoch, sequence, track)
        else:
            track.note(sequence)

    def apply_all(self, envelopes: Iterable[Envelope], heard_s: float) -> None:
        """Fold many events."""
        by_source: defaultdict[str, list[Envelope]] = defaultdict(list)
        for envelope in envelopes:
            by_source[envelope.source].append(envelope)
        for source, said in by_source.items():
            track = self.tracks.get(source)
            if track is not None and len(said) >= TOGETHER_MIN and _goes_on(said, track):
                self._apply_together(Run(source, track.last + 1, [envelope.event for envelope in said]), track)
            elif all(isinstance(envelope.event, LoadReported) for envelope in said):
                self.apply(max(said, key=_version_of), heard_s)  # the last one tells all
            else:
                for envelope in said:
                    self.apply(envelope, heard_s)
        self.replicas.settle()

    def _apply_together(self, said: Run, track: SequenceTrack) -> None:
        """Fold what one source said in a row, by runs of what is folded together."""
        folds = {self._together_of(kind) for kind in {*map(type, said.events)}}
        if len(folds) == 1:
            folds.pop()(said, track)
            return
        first = said.first
        for fold, run in groupby(said.events, lambda event: self._together_of(type(event))):
            events = [*run]
            fold(Run(said.source, first, events), track)
            first += len(events)

    def _each(self, said: Run, track: SequenceTrack) -> None:
        """Fold a run one by one."""
        for sequence, event in enumerate(said.events, said.first):
            track.last = sequence
            if sequence >= self.floor or not self._is_void(said.source, sequence, event):
                self._folds[type(event)](event, sequence, track)

    def _tell_all(self, said: Run, track: SequenceTrack) -> None:
        """Fold which copies a mirror has and lost."""
        facts = cast("list[ReplicaReady | ReplicaLost]", said.events)
        told = self.told(facts[0].mirror)
        if self.replicas.is_plain(told, said.first, len(facts), track):
            track.last += len(facts)
            self.replicas.tell_all(told, facts, said.first)
        else:
            self._each(said, track)

    def _publish_all(self, said: Run, track: SequenceTrack) -> None:
        """Fold what was published."""
        if self.catalogue.withdrawn or said.first < self.floor:
            self._each(said, track)
            return
        track.last += len(said.events)
        for sequence, event in enumerate(cast("list[FilePublished]", said.events), said.first):
            self.catalogue.publish(event, sequence)

    def told(self, mirror: MirrorName) -> Told:
        """Give what a mirror said of its copies."""
        told = self._told_by_name.get(mirror)
        if told is None:
            told = self._told_by_name[mirror] = self.replicas.of(self.number(mirror))
        return told

    def number(self, mirror: MirrorName) -> int:
        """Give the number of a mirror; one that nobody spoke of yet is given one."""
        return self.roster.mirror(mirror).number

    def _ready(self, event: ReplicaReady, sequence: int, track: SequenceTrack) -> None:
        told = self._told_by_name.get(event.mirror) or self.told(event.mirror)
        self.replicas.ready(told, event, sequence, track)

    def _lose(self, event: ReplicaLost, sequence: int, track: SequenceTrack) -> None:
        self.replicas.apply(self.told(event.mirror), event, sequence=sequence, track=track)

    def _decline(self, event: ReplicaDeclined, sequence: int, _track: SequenceTrack) -> None:
        self.replicas.decline(self.told(event.mirror), event, sequence=sequence)

    def _list(self, event: InventoryAnnounced, _sequence: int, track: SequenceTrack) -> None:
        if self.replicas.page(self.told(event.mirror), event, track=track):
            self.roster.note_change(self.number(event.mirror))

    def _publish(self, event: FilePublished, sequence: int, track: SequenceTrack) -> None:
        self.catalogue.publish(event, sequence)
        if self.catalogue.withdrawn and self._is_whole(track):
            self.catalogue.forget_withdrawn()

    def _withdraw(self, event: FileWithdrawn, sequence: int, track: SequenceTrack) -> None:
        is_whole = self._is_whole(track)
        self.catalogue.withdraw(event, sequence, is_whole=is_whole)
        if is_whole:
            self.catalogue.forget_withdrawn()
        self.acknowledgements.withdraw(event, epoch=track.epoch, sequence=sequence)

    def _follow(self, event: ChannelFollowed, sequence: int, _track: SequenceTrack) -> None:
        self.acknowledgements.follow(self.number(event.mirror), event, sequence=sequence)

    def _define(self, event: ChannelDefined | ChannelRemoved, sequence: int, _track: SequenceTrack) -> None:
        self.policies.apply(event, sequence=sequence)

    def _enrol(self, event: MirrorJoined | MirrorLeft, sequence: int, _track: SequenceTrack) -> None:
        self.roster.enrol(event, sequence=sequence)

    def _rule(self, event: MirrorRuled, sequence: int, _track: SequenceTrack) -> None:
        self.roster.rule(event, sequence=sequence)

    def _subscribe(
        self, event: SubscriptionGranted | SubscriptionRevoked, sequence: int, _track: SequenceTrack
    ) -> None:
        self.roster.subscribe(event, sequence=sequence)

    def _attend(self, event: MirrorCameOnline | MirrorWentOffline, sequence: int, _track: SequenceTrack) -> None:
        self.roster.attend(event, sequence=sequence)

    def _open(self, event: AvailabilityChanged, sequence: int, _track: SequenceTrack) -> None:
        self.roster.open(event, sequence=sequence)

    def _rotate(self, event: KeysRotated, sequence: int, _track: SequenceTrack) -> None:
        self.roster.rotate(event, sequence=sequence)

    def _revoke(self, event: GrantsRevoked, _sequence: int, _track: SequenceTrack) -> None:
        self.revoked_start_by_s = max(self.revoked_start_by_s, event.start_by_s_max)

    def _open_log(self, event: LogOpened, _sequence: int, _track: SequenceTrack) -> None:
        self.log_generation = max(self.log_generation, event.generation)

    def _restate(self, event: CatalogueRestated, _sequence: int, _track: SequenceTrack) -> None:
        """Let the master's facts from before its restatement hold no longer."""
        if event.since > self.floor:
            self.floor = event.since
            self.catalogue.forget_before(event.since)
            self.roster.forget_master_before(event.since)
            self.policies.forget_before(event.since)
            self.acknowledgements.forget_before(event.since)

    def _learn(self, kind: type) -> _Fold:
        """Find how a kind is folded that is a twin of another, or says nothing here."""
        kinds = kind.schema.__mro__ if issubclass(kind, Excerpt) else kind.__mro__
        schema = next((base for base in kinds if base in self._folds), None)
        if schema is None and not issubclass(kind, (Unread, *SAYS_NOTHING)):
            raise TypeError(f"{kind} is no event")
        fold = self._folds[kind] = self._folds[schema] if schema else _pass
        if fold is _pass:
            self._together[kind] = _pass_all
        elif schema in self._together:
            self._together[kind] = self._together[schema]
        return fold

    def _together_of(self, kind: type) -> _FoldRun:
        """Find how a run of events of a kind is folded."""
        if kind not in self._folds:
            self._learn(kind)
        return self._together.get(kind, self._each)

    def _is_whole(self, track: SequenceTrack) -> bool:
        """Tell whether all that the master said since its last restatement was heard."""
        return track.is_whole_after(self.floor - 1 if self.floor else 0)

    def _begin_epoch(self, source: str, epoch: int, sequence: int, track: SequenceTrack | None) -> SequenceTrack | None:
        """Let a source's new epoch end its older ones; None: this is one of those."""
        if track is not None:
            if epoch < track.epoch:
                return None
            self._forget(source)
        begun = self.tracks[source] = SequenceTrack(epoch, sequence, sequence)
        return begun

    def _is_void(self, source: str, sequence: int, event: Event) -> bool:
        """Tell whether a restatement took the place of what the master says here. A log that it opened is open."""
        return source == MASTER_SOURCE and sequence < self.floor and not isinstance(event, LogOpened)

    def _forget(self, source: str) -> None:
        if source == MASTER_SOURCE:
            self.floor = 0
            self.contents.disuse_all()
            self.catalogue = Catalogue(self.contents)
            self.roster.forget_master()
            self.policies.forget()
            self.acknowledgements.forget_master()
        elif source.startswith(_MIRROR_PREFIX):
            name = MirrorName(source.removeprefix(_MIRROR_PREFIX))
            self.roster.forget_mirror(name)
            self.replicas.forget(self.number(name))
            self.acknowledgements.forget_mirror(self.number(name))


def _version_of(envelope: Envelope) -> Version:
    return envelope.version


def _goes_on(said: Sequence[Envelope], track: SequenceTrack) -> bool:
    """Tell whether these are the next numbers of a source, without a gap."""
    first, epoch = said[0].sequence, track.epoch
    if first != track.last + 1 or said[-1].sequence != track.last + len(said):
        return False
    numbers = [envelope.sequence for envelope in said if envelope.epoch == epoch]
    return numbers == [*range(first, first + len(said))]


def _telemetry(_event: object, _sequence: int, _track: SequenceTrack) -> None:
    """Stand for what has no place in any order of the log: ``apply`` weighs it."""


def _pass(_event: object, _sequence: int, _track: SequenceTrack) -> None:
    """Fold what says nothing of what a view knows."""


def _pass_all(said: Run, track: SequenceTrack) -> None:
    """Fold a run of what says nothing of what a view knows."""
    track.last += len(said.events)
