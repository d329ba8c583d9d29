"""When each copy was last verified and last served. Pure.

It is noted in memory, where it costs nothing, and written down now and then: what a crash loses of it is only that a
copy is verified again somewhat early, or counted as less used than it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from events.names import Digest


@dataclass(frozen=True, slots=True)
class Care:
    """What is known of one copy; ``served_at_s`` is 0 for one that never was served."""

    verified_at_s: int
    served_at_s: int = 0


class Upkeep:
    """The care for all copies of a mirror."""

    def __init__(self) -> None:
        self._cares: dict[Digest, Care] = {}
        self._unwritten: dict[Digest, Care] = {}

    def hold(self, sha256: Digest, care: Care) -> None:
        """Begin to keep the record of a copy."""
        self._cares[sha256] = care

    def release(self, sha256: Digest) -> None:
        """Forget a copy that is no longer held."""
        self._cares.pop(sha256, None)
        self._unwritten.pop(sha256, None)

    def care(self, sha256: Digest) -> Care:
        """Give what is known of a copy that is held.

        Raises:
            KeyError: it is not held.
        """
        return self._cares[sha256]

    def served(self, sha256: Digest, *, now_s: float) -> None:
        """Take note that a transfer of a copy begins. One that is no longer held is passed over."""
        care = self._cares.get(sha256)
        if care is not None and care.served_at_s != int(now_s):
            self._note(sha256, replace(care, served_at_s=int(now_s)))

    def verified(self, sha256: Digest, *, now_s: float) -> None:
        """Take note that a copy was read and is sound. One that is no longer held is passed over."""
        if (care := self._cares.get(sha256)) is not None:
            self._note(sha256, replace(care, verified_at_s=int(now_s)))

    def oldest_first(self) -> list[tuple[int, Digest]]:
        """Give all copies with when they were verified."""
        return sorted((care.verified_at_s, sha256) for sha256, care in self._cares.items())

    def unwritten(self) -> Mapping[Digest, Care]:
        """Give what changed and was not yet written down."""
        return dict(self._unwritten)

    def written(self, cares: Mapping[Digest, Care]) -> None:
        """Take note that these were written down; what changed since is still to be."""
        for sha256, care in cares.items():
            if self._unwritten.get(sha256) == care:
                del self._unwritten[sha256]

    def _note(self, sha256: Digest, care: Care) -> None:
        if self._cares[sha256] != care:
            self._cares[sha256] = self._unwritten[sha256] = care
