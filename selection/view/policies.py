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


class _Said(NamedTuple):
    sequence: int
    policy: AddressPolicy


class AddressPolicies:
    """The address policy of each channel. One that nobody defined (any more) is strict."""

    def __init__(self) -> None:
        self._said: dict[ChannelName, _Said] = {}

    def apply(self, event: ChannelDefined | ChannelRemoved, *, sequence: int) -> None:
        """Fold the master's word on a channel; the last one holds."""
        known = self._said.get(event.channel)
        if known is None or known.sequence < sequence:
            policy = event.address_policy if isinstance(event, ChannelDefined) else AddressPolicy.STRICT
            self._said[event.channel] = _Said(sequence, policy)

    def binding(self, channels: Iterable[ChannelName]) -> Binding:
        """Give the strictest that these channels ask for: the one of the most bits; without any, ``STRICT``."""
        bindings = [_BINDINGS[said.policy] if (said := self._said.get(name)) else Binding.STRICT for name in channels]
        return max(bindings, key=lambda binding: binding.ipv6_bits, default=Binding.STRICT)

    def forget_before(self, floor: int) -> None:
        """Forget what was said under the master's sequence ``floor``: a restatement took its place."""
        self._said = {channel: said for channel, said in self._said.items() if said.sequence >= floor}

    def forget(self) -> None:
        """Forget all."""
        self._said.clear()
