"""The fleet view: the state that the events of the log and the load reports add up to. Pure.

The view is the same whatever the order of the events and however often each is repeated: every thing that can be said
has one source that says it, and keeps what that source said last by ``(epoch, sequence)``. A higher epoch is a new
numbering by a source that lost the old one, so it ends whatever was said under lower ones. Two sources are never
compared: nothing but the log orders them.

A new generation of the log (``LogOpened``) takes nothing away: its events repeat or add. What was withdrawn in a log
that was lost is learnt at the master's restatement (``CatalogueRestated``), which counts like an inventory: the
master's facts under its ``since`` are as if never said, in whatever order facts and restatement arrive.
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from typing import NamedTuple, assert_never

from msgspec import Struct

from events.envelope import MASTER_SOURCE, Envelope, mirror_source
from events.grants import Binding
from events.names import ORIGIN, ChannelName, Digest, FilePath, MirrorName, Tag
from events.schemas import (
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
    LossReason,
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
from selection.view.acknowledgements import Acknowledgements, Followed, Withdrawal
from selection.view.catalogue import Catalogue, CatalogueDump
from selection.view.changes import Changes
from selection.view.contents import Contents, ContentsDump
from selection.view.file import Digests, Pieces, PublishedFile
from selection.view.policies import AddressPolicies, Said
from selection.view.replicas import Replicas, Told
from selection.view.roster import Mirror, Roster, RosterDump
from selection.view.sequences import SequenceTrack

_MIRROR_PREFIX = mirror_source(MirrorName(""))


class FleetDump(Struct, array_like=True, kw_only=True):
    """The view, as a snapshot has it."""

    contents: ContentsDump
    catalogue: CatalogueDump
    roster: RosterDump
    told: dict[int, Told]
    withdrawals: dict[FilePath, dict[ChannelName, Withdrawal]]
    followed: dict[int, dict[ChannelName, Followed]]
    policies: dict[ChannelName, Said]
    tracks: dict[str, SequenceTrack]
    floor: int
    log_generation: int
    revoked_start_by_s: int


class Parts(NamedTuple):
    """What a view is made of, for those who compare two of them."""

    contents: Contents
    roster: Roster
    replicas: Replicas
    acknowledgements: Acknowledgements
    policies: AddressPolicies


class FleetView:
    """What is published, which mirrors there are, who holds what and how each fares.

    ``revoked_start_by_s``: grants that could be begun no later may have been taken back, so new ones begin beyond it.
    """

    def __init__(self) -> None:
        self._contents = Contents()
        self._catalogue = Catalogue(self._contents)
        self._roster = Roster()
        self._replicas = Replicas(self._contents)
        self._acknowledgements = Acknowledgements()
        self._policies = AddressPolicies()
        self._told_by_name: dict[MirrorName, Told] = {}
        self._tracks: dict[str, SequenceTrack] = {}
        self._floor = 0
        self._followers: dict[tuple[ChannelName, ...], int] = {}
        self._followers_version = 0
        self._bindings: dict[tuple[tuple[ChannelName, ...], MirrorName], Binding] = {}
        self._bindings_version = 0, 0
        self.log_generation = 0
        self.revoked_start_by_s = 0

    @property
    def catalogue(self) -> Catalogue:
        """Give the published files."""
        return self._catalogue

    @property
    def parts(self) -> Parts:
        """Give what it is made of. Read only."""
        return Parts(self._contents, self._roster, self._replicas, self._acknowledgements, self._policies)

    @property
    def changes(self) -> Changes:
        """Give which mirrors changed lately in anything but what they hold and follow, by number."""
        return self._roster.changes

    def apply(self, envelope: Envelope, *, heard_s: float) -> None:
        """Fold one event. ``heard_s`` is when it arrived, on the listener's clock; it counts for load reports alone."""
        event, sequence = envelope.event, envelope.sequence
        if isinstance(event, LoadReported):  # telemetry may have gaps and keeps no history
            self._roster.weigh(event, version=envelope.version, heard_s=heard_s)
            return
        track = self._tracks.get(envelope.source)
        if track is None or track.epoch != envelope.epoch:
            track = self._begin_epoch(envelope, track)
            if track is None:
                return
        elif sequence == track.last + 1:
            track.last = sequence
        elif not track.note(sequence):
            return
        if isinstance(event, ReplicaReady):
            told = self._told_by_name.get(event.mirror) or self._told(event.mirror)
            self._replicas.ready(told, event, sequence, track)
        elif sequence >= self._floor or not self._is_void(envelope):
            self._fold(event, sequence=sequence, track=track)

    def apply_all(self, envelopes: Iterable[Envelope], *, heard_s: float = 0.0) -> None:
        """Fold many events: the same as folding one after the other, for less."""
        for envelope in envelopes:
            self.apply(envelope, heard_s=heard_s)

    @property
    def roster_version(self) -> int:
        """Give a number that rises whenever anything of a mirror changes but its load, its copies and its positions."""
        return self._roster.version

    def file(self, path: FilePath) -> PublishedFile | None:
        """Find a published file that visitors may know of: one that is held is none."""
        return self._catalogue.file(path)

    def digests(self, file: PublishedFile) -> Digests:
        """Give a file's other digests."""
        return self._catalogue.digests(file)

    def pieces(self, file: PublishedFile) -> Pieces:
        """Give the digests of a file's pieces."""
        return self._catalogue.pieces(file)

    def servers(self, file: PublishedFile) -> int:
        """Give the mirrors that can serve a file as far as the file goes, as a bit set: the second criterion.

        They follow a channel that holds it, hold its content, and have acted on the last withdrawal of its path from
        each channel that holds it and that they follow.
        """
        contents = self._contents
        held = contents.held.cells[contents.find(file.sha256)]
        servers = self.followers(file) & contents.sets.values[held]
        if servers and file.path in self._acknowledgements.withdrawals:
            for channel in file.channels:
                servers &= self._acknowledgements.acted(file.path, channel) | ~self._roster.followers(channel)
        return servers

    def metadata_holders(self, channel: ChannelName, tags: AbstractSet[Tag]) -> int:
        """Give the mirrors that follow a channel and hold all its files that carry one of these tags, as a bit set."""
        return self._roster.followers(channel) & self._catalogue.watches.holders(channel, tags)

    def mirrors(self) -> tuple[Mirror, ...]:
        """Give the mirrors of the fleet, by name."""
        return self._roster.fleet()

    def by_number(self, number: int) -> Mirror:
        """Give a mirror by its number."""
        return self._roster.by_number(number)

    def followed_by(self, mirror: Mirror) -> tuple[ChannelName, ...]:
        """Give the channels that a mirror has leave to follow."""
        return self._roster.channels_of(mirror.name)

    def followers(self, file: PublishedFile) -> int:
        """Give the mirrors that may serve a file, as a bit set: they follow a channel that holds it."""
        if self._followers_version != self._roster.version:
            self._followers, self._followers_version = {}, self._roster.version
        found = self._followers.get(file.channels)
        if found is None:
            found = 0
            for channel in file.channels:
                found |= self._roster.followers(channel)
            self._followers[file.channels] = found
        return found

    def withdrawn_from(self, file: PublishedFile) -> tuple[ChannelName, ...]:
        """Give the channels that hold a file and from which what stood under its path was withdrawn some time."""
        return self._acknowledgements.withdrawn_from(file.path, file.channels)

    def has_yet_to_withdraw(self, mirror: Mirror, file: PublishedFile, channel: ChannelName) -> bool:
        """Tell whether a mirror that follows a channel has yet to act on the last withdrawal of a file's path there."""
        follows = self._roster.followers(channel) & 1 << mirror.number
        return bool(follows) and self._acknowledgements.is_due(mirror.number, file.path, channel)

    def binding(self, file: PublishedFile, mirror: MirrorName) -> Binding:
        """Tell how closely a link to a mirror's copy is bound: as the strictest channel asks that it is served for.

        Those are the channels that hold the file and that the mirror follows; for the master's copy, all that hold it.
        """
        version = self._roster.version, self._policies.version
        if self._bindings_version != version:
            self._bindings, self._bindings_version = {}, version
        found = self._bindings.get((file.channels, mirror))
        if found is None:
            found = self._bindings[file.channels, mirror] = self._find_binding(file.channels, mirror)
        return found

    def _find_binding(self, channels: tuple[ChannelName, ...], mirror: MirrorName) -> Binding:
        if mirror != ORIGIN:
            bit = 1 << self._number(mirror)
            channels = tuple(channel for channel in channels if self._roster.followers(channel) & bit)
        return self._policies.binding(channels)

    def key_epoch(self, mirror: MirrorName) -> int:
        """Give the epoch of the key under which a mirror's grants are minted; the master has all of its own keys."""
        known = self.mirror(mirror)
        return known.rotation.key_epoch if mirror == ORIGIN else known.key_epoch

    def holders(self, sha256: Digest) -> int:
        """Give the mirrors that hold a content, as a bit set."""
        return self._replicas.holders(sha256)

    def copies(self, mirror: Mirror) -> int:
        """Count the contents that a mirror holds."""
        return self._replicas.copies(mirror.number)

    def mirror(self, name: MirrorName) -> Mirror:
        """Give what is known of a mirror."""
        return self._roster.mirror(name)

    def base_url(self, name: MirrorName) -> str:
        """Give the URL that a mirror gives for itself."""
        profile = self.mirror(name).profile
        return "" if profile is None else profile.url

    def announced(self, mirror: Mirror) -> bool:
        """Tell whether a mirror is online and has said all that it holds since it came."""
        return mirror.online and self._replicas.inventory_as_of(mirror.number) >= mirror.online_sequence

    def loss(self, mirror: Mirror, sha256: Digest) -> LossReason | None:
        """Give the reason for which a mirror lost a content, where that was its last word on it."""
        return self._replicas.loss(mirror.number, sha256)

    def declined(self, mirror: Mirror, sha256: Digest) -> ReplicaDeclined | None:
        """Give a mirror's last word on why it could not fetch a content."""
        return self._replicas.declined(mirror.number, sha256)

    def dump(self) -> FleetDump:
        """Give all that cannot be derived, as ``load`` takes it. It is the view's own: write it at once."""
        return FleetDump(
            contents=self._contents.dump(),
            catalogue=self._catalogue.dump(),
            roster=self._roster.dump(),
            told=self._replicas.told,
            withdrawals=self._acknowledgements.withdrawals,
            followed=self._acknowledgements.followed,
            policies=self._policies.said,
            tracks=self._tracks,
            floor=self._floor,
            log_generation=self.log_generation,
            revoked_start_by_s=self.revoked_start_by_s,
        )

    @classmethod
    def load(cls, dumped: FleetDump) -> FleetView:
        """Make a view of what ``dump`` gave."""
        view = cls()
        view._contents.load(dumped.contents)
        view._catalogue.load(dumped.catalogue)
        view._roster.load(dumped.roster)
        view._replicas.told = dumped.told
        view._acknowledgements.withdrawals = dumped.withdrawals
        view._acknowledgements.followed = dumped.followed
        view._policies.said = dumped.policies
        view._tracks, view._floor = dumped.tracks, dumped.floor
        view.log_generation, view.revoked_start_by_s = dumped.log_generation, dumped.revoked_start_by_s
        return view

    def missing_events(self) -> dict[str, int]:
        """Count, for each source with a gap in its numbers, the events that never arrived."""
        return {source: missing for source, track in sorted(self._tracks.items()) if (missing := track.missing)}

    def _fold(self, event: Event, *, sequence: int, track: SequenceTrack) -> None:  # noqa: C901, PLR0912 - a case for each kind
        """Fold what holds, the most frequent first; ``sequence`` and ``track`` are its source's."""
        match event:
            case ReplicaReady() | ReplicaLost():
                self._replicas.apply(self._told(event.mirror), event, sequence=sequence, track=track)
            case FilePublished():
                self._catalogue.apply(event, sequence=sequence, is_whole=self._is_whole(track))
            case FileWithdrawn():
                self._catalogue.apply(event, sequence=sequence, is_whole=self._is_whole(track))
                self._acknowledgements.withdraw(event, epoch=track.epoch, sequence=sequence)
            case InventoryAnnounced():
                if self._replicas.page(self._told(event.mirror), event, track=track):
                    self._roster.note_change(self._number(event.mirror))
            case ReplicaDeclined():
                self._replicas.decline(self._told(event.mirror), event, sequence=sequence)
            case ChannelFollowed():
                self._acknowledgements.follow(self._number(event.mirror), event, sequence=sequence)
            case ChannelDefined() | ChannelRemoved():
                self._policies.apply(event, sequence=sequence)
            case MirrorJoined() | MirrorLeft():
                self._roster.enrol(event, sequence=sequence)
            case MirrorRuled():
                self._roster.rule(event, sequence=sequence)
            case SubscriptionGranted() | SubscriptionRevoked():
                self._roster.subscribe(event, sequence=sequence)
            case MirrorCameOnline() | MirrorWentOffline():
                self._roster.attend(event, sequence=sequence)
            case AvailabilityChanged():
                self._roster.open(event, sequence=sequence)
            case KeysRotated():
                self._roster.rotate(event, sequence=sequence)
            case GrantsRevoked():
                self.revoked_start_by_s = max(self.revoked_start_by_s, event.start_by_s_max)
            case LogOpened() | CatalogueRestated():
                self._begin_anew(event)
            case (
                MirrorInvited()
                | StandingRecorded()
                | DecisionsRecorded()
                | DownloadsGranted()
                | DownloadsReported()
                | SelectorCameOnline()
                | EventUnreadable()
                | SourceBanned()
                | QuotaReached()
                | GrantClaimed()
                | LoadReported()  # weighed before
            ):
                pass
            case _:
                assert_never(event)

    def _told(self, mirror: MirrorName) -> Told:
        told = self._told_by_name.get(mirror)
        if told is None:
            told = self._told_by_name[mirror] = self._replicas.of(self._number(mirror))
        return told

    def _number(self, mirror: MirrorName) -> int:
        return self._roster.mirror(mirror).number

    def _is_whole(self, track: SequenceTrack) -> bool:
        """Tell whether all that the master said since its last restatement was heard."""
        return track.is_whole_after(self._floor - 1 if self._floor else 0)

    def _begin_epoch(self, envelope: Envelope, track: SequenceTrack | None) -> SequenceTrack | None:
        """Let a source's new epoch end its older ones; None: this is one of those."""
        if track is not None:
            if envelope.epoch < track.epoch:
                return None
            self._forget(envelope.source)
        begun = self._tracks[envelope.source] = SequenceTrack(envelope.epoch, envelope.sequence, envelope.sequence)
        return begun

    def _is_void(self, envelope: Envelope) -> bool:
        """Tell whether a restatement took the place of what the master says here. A log that it opened is open."""
        is_under = envelope.source == MASTER_SOURCE and envelope.sequence < self._floor
        return is_under and not isinstance(envelope.event, LogOpened)

    def _begin_anew(self, event: LogOpened | CatalogueRestated) -> None:
        """Note a new log, or let the master's facts from before its restatement hold no longer."""
        if isinstance(event, LogOpened):
            self.log_generation = max(self.log_generation, event.generation)
        elif event.since > self._floor:
            self._floor = event.since
            self._catalogue.forget_before(event.since)
            self._roster.forget_master_before(event.since)
            self._policies.forget_before(event.since)
            self._acknowledgements.forget_before(event.since)

    def _forget(self, source: str) -> None:
        if source == MASTER_SOURCE:
            self._floor = 0
            self._contents.disuse_all()
            self._catalogue = Catalogue(self._contents)
            self._roster.forget_master()
            self._policies.forget()
            self._acknowledgements.forget_master()
        elif source.startswith(_MIRROR_PREFIX):
            name = MirrorName(source.removeprefix(_MIRROR_PREFIX))
            self._roster.forget_mirror(name)
            self._replicas.forget(self._number(name))
            self._acknowledgements.forget_mirror(self._number(name))
