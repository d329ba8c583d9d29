"""Grants whose visitors are awaited, each until a moment of its own. Pure.

To count them takes no longer for a thousand than for one: what is over is found at the top of a heap.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush


class Awaited:
    """Grants by their ids. Put one anew, or drop it, whenever its visitor is heard of."""

    def __init__(self) -> None:
        self._until_s: dict[bytes, float] = {}
        self._order: list[tuple[float, bytes]] = []  # of those that came meanwhile, too, until their moment is over
        self._seen_s = float("-inf")

    def __len__(self) -> int:
        """Count all, those whose moment is over, too, where nobody has counted since."""
        return len(self._until_s)

    def __contains__(self, grant_id: bytes) -> bool:
        """Tell whether a grant is among them."""
        return grant_id in self._until_s

    def put(self, grant_id: bytes, *, now_s: float, for_s: float) -> None:
        """Await a grant from now on for so long, however long it was to be awaited before."""
        self._seen_s = max(self._seen_s, now_s)
        self._until_s[grant_id] = now_s + for_s
        heappush(self._order, (now_s + for_s, grant_id))

    def drop(self, grant_id: bytes) -> None:
        """Await a grant no more."""
        self._until_s.pop(grant_id, None)

    def count(self, now_s: float, *, longest_s: float) -> int:
        """Count those that are still awaited.

        One that would last for more than ``longest_s``, because the clock went back, is dropped.
        """
        if now_s < self._seen_s:
            self._step_back(now_s + longest_s)
        self._seen_s = now_s
        while self._order and self._order[0][0] < now_s:
            until_s, grant_id = heappop(self._order)
            if self._until_s.get(grant_id) == until_s:
                del self._until_s[grant_id]
        return len(self._until_s)

    def _step_back(self, latest_s: float) -> None:
        self._until_s = {key: until_s for key, until_s in self._until_s.items() if until_s <= latest_s}
        self._order = [(until_s, key) for key, until_s in self._until_s.items()]
        heapify(self._order)
