"""Writing the log into segments, and reading it again."""

from __future__ import annotations

import stat
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path

import pytest

from history.entry import Entry, Position
from history.export.exporting import Exported, export_log
from history.export.folder import ExportBusyError, ExportError
from history.export.source import ExportSource
from history.export.writer import ExportWriter
from history.privacy import Addresses
from history.sources.port import Extent, SourceError

EXPORT_ID = bytes(16)
VHOST = "site"


class ListedSource:
    """A log that is a list; it fails before the entry with the number ``fails_at``."""

    def __init__(self, entries: Sequence[Entry], *, vhost: str = VHOST, fails_at: int | None = None) -> None:
        self._entries, self._vhost, self._fails_at = entries, vhost, fails_at

    @property
    def vhost(self) -> str:
        return self._vhost

    @property
    def name(self) -> str:
        return "a list"

    async def extent(self) -> Extent:
        places = [each.position for each in self._entries] or [None]
        return Extent(first=places[0], last=places[-1], entries=len(self._entries))

    async def batches(self, *, after: Position | None = None) -> AsyncGenerator[Sequence[Entry]]:
        for number, entry in enumerate(self._entries):
            if number == self._fails_at:
                raise SourceError("the broker is gone")
            if after is None or entry.position > after:
                yield [entry]


def entries(count: int, *, generation: int = 1, first: int = 0) -> list[Entry]:
    """Entries as a stream has them: with holes in their offsets."""
    return [
        Entry(
            generation=generation,
            offset=offset + offset // 10,
            exchange="fleet",
            routing_key="mirror.oslo.ready",
            message_id=f"mirror/oslo:{generation}:{offset + 1}",
            type="replica.ready/1",
            user_id="site.oslo",
            body=b"body of %d" % offset,
        )
        for offset in range(first, first + count)
    ]


def writer(folder: Path, *, entries_max: int = 10, vhost: str = VHOST) -> ExportWriter:
    return ExportWriter(folder, vhost=vhost, export_id=EXPORT_ID, entries_max=entries_max)


async def read(folder: Path, *, after: Position | None = None) -> list[Entry]:
    return [entry async for batch in ExportSource(folder).batches(after=after) for entry in batch]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


async def test_what_was_written_is_read_again(tmp_path: Path) -> None:
    with writer(tmp_path) as export:
        export.write(entries(25))
    assert await read(tmp_path) == entries(25)
    assert names(tmp_path) == [f"segment-{number:08d}.zst" for number in (1, 2, 3)]


async def test_an_entry_larger_than_a_block_is_read_again(tmp_path: Path) -> None:
    large = entries(1)[0]._replace(body=bytes(3_000_000))
    with writer(tmp_path) as export:
        export.write([large, *entries(5, first=1)])
    assert await read(tmp_path) == [large, *entries(5, first=1)]


async def test_a_segment_ends_where_a_generation_does(tmp_path: Path) -> None:
    both = [*entries(3), *entries(3, generation=2)]
    with writer(tmp_path) as export:
        export.write(both)
    assert len(names(tmp_path)) == 2
    assert await read(tmp_path) == both


@pytest.mark.parametrize("at", [0, 3, 9, 10, 11, 24])
async def test_reading_goes_on_behind_any_entry(tmp_path: Path, at: int) -> None:
    log = entries(25)
    with writer(tmp_path) as export:
        export.write(log)
    assert await read(tmp_path, after=log[at].position) == log[at + 1 :]


async def test_extent_tells_the_first_and_the_last_place(tmp_path: Path) -> None:
    log = entries(25)
    with writer(tmp_path) as export:
        export.write(log)
    assert await ExportSource(tmp_path).extent() == Extent(first=log[0].position, last=log[-1].position, entries=25)


async def test_an_export_goes_on_where_it_ended(tmp_path: Path) -> None:
    await export_log(ListedSource(entries(25)), tmp_path)
    second = await export_log(ListedSource(entries(40)), tmp_path)
    assert (second.entries, second.is_adjoining) == (15, True)
    assert await read(tmp_path) == entries(40)


