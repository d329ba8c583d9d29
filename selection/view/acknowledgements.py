"""Which mirrors have acted on which withdrawals, folded from the master's word and each mirror's own. Pure.

A file that was withdrawn from a channel and is published there again is not asked of a mirror that has yet to hear of
the withdrawal: it may be about to remove the copy that it told us of, or go on serving what was meant to be gone. What
shows that it acted is its position in that channel (``channel.followed``), in the same numbering of the master, at or
beyond the last withdrawal of that path. Nothing else shows it. A later inventory does not: it tells what the mirror
holds and not what it has heard, and no order exists between a number of the mirror's and one of the master's. Nothing
is lost by that, since a mirror says its positions whenever it announces itself.

A mirror's last word on a channel holds, and not its highest: it may have lost what it knew. A withdrawal that the
master said before its last restatement is forgotten like all else from there; mirrors that hear a restatement look at
once whether they missed something.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

from events.names import ORIGIN_CHANNEL, ChannelName, FilePath
from events.schemas import ChannelFollowed, FileWithdrawn
from events.schemas.fields import CHANNELS_MAX

# As many channels as a large site may have: what one mirror can make us keep, about a megabyte, whatever it claims.
POSITIONS_MAX: Final = CHANNELS_MAX
ANSWERS_MAX: Final = 64  # for each channel: those that visitors ask for again and again; to make one takes 0.1 ms
_ALL: Final = -1  # as a bit set: a mirror cannot be late with what never happened


class Position(NamedTuple):
    """A place among the facts of one channel: in which of the master's numberings, and up to which number."""

    epoch: int
    channel_sequence: int


class Withdrawal(NamedTuple):
    """The last time that a path left a channel; ``sequence`` is the master's."""

    position: Position
    sequence: int


class Followed(NamedTuple):
    """A mirror's last word on a channel; ``sequence`` is the mirror's."""

    sequence: int
    position: Position


_NOWHERE: Final = Followed(0, Position(-1, 0))


class Acknowledgements:
    """The last withdrawal of each path from each channel, and each mirror's position. Mirrors are given by number."""

    def __init__(self) -> None:
        self.withdrawals: dict[FilePath, dict[ChannelName, Withdrawal]] = {}
        self.followed: dict[int, dict[ChannelName, Followed]] = {}
        self._acted: dict[ChannelName, dict[Position, int]] = {}

    def withdraw(self, event: FileWithdrawn, *, epoch: int, sequence: int) -> None:
        """Note what the master withdrew; ``epoch`` and ``sequence`` are the master's. No mirror follows ``origin``."""
        if event.channel == ORIGIN_CHANNEL:
            return
        withdrawal = Withdrawal(Position(epoch, event.channel_sequence), sequence)
        channels = self.withdrawals.setdefault(event.path, {})
        channels[event.channel] = max(withdrawal, channels.get(event.channel, withdrawal))

    def follow(self, number: int, event: ChannelFollowed, *, sequence: int) -> None:
        """Note how far a mirror is; ``sequence`` is the mirror's."""
        channels = self.followed.setdefault(number, {})
        if event.channel not in channels and len(channels) >= POSITIONS_MAX:
            return
        said = Followed(sequence, Position(event.epoch, event.channel_sequence))
        if said > channels.get(event.channel, _NOWHERE):
            channels[event.channel] = said
            self._correct(number, event.channel, said.position)

    def is_due(self, number: int, path: FilePath, channel: ChannelName) -> bool:
        """Tell whether a mirror has yet to act on the last withdrawal of a path from a channel."""
        withdrawal = self.withdrawals.get(path, {}).get(channel)
        if withdrawal is None:
            return False
        return self.followed.get(number, {}).get(channel, _NOWHERE).position < withdrawal.position

    def acted(self, path: FilePath, channel: ChannelName) -> int:
        """Give the mirrors that have acted on the last withdrawal of a path from a channel, as a bit set."""
        withdrawal = self.withdrawals.get(path, {}).get(channel)
        if withdrawal is None:
            return _ALL
        known = self._acted.setdefault(channel, {})
        acted = known.get(withdrawal.position)
        if acted is None:
            if len(known) >= ANSWERS_MAX:
                known.clear()
            acted = known[withdrawal.position] = self._who_is_past(withdrawal.position, channel)
        return acted

    def withdrawn_from(self, path: FilePath, channels: Iterable[ChannelName]) -> tuple[ChannelName, ...]:
        """Give those of some channels from which a path was withdrawn some time."""
        withdrawals = self.withdrawals.get(path)
        return tuple(channel for channel in channels if channel in withdrawals) if withdrawals else ()

    def forget_before(self, floor: int) -> None:
        """Forget what the master said under its sequence ``floor``: a restatement took its place."""
        kept: dict[FilePath, dict[ChannelName, Withdrawal]] = {}
        for path, channels in self.withdrawals.items():
            if late := {channel: said for channel, said in channels.items() if said.sequence >= floor}:
                kept[path] = late
        self.withdrawals = kept

    def forget_master(self) -> None:
        """Forget what the master said."""
        self.withdrawals.clear()

    def forget_mirror(self, number: int) -> None:
        """Forget what a mirror said."""
        self.followed.pop(number, None)
        self._acted.clear()

    def _who_is_past(self, position: Position, channel: ChannelName) -> int:
        acted = 0
        for number, channels in self.followed.items():
            if channels.get(channel, _NOWHERE).position >= position:
                acted |= 1 << number
        return acted

    def _correct(self, number: int, channel: ChannelName, position: Position) -> None:
        """Put a mirror's new position into the answers that are kept."""
        answers, bit = self._acted.get(channel, {}), 1 << number
        for withdrawn, acted in answers.items():
            answers[withdrawn] = acted | bit if position >= withdrawn else acted & ~bit
