"""The catalogue's rows: files, the channels they are in, and the channels themselves, within one transaction."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec
from sqlalchemy import delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from events.names import HELD_PREFIX, ORIGIN_CHANNEL, ChannelName, Digest, FilePath, Tag, held_path
from events.schemas import Access, AccessMode, AddressPolicy, ChannelDefined, FilePublished, Filter
from master.catalogue import NOTHING, Entered, PublishedFile, Standing, event_of
from master.checksums import Checksums
from master.hashing import Fingerprint, Source
from master.holds import PathState
from master.pieces import Pieces
from master.store.statements import portions, upsert
from master.store.tables import ChannelRow, FileRow, JsonObject, MembershipRow, SettingRow

_LARGEST_BYTES: Final = "largest_bytes"


@dataclass(frozen=True, slots=True, kw_only=True)
class Channel:
    """A channel as a person defined it."""

    name: ChannelName
    filter: Filter
    description: str
    address_policy: AddressPolicy = AddressPolicy.STRICT

    def definition(self) -> ChannelDefined:
        """Give the event that says all of it."""
        return ChannelDefined(
            channel=self.name,
            filter=self.filter,
            description=self.description,
            address_policy=self.address_policy,
        )


@dataclass(frozen=True, slots=True)
class Entry:
    """A file of a channel, with the number of the fact that last said so."""

    file: PublishedFile
    channel_sequence: int


@dataclass(frozen=True, slots=True)
class Copy:
    """A published file with the place of its bytes."""

    file: PublishedFile
    source: Source


class CatalogueTables:
    """Reads and writes the catalogue in one transaction. Who is in which channel is written by the journal."""

    def __init__(self, session: AsyncSession) -> None:
        self._session = session
        self._loaded: list[FileRow] = []  # the session itself lets rows go, and would ask for each of them again

    async def standing(self, path: FilePath) -> Standing:
        """Tell what stands under a path, which may be that of a held file."""
        return (await self._standings([path])).get(path, NOTHING)

    async def state(self, path: FilePath) -> PathState:
        """Tell what stands under a path, and what is held for it."""
        return (await self.states([path]))[path]

    async def states(self, paths: Sequence[FilePath]) -> Mapping[FilePath, PathState]:
        """Tell of each path what stands under it, and what is held for it."""
        known = await self._standings([*paths, *map(held_path, paths)])
        return {path: PathState(known.get(path, NOTHING), known.get(held_path(path), NOTHING)) for path in paths}

    async def _standings(self, paths: Sequence[FilePath]) -> Mapping[FilePath, Standing]:
        channels: defaultdict[str, list[str]] = defaultdict(list)
        rows: list[FileRow] = []
        for some in portions(paths):
            rows += await self._session.scalars(select(FileRow).where(FileRow.path.in_(some)))
            memberships = select(MembershipRow.path, MembershipRow.channel).where(MembershipRow.path.in_(some))
            for path, channel in await self._session.execute(memberships):
                channels[path].append(channel)
        self._loaded += rows
        return {FilePath(row.path): _standing(row, channels[row.path]) for row in rows}

    def _let_go(self) -> None:
        """Forget what was loaded: it is written now, past the session."""
        for row in self._loaded:
            self._session.expunge(row)
        self._loaded.clear()

    async def standings(self) -> Sequence[Standing]:
        """Tell what stands under each path that has a file, in the order of paths."""
        channels: defaultdict[str, list[str]] = defaultdict(list)
        for path, channel in await self._session.execute(select(MembershipRow.path, MembershipRow.channel)):
            channels[path].append(channel)
        rows = await self._session.scalars(
            select(FileRow).where(FileRow.source_path.is_not(None)).order_by(FileRow.path)
        )
        return [_standing(row, channels[row.path]) for row in rows]

    async def source(self, path: FilePath) -> Source | None:
        """Tell where the bytes of a published file stand."""
        row = await self._session.get(FileRow, path)
        return None if row is None else _source(row)

    async def copies(self, sha256: Digest) -> Sequence[Copy]:
        """Give all published files with this content, by path."""
        rows = await self._session.scalars(
            select(FileRow).where(FileRow.sha256 == sha256, FileRow.source_path.is_not(None)).order_by(FileRow.path)
        )
        return [Copy(_file(row), source) for row in rows if (source := _source(row)) is not None]

    async def channels_holding(self, sha256: Digest) -> frozenset[ChannelName]:
        """Give the channels that hold any file with this content."""
        holding = (
            select(MembershipRow.channel)
            .join(FileRow, FileRow.path == MembershipRow.path)
            .where(FileRow.sha256 == sha256)
            .distinct()
        )
        return frozenset(ChannelName(channel) for channel in await self._session.scalars(holding))

    async def put_files(self, copies: Sequence[Copy]) -> None:
        """Write the rows of files; their channels are the journal's."""
        self._let_go()
        for some in portions([_row(copy) for copy in copies]):
            await self._session.execute(upsert(self._session, FileRow), some)
        largest = await self._session.get_one(SettingRow, _LARGEST_BYTES)
        largest.value = max([largest.value, *(copy.file.size_bytes for copy in copies)])

    async def largest_bytes(self) -> int:
        """Give the size of the largest file that was ever published."""
        return (await self._session.get_one(SettingRow, _LARGEST_BYTES)).value

    async def last_content(self, path: FilePath) -> tuple[Digest, int] | None:
        """Give digest and size of what stands under a path, or stood there last."""
        row = await self._session.get(FileRow, path)
        return None if row is None else (Digest(row.sha256), row.size_bytes)

    async def forget_files(self, paths: Sequence[FilePath]) -> None:
        """Keep of files what counts on: their generations, and what they were."""
        self._let_go()
        for some in portions(paths):
            await self._session.execute(update(FileRow).where(FileRow.path.in_(some)).values(source_path=None))

    async def entries(self, channel: ChannelName) -> Sequence[Entry]:
        """Give all files of a channel, in the order in which they were last said to be in it."""
        joined = (
            select(FileRow, MembershipRow.channel_sequence)
            .join(MembershipRow, MembershipRow.path == FileRow.path)
            .where(MembershipRow.channel == channel)
            .order_by(MembershipRow.channel_sequence)
        )
        return [Entry(_file(row), sequence) for row, sequence in await self._session.execute(joined)]

    async def facts(self, channel: ChannelName) -> Sequence[FilePublished]:
        """Give again, with their own numbers, the events that say what is in a channel."""
        said = (
            event_of(Entered(channel, entry.file), channel_sequence=entry.channel_sequence)
            for entry in await self.entries(channel)
        )
        return [event for event in said if isinstance(event, FilePublished)]

    async def channels(self) -> Sequence[Channel]:
        """Give all channels but ``origin``, by name."""
        return [_channel(row) for row in await self._session.scalars(select(ChannelRow).order_by(ChannelRow.name))]

    async def filters(self) -> Mapping[ChannelName, Filter]:
        """Give each channel's filter."""
        return {channel.name: channel.filter for channel in await self.channels()}

    async def channel(self, name: ChannelName) -> Channel | None:
        """Give a channel."""
        row = await self._session.get(ChannelRow, name)
        return None if row is None else _channel(row)

    async def put_channel(self, channel: Channel) -> None:
        """Define a channel, or define it anew."""
        await self._session.merge(
            ChannelRow(
                name=channel.name,
                filter=msgspec.convert(msgspec.structs.asdict(channel.filter), JsonObject),
                description=channel.description,
                address_policy=channel.address_policy.value,
            )
        )
        await self._session.flush()

    async def remove_channel(self, name: ChannelName) -> None:
        """Forget a channel; its numbering stays."""
        await self._session.execute(delete(ChannelRow).where(ChannelRow.name == name))

    async def holdings(self, channel: ChannelName) -> Sequence[Standing]:
        """Tell what stands under each path that a channel holds, in the order of paths."""
        return [standing for standing in await self.standings() if channel in standing.channels]

    async def counts(self) -> Mapping[ChannelName, int]:
        """Count the files of each channel, ``origin`` among them, without those that are held."""
        visible = ~MembershipRow.path.startswith(HELD_PREFIX, autoescape=True)
        grouped = select(MembershipRow.channel, func.count()).where(visible).group_by(MembershipRow.channel)
        counts = {ChannelName(name): count for name, count in await self._session.execute(grouped)}
        return {ORIGIN_CHANNEL: 0} | counts


