"""How closely a channel binds links to its visitors' addresses, folded from what the master says. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

from events.grants import Binding
from events.names import ChannelName
from events.schemas import AddressPolicy, ChannelDefined, ChannelRemoved

_BINDINGS: Final = {
    AddressPolicy.STRICT: Binding.STRICT,
    AddressPolicy.PREFIX: Binding.PREFIX,
    AddressPolicy.OFF: Binding.OFF,
}


class Said(NamedTuple):
    """The master's last word on a channel's policy."""

    sequence: int
    policy: AddressPolicy


class AddressPolicies:
    """The address policy of each channel. One that nobody defined (any more) is strict.

    ``version`` rises with every change.
    """

    def __init__(self) -> None:
        self.said: dict[ChannelName, Said] = {}
        self.version = 0

    def apply(self, event: ChannelDefined | ChannelRemoved, *, sequence: int) -> None:
        """Fold the master's word on a channel; the last one holds."""
        known = self.said.get(event.channel)
        if known is None or known.sequence < sequence:
            policy = event.address_policy if isinstance(event, ChannelDefined) else AddressPolicy.STRICT
            self.said[event.channel] = Said(sequence, policy)
            self.version += 1

    def binding(self, channels: Iterable[ChannelName]) -> Binding:
        """Give the strictest that these channels ask for: the one of the most bits; without any, ``STRICT``."""
        bindings = [_BINDINGS[said.policy] if (said := self.said.get(name)) else Binding.STRICT for name in channels]
        return max(bindings, key=lambda binding: binding.ipv6_bits, default=Binding.STRICT)

    def forget_before(self, floor: int) -> None:
        """Forget what was said under the master's sequence ``floor``: a restatement took its place."""
        self.said = {channel: said for channel, said in self.said.items() if said.sequence >= floor}
        self.version += 1

    def forget(self) -> None:
        """Forget all."""
        self.said.clear()
        self.version += 1
