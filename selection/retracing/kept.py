"""For whom places were kept at one selector, as far as its records tell. Pure.

A place is kept by an earlier decision. So readers who begin in the middle, who miss records, or who are told of some
decisions only do not know all of them, until those that they cannot know of have expired.
"""

from __future__ import annotations

from collections.abc import Sequence

from events.grants import CLOCK_SKEW_S
from events.names import Digest, MirrorName
from selection.policy.claims import Claims


class KeptPlaces:
    """The places that are known to be kept.

    A visitor is the number of the address that his place is kept for. ``start_by_s`` is until when a link may be begun
    that was given at a moment.
    """

    def __init__(self) -> None:
        self._claims = Claims()
        self._is_missing = True
        self._whole_from_s = 0.0

    def begin(self) -> None:
        """Take note that the selector has kept no place so far."""
        self._is_missing = False

    def miss(self) -> None:
        """Take note that decisions are missing."""
        self._is_missing = True

    def go_on(self, *, start_by_s: int) -> None:
        """Take note of a decision: what is missing was decided before, so it expires before."""
        if self._is_missing:
            self._is_missing, self._whole_from_s = False, start_by_s + CLOCK_SKEW_S

    def are_known(self, *, now_s: float) -> bool:
        """Tell whether nobody has a place but those that are known."""
        return not self._is_missing and now_s >= self._whole_from_s

    def mirrors(self, visitor: int, sha256: Digest, *, now_s: float) -> Sequence[MirrorName]:
        """Give the mirrors that are known to keep a place for a visitor's download, the oldest first."""
        return self._claims.mirrors(visitor, sha256, now_s=now_s)

    def keep(self, visitor: int, sha256: Digest, mirror: MirrorName, *, now_s: float, start_by_s: int) -> bool:
        """Keep a place, as the selector would; tell whether it is new and he may have it."""
        return self._claims.claim(visitor, sha256, mirror, now_s=now_s, expires_s=start_by_s + CLOCK_SKEW_S)