def _standing(row: FileRow, channels: Iterable[str]) -> Standing:
    return Standing(
        file=None if row.source_path is None else _file(row),
        last_generation=row.generation,
        channels=frozenset(ChannelName(channel) for channel in channels),
    )


def _row(copy: Copy) -> dict[str, object]:
    file, source = copy.file, copy.source
    return {
        "path": file.path,
        "generation": file.generation,
        "size_bytes": file.size_bytes,
        "sha256": file.sha256,
        "media_type": file.media_type,
        "tags": list(file.tags),
        "networks": list(file.access.networks),
        "access_mode": file.access.mode.value,
        "named_channels": None if file.named_channels is None else list(file.named_channels),
        "published_at_ns": file.published_at_ns,
        "piece_bytes": file.pieces.piece_bytes,
        "piece_digests": file.pieces.digests,
        "md5": file.checksums.md5,
        "sha1": file.checksums.sha1,
        "source_path": str(source.location),
        "inode": source.fingerprint.inode,
        "mtime_ns": source.fingerprint.mtime_ns,
        "hashed_at_ns": source.hashed_at_ns,
    }


def _file(row: FileRow) -> PublishedFile:
    named = row.named_channels
    return PublishedFile(
        path=FilePath(row.path),
        generation=row.generation,
        size_bytes=row.size_bytes,
        sha256=Digest(row.sha256),
        media_type=row.media_type,
        tags=tuple(Tag(tag) for tag in row.tags),
        access=Access(networks=tuple(row.networks), mode=AccessMode(row.access_mode)),
        named_channels=None if named is None else tuple(ChannelName(name) for name in named),
        published_at_ns=row.published_at_ns,
        pieces=Pieces(row.piece_bytes, row.piece_digests),
        checksums=Checksums(row.md5, row.sha1),
    )


def _source(row: FileRow) -> Source | None:
    if row.source_path is None:
        return None
    fingerprint = Fingerprint(size_bytes=row.size_bytes, mtime_ns=row.mtime_ns, inode=row.inode)
    return Source(location=Path(row.source_path), fingerprint=fingerprint, hashed_at_ns=row.hashed_at_ns)


def _channel(row: ChannelRow) -> Channel:
    rules = msgspec.convert([row.filter[name] for name in Filter.__struct_fields__], Filter)
    return Channel(
        name=ChannelName(row.name),
        filter=rules,
        description=row.description,
        address_policy=AddressPolicy(row.address_policy),
    )