async def test_exporting_again_without_news_changes_nothing(tmp_path: Path) -> None:
    first = await export_log(ListedSource(entries(25)), tmp_path)
    before = names(tmp_path)
    assert await export_log(ListedSource(entries(25)), tmp_path) == Exported(
        entries=0, segments=1, last=first.last, chain=first.chain, is_adjoining=True
    )
    assert names(tmp_path) == before


async def test_a_log_that_was_cut_off_meanwhile_leaves_a_gap_that_is_told(tmp_path: Path) -> None:
    await export_log(ListedSource(entries(10)), tmp_path)
    second = await export_log(ListedSource(entries(10, first=15)), tmp_path)
    assert not second.is_adjoining
    assert await read(tmp_path) == [*entries(10), *entries(10, first=15)]


@pytest.mark.parametrize(
    "other",
    [
        pytest.param([], id="empty"),
        pytest.param(entries(5), id="shorter"),
        pytest.param([each._replace(message_id="mirror/rome:1:1") for each in entries(30)], id="of other messages"),
    ],
)
async def test_an_export_does_not_go_on_with_another_log(tmp_path: Path, other: list[Entry]) -> None:
    await export_log(ListedSource(entries(10)), tmp_path)
    with pytest.raises(ExportError, match="not the log"):
        await export_log(ListedSource(other), tmp_path)
    assert await read(tmp_path) == entries(10)


async def test_an_export_does_not_go_on_with_another_virtual_host(tmp_path: Path) -> None:
    await export_log(ListedSource(entries(10)), tmp_path)
    with pytest.raises(ExportError, match="holds the log of 'site', not of 'elsewhere'"):
        await export_log(ListedSource(entries(20), vhost="elsewhere"), tmp_path)


async def test_an_export_does_not_go_on_with_more_of_visitors_than_it_began_with(tmp_path: Path) -> None:
    await export_log(ListedSource(entries(10)), tmp_path, addresses=Addresses.DROP)
    with pytest.raises(ExportError, match="begun with addresses 'drop'"):
        await export_log(ListedSource(entries(20)), tmp_path)


async def test_what_was_read_before_the_log_failed_is_kept(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="gone"):
        await export_log(ListedSource(entries(20), fails_at=7), tmp_path)
    assert await read(tmp_path) == entries(7)
    await export_log(ListedSource(entries(20)), tmp_path)
    assert await read(tmp_path) == entries(20)


def test_a_log_that_goes_back_is_no_log(tmp_path: Path) -> None:
    first, second = entries(2)
    with pytest.raises(ExportError, match="not one log"), writer(tmp_path) as export:
        export.write([second, first])
    assert names(tmp_path) == []


def test_two_exports_cannot_write_at_once(tmp_path: Path) -> None:
    with writer(tmp_path), pytest.raises(ExportBusyError, match="wait"), writer(tmp_path):
        pass
    with writer(tmp_path) as export:
        export.write(entries(1))


async def test_an_empty_log_is_an_empty_export(tmp_path: Path) -> None:
    exported = await export_log(ListedSource([]), tmp_path / "new")
    assert (exported.entries, exported.segments, exported.last) == (0, 0, None)
    with pytest.raises(SourceError, match="holds no export"):
        ExportSource(tmp_path / "new")


async def test_a_folder_that_is_none_is_told(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(ExportError, match="cannot be written to"):
        await export_log(ListedSource(entries(1)), file)
    with pytest.raises(SourceError, match="cannot be read"):
        ExportSource(tmp_path / "missing")


def test_segments_are_for_their_owner_alone(tmp_path: Path) -> None:
    with ExportWriter(tmp_path, vhost=VHOST, export_id=EXPORT_ID) as writer:
        writer.write(entries(3))
    assert [stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()] == [0o600]
