"""Hold files together, tell how mirrors are with them, and release them: by hand, or by ``master.releasing``.

All that is to be released together is one transaction: whatever happens meanwhile, it is said whole or not at all.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import structlog

from events.names import ChannelName, FilePath, unheld_path
from events.schemas import Filter
from events.trace import TraceContext
from master import holds
from master.catalogue import generation_of
from master.errors import NotFoundError
from master.holds import Condition, HeldFile, Hold, HoldState, PathState, Tally, Turn
from master.store.catalogue import Copy
from master.store.store import Store, Transaction

HOLDS: Final = "holds"
"""The numbering of holds."""

log = structlog.stdlib.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Shelf:
    """A hold with its files, and how far mirrors are with all of it."""

    hold: Hold
    tally: Tally
    files: Sequence[HeldFile]


class Holding:
    """Keeps what is held. ``wake`` is called after each commit that said something or may let a hold be released."""

    def __init__(self, store: Store, *, wake: Callable[[], None]) -> None:
        self._store = store
        self._wake = wake

    async def begin(self, condition: Condition | None) -> int:
        """Begin a hold for files that are about to be published; give its number."""
        async with self._store.changing() as transaction:
            number = await transaction.journal.advance(HOLDS, 1)
            await transaction.holds.begin(number, condition)
        return number

    async def seal(self, number: int) -> int | None:
        """Take note that all its files are there: from now on it may be released. Without any there is no hold."""
        async with self._store.changing() as transaction:
            holds_files = await transaction.holds.seal(number)
        self._wake()
        return number if holds_files else None

    async def all(self) -> Sequence[Shelf]:
        """Give all that is held, oldest first."""
        async with self._store.reading() as transaction:
            return [await _shelf(transaction, hold) for hold in await transaction.holds.standing()]

    async def get(self, number: int) -> tuple[Hold, Tally]:
        """Tell how far one hold is; for a day also of one that ended.

        Raises:
            NotFoundError: no such hold.
        """
        async with self._store.reading() as transaction:
            hold = await transaction.holds.hold(number)
            if hold is None:
                raise NotFoundError("hold_unknown", f"no hold {number}", hint="see them all: distributary hold ls")
            return hold, await transaction.holds.tally(number)

    async def release(self, paths: Sequence[FilePath] | None, *, trace: TraceContext) -> Sequence[Turn]:
        """Release what is held for these paths and in these folders, or all; give what became of each.

        Raises:
            NotFoundError: for one of them nothing is held.
        """
        async with self._store.changing(trace=trace) as transaction:
            held = await transaction.holds.all_paths() if paths is None else await _matching(transaction, paths)
            turns = await release(transaction, sorted(held))
        self._wake()
        log.info("files.released", files=len(turns), trace_id=trace.trace_id)
        return turns


async def release(transaction: Transaction, held: Sequence[FilePath]) -> Sequence[Turn]:
    """Release held files, all within one transaction; give what became of each."""
    states = await transaction.catalogue.states([unheld_path(path) for path in held])
    filters = await transaction.catalogue.filters()
    turns = await asyncio.to_thread(_turns, states.values(), filters, transaction.now_ns)
    copies = [
        Copy(file, source)
        for path, turn in zip(held, turns, strict=True)
        if (file := turn.after.standing.file) and (source := await transaction.catalogue.source(path))
    ]
    await transaction.catalogue.put_files(copies)
    await transaction.catalogue.forget_files(held)
    await transaction.journal.record([fact for turn in turns for fact in turn.facts])
    await transaction.holds.drop(held, HoldState.RELEASED)
    return turns


def _turns(states: Iterable[PathState], filters: Mapping[ChannelName, Filter], now_ns: int) -> list[Turn]:
    """Decide about a whole tree: seconds for a large one, so never on the event loop."""
    return [holds.release(state, filters, now_ns=now_ns) for state in states]


async def _matching(transaction: Transaction, paths: Sequence[FilePath]) -> set[FilePath]:
    found: set[FilePath] = set()
    for path in paths:
        held = await transaction.holds.matching(path)
        if not held:
            raise NotFoundError("held_unknown", f"nothing is held for {path}", hint="see all: distributary hold ls")
        found |= set(held)
    return found


async def _shelf(transaction: Transaction, hold: Hold) -> Shelf:
    tables = transaction.holds
    channels, copies = await tables.channels(hold.number), await tables.copies(hold.number)
    paths = await tables.paths(hold.number)
    states = await transaction.catalogue.states([unheld_path(path) for path in paths])
    files = [
        HeldFile(
            file=file,
            generation=generation_of(state.standing, file.sha256),
            channels=channels.get(path, ()),
            copies=copies.get(path, 0),
        )
        for path, state in zip(paths, states.values(), strict=True)
        if (file := state.held.file) is not None
    ]
    return Shelf(hold=hold, tally=await tables.tally(hold.number), files=files)
