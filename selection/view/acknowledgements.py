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


class Position(NamedTuple):
    """A place among the facts of one channel: in which of the master's numberings, and up to which number."""

    epoch: int
    channel_sequence: int


class _Withdrawal(NamedTuple):
    position: Position
    sequence: int


class _Followed(NamedTuple):
    sequence: int
    position: Position


_NOWHERE: Final = _Followed(0, Position(-1, 0))


class Acknowledgements:
    """The last withdrawal of each path from each channel, and each mirror's position. Mirrors are given by number."""

    def __init__(self) -> None:
        self._withdrawals: dict[FilePath, dict[ChannelName, _Withdrawal]] = {}
        self._followed: dict[int, dict[ChannelName, _Followed]] = {}

    def withdraw(self, event: FileWithdrawn, *, epoch: int, sequence: int) -> None:
        """Note what the master withdrew; ``epoch`` and ``sequence`` are the master's. No mirror follows ``origin``."""
        if event.channel == ORIGIN_CHANNEL:
            return
        withdrawal = _Withdrawal(Position(epoch, event.channel_sequence), sequence)
        channels = self._withdrawals.setdefault(event.path, {})
        channels[event.channel] = max(withdrawal, channels.get(event.channel, withdrawal))

    def follow(self, number: int, event: ChannelFollowed, *, sequence: int) -> None:
        """Note how far a mirror is; ``sequence`` is the mirror's."""
        channels = self._followed.setdefault(number, {})
        if event.channel not in channels and len(channels) >= POSITIONS_MAX:
            return
        said = _Followed(sequence, Position(event.epoch, event.channel_sequence))
        channels[event.channel] = max(said, channels.get(event.channel, said))

    def is_due(self, number: int, path: FilePath, channel: ChannelName) -> bool:
        """Tell whether a mirror has yet to act on the last withdrawal of a path from a channel."""
        withdrawal = self._withdrawals.get(path, {}).get(channel)
        if withdrawal is None:
            return False
        return self._followed.get(number, {}).get(channel, _NOWHERE).position < withdrawal.position

    def withdrawn_from(self, path: FilePath, channels: Iterable[ChannelName]) -> tuple[ChannelName, ...]:
        """Give those of some channels from which a path was withdrawn some time."""
        withdrawals = self._withdrawals.get(path)
        return tuple(channel for channel in channels if channel in withdrawals) if withdrawals else ()

    def forget_before(self, floor: int) -> None:
        """Forget what the master said under its sequence ``floor``: a restatement took its place."""
        kept: dict[FilePath, dict[ChannelName, _Withdrawal]] = {}
        for path, channels in self._withdrawals.items():
            if late := {channel: said for channel, said in channels.items() if said.sequence >= floor}:
                kept[path] = late
        self._withdrawals = kept

    def forget_master(self) -> None:
        """Forget what the master said."""
        self._withdrawals.clear()

    def forget_mirror(self, number: int) -> None:
        """Forget what a mirror said."""
        self._followed.pop(number, None)
