"""Withdraw files, and know which mirrors have acted on it.

A mirror acknowledges the facts of a channel by their number (``channel.followed``, folded from the log), so nothing
is kept of a withdrawal but its facts' numbers, and whoever withdrew asks with these.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import structlog

from edge.running import Running
from events.names import ORIGIN_CHANNEL, ChannelName, FilePath, MirrorName, is_held, unheld_path
from events.schemas import WithdrawMode
from events.schemas.fields import TEXT_LENGTH_MAX
from events.trace import TraceContext
from master import catalogue
from master.catalogue import PublishedFile
from master.downloads import Outgoing
from master.errors import InvalidRequestError, NotFoundError
from master.holds import HoldState
from master.store.store import Store, Transaction

CUT_REASON: Final = "the file was withdrawn"
SEE_HELD: Final = "see all that is held: distributary hold ls"

log = structlog.stdlib.get_logger()


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """How far a mirror is that followed the file's channels; ``missing`` are those in which it has yet to act.

    One that is ``external`` refuses newcomers when it has acted; what another server sends for it goes on to its end.
    """

    mirror: MirrorName
    missing: tuple[ChannelName, ...]
    external: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Withdrawal:
    """A withdrawn file, the number of that fact in each channel that mirrors follow, and what was cut here."""

    file: PublishedFile
    facts: Mapping[ChannelName, int]
    cut: int
    acknowledgements: Sequence[Acknowledgement]


class Withdrawing:
    """Withdraws files. ``wake`` is called after each commit that said something."""

    def __init__(self, store: Store, running: Running[Outgoing], *, wake: Callable[[], None]) -> None:
        self._store = store
        self._running = running
        self._wake = wake

    async def withdraw(self, path: FilePath, *, reason: str, mode: WithdrawMode, trace: TraceContext) -> Withdrawal:
        """Take a file out of the catalogue and all channels; with ``CUT`` end what runs of it here, too.

        Of a held file the path is that of ``held_path``. What stands under another path as well goes on.

        Raises:
            NotFoundError: no such file.
            InvalidRequestError: the reason is too long.
        """
        if len(reason) > TEXT_LENGTH_MAX:
            raise InvalidRequestError("reason_too_long", f"a reason has at most {TEXT_LENGTH_MAX} characters")
        async with self._store.changing(trace=trace) as transaction:
            standing = await transaction.catalogue.standing(path)
            if (file := standing.file) is None:
                raise await _unknown(transaction, path)
            await transaction.journal.record(catalogue.withdraw(standing, reason=reason, mode=mode).facts)
            await transaction.catalogue.forget_files([path])
            await transaction.holds.drop([path], HoldState.ENDED)
            left = sorted(standing.channels - {ORIGIN_CHANNEL})
            facts = {channel: await transaction.journal.last(channel) for channel in left}
            acknowledgements = await _acknowledgements(transaction, facts)
            is_gone = not await transaction.catalogue.copies(file.sha256)
        self._wake()
        cut = 0
        if mode is WithdrawMode.CUT and is_gone:
            cut = self._running.cut(lambda outgoing: outgoing.sha256 == file.sha256, CUT_REASON)
        log.info("file.withdrawn", path=path, reason=reason, mode=mode.value, cut=cut, trace_id=trace.trace_id)
        return Withdrawal(file=file, facts=facts, cut=cut, acknowledgements=acknowledgements)

    async def acknowledgements(self, facts: Mapping[ChannelName, int]) -> Sequence[Acknowledgement]:
        """Tell of each mirror that follows the channels of these facts which of them it has yet to act on."""
        async with self._store.reading() as transaction:
            return await _acknowledgements(transaction, facts)


async def _unknown(transaction: Transaction, path: FilePath) -> NotFoundError:
    """Say that there is no such file, and where one is held for that path."""
    if is_held(path):
        return NotFoundError("held_unknown", f"nothing is held for {unheld_path(path)}", hint=SEE_HELD)
    if (await transaction.catalogue.state(path)).held.file is None:
        return NotFoundError("file_unknown", f"no file {path}", hint="see them all: distributary ls")
    return NotFoundError("file_unknown", f"{path} is held and not published", hint="withdraw what is held: --held")


async def _acknowledgements(transaction: Transaction, facts: Mapping[ChannelName, int]) -> Sequence[Acknowledgement]:
    missing: dict[MirrorName, list[ChannelName]] = {}
    for channel, sequence in facts.items():
        followed = await transaction.heard.followed(channel)
        for mirror in await transaction.fleet.subscribers(channel):
            behind = missing.setdefault(mirror, [])
            if followed.get(mirror, 0) < sequence:
                behind.append(channel)
    announced = await transaction.heard.announced()
    external = {each.mirror for each in announced if each.profile is not None and each.profile.external}
    return [
        Acknowledgement(mirror, tuple(channels), external=mirror in external)
        for mirror, channels in sorted(missing.items())
    ]
