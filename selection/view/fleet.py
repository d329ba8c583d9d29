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
from typing import NamedTuple

from msgspec import Struct

from events.envelope import Envelope
from events.grants import Binding
from events.names import ORIGIN, ChannelName, Digest, FilePath, MirrorName, Tag
from events.schemas import LossReason, ReplicaDeclined
from selection.view.acknowledgements import Acknowledgements, Followed, Withdrawal
from selection.view.catalogue import Catalogue, CatalogueDump
from selection.view.changes import Changes
from selection.view.contents import Contents, ContentsDump
from selection.view.file import Digests, Pieces, PublishedFile
from selection.view.folding import Folding
from selection.view.policies import AddressPolicies, Said
from selection.view.replicas import Replicas, Told
from selection.view.roster import Mirror, Roster, RosterDump
from selection.view.sequences import SequenceTrack


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
    """What is published, which mirrors there are, who holds what and how each fares."""

    def __init__(self, folding: Folding | None = None) -> None:
        self._folding = folding or Folding()
        self._contents, self._roster = self._folding.contents, self._folding.roster
        self._replicas, self._policies = self._folding.replicas, self._folding.policies
        self._acknowledgements = self._folding.acknowledgements
        self._followers: dict[tuple[ChannelName, ...], int] = {}
        self._followers_version = 0
        self._bindings: dict[tuple[tuple[ChannelName, ...], MirrorName], Binding] = {}
        self._bindings_version = 0, 0

    @property
    def catalogue(self) -> Catalogue:
        """Give the published files."""
        return self._folding.catalogue

    @property
    def parts(self) -> Parts:
        """Give what it is made of. Read only."""
        return Parts(self._contents, self._roster, self._replicas, self._acknowledgements, self._policies)

    @property
    def changes(self) -> Changes:
        """Give which mirrors changed lately in anything but what they hold and follow, by number."""
        return self._roster.changes

    @property
    def log_generation(self) -> int:
        """Give the newest generation of the log that the master opened."""
        return self._folding.log_generation

    @property
    def revoked_start_by_s(self) -> int:
        """Give until when grants begin that may have been taken back: new ones begin beyond it."""
        return self._folding.revoked_start_by_s

    def apply(self, envelope: Envelope, *, heard_s: float) -> None:
        """Fold one event. ``heard_s`` is when it arrived, on the listener's clock; it counts for load reports alone."""
        self._folding.apply(envelope, heard_s)

    def pass_over(self, source: str, epoch: int, sequence: int) -> None:
        """Take note of an event of the log that tells a view nothing and was not read: it is missing no more."""
        self._folding.pass_over(source, epoch, sequence)

    def apply_all(self, envelopes: Iterable[Envelope], *, heard_s: float = 0.0) -> None:
        """Fold many events: the same as folding one after the other, for less."""
        self._folding.apply_all(envelopes, heard_s)

    @property
    def roster_version(self) -> int:
        """Give a number that rises whenever anything of a mirror changes but its load, its copies and its positions."""
        return self._roster.version

    def file(self, path: FilePath) -> PublishedFile | None:
        """Find a published file that visitors may know of: one that is held is none."""
        return self._folding.catalogue.file(path)

    def digests(self, file: PublishedFile) -> Digests:
        """Give a file's other digests."""
        return self._folding.catalogue.digests(file)

    def pieces(self, file: PublishedFile) -> Pieces:
        """Give the digests of a file's pieces."""
        return self._folding.catalogue.pieces(file)

    def servers(self, file: PublishedFile) -> int:
        """Give the mirrors that can serve a file as far as the file goes, as a bit set: the second criterion.

        They follow a channel that holds it, hold its content, and have acted on the last withdrawal of its path from
        each channel that holds it and that they follow.
        """
        contents = self._contents
        held = contents.holders_at(file.content, file.sha256)
        servers = self.followers(file) & contents.sets.values[held]
        if servers and file.path in self._acknowledgements.withdrawals:
            for channel in file.channels:
                servers &= self._acknowledgements.acted(file.path, channel) | ~self._roster.followers(channel)
        return servers

    def metadata_holders(self, channel: ChannelName, tags: AbstractSet[Tag]) -> int:
        """Give the mirrors that follow a channel and hold all its files that carry one of these tags, as a bit set."""
        return self._roster.followers(channel) & self._folding.catalogue.watches.holders(channel, tags)

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
            bit = 1 << self._folding.number(mirror)
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
            catalogue=self.catalogue.dump(),
            roster=self._roster.dump(),
            told=self._replicas.told,
            withdrawals=self._acknowledgements.withdrawals,
            followed=self._acknowledgements.followed,
            policies=self._policies.said,
            tracks=self._folding.tracks,
            floor=self._folding.floor,
            log_generation=self.log_generation,
            revoked_start_by_s=self.revoked_start_by_s,
        )

    @classmethod
    def load(cls, dumped: FleetDump) -> FleetView:
        """Make a view of what ``dump`` gave."""
        folding = Folding()
        folding.contents.load(dumped.contents)
        folding.catalogue.load(dumped.catalogue)
        folding.roster.load(dumped.roster)
        folding.replicas.told = dumped.told
        folding.acknowledgements.withdrawals = dumped.withdrawals
        folding.acknowledgements.followed = dumped.followed
        folding.policies.said = dumped.policies
        folding.tracks, folding.floor = dumped.tracks, dumped.floor
        folding.log_generation, folding.revoked_start_by_s = dumped.log_generation, dumped.revoked_start_by_s
        return cls(folding)

    def missing_events(self) -> dict[str, int]:
        """Count, for each source with a gap in its numbers, the events that never arrived."""
        return {source: missing for source, track in sorted(self._folding.tracks.items()) if (missing := track.missing)}
