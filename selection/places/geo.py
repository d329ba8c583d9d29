"""Where addresses are, as all sources together know it, remembered by block.

The hot path asks for every visitor, so what was found is kept: for the block (``selection.places.blocks``) where all of
it is in one place, else for the address. What is kept depends on the address alone and not on who came first, so that a
decision can be worked out again.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from events.grants import IPAddress
from selection.places.blocks import block_bits, block_of, first_of
from selection.places.findings import Source, place_from
from selection.places.place import Place

BLOCKS_KEPT: Final = 65_536  # some 16 MB; a look-up in a city database takes 16 µs, one in here 0.4
PLACES_KEPT: Final = 16_384  # towns; some 8 MB
ADDRESSES_KEPT: Final = 16_384  # of blocks that lie in several places: few


class Places:
    """Looks up addresses. Without a source no place is known. ``version`` rises when what it says may be different."""

    def __init__(self, sources: Sequence[Source] = ()) -> None:
        self.version = 0
        self.use(sources)

    def use(self, sources: Sequence[Source]) -> None:
        """Ask these from now on, the most believed first, and forget what others said."""
        self.version += 1
        self._sources = tuple(sources)
        self._of_block = lru_cache(maxsize=BLOCKS_KEPT)(self._find_block)
        self._of_address = lru_cache(maxsize=ADDRESSES_KEPT)(self._find)
        # Visitors of one town share one object, and it is put together once.
        self._made = lru_cache(maxsize=PLACES_KEPT)(place_from)

    @property
    def database(self) -> str:
        """Name the sources."""
        return "; ".join(source.name for source in self._sources)

    def place_of(self, address: IPAddress) -> Place:
        """Give what is known of the place of an address."""
        return self.place_in(block_of(address), address)

    def place_in(self, block: int, address: IPAddress) -> Place:
        """Give what is known of the place of an address in a block, for who has worked out that it is there."""
        place = self._of_block(block)
        return place if place is not None else self._of_address(address)

    def _find_block(self, block: int) -> Place | None:
        """Give the one place of a whole block, or None where its addresses may be in several."""
        first = first_of(block)
        found = [source.find(first) for source in self._sources]
        if any(prefix_bits > block_bits(first) for _, prefix_bits in found):
            return None
        return self._made(tuple(finding for finding, _ in found))

    def _find(self, address: IPAddress) -> Place:
        return self._made(tuple(source.find(address)[0] for source in self._sources))
