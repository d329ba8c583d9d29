"""Which events of each source were counted, so that one that is told again is not counted again. Pure.

The log tells at least once, and a selector that begins the log anew over figures that it has kept reads all of it
again. What must not be added up twice is known by its number.
"""

from __future__ import annotations

from typing import Final, TypeAlias

from selection.view.sequences import SequenceTrack

EPOCHS_MAX: Final = 3  # a selector begins one at each start, and what the broker held back may come after that
SOURCES_MAX: Final = 20_000  # 10,000 mirrors and 1,000 selectors, nearly twice over

Tracks: TypeAlias = dict[str, dict[int, SequenceTrack]]


class Counted:
    """The numbers of all sources, for the newest epochs of each."""

    def __init__(self, tracks: Tracks | None = None) -> None:
        self.tracks: Tracks = tracks or {}

    def note(self, source: str, epoch: int, number: int) -> bool:
        """Note an event; tell whether it is new."""
        epochs = self.tracks.get(source)
        if epochs is not None and (track := epochs.get(epoch)) is not None:
            return track.note(number)
        return self._begin(source, epoch, number)

    def _begin(self, source: str, epoch: int, number: int) -> bool:
        """Begin an epoch, unless it is older than those that are kept: what it tells was counted long ago."""
        epochs = self.tracks.setdefault(source, {})
        if len(epochs) >= EPOCHS_MAX:
            oldest = min(epochs)
            if epoch < oldest:
                return False
            del epochs[oldest]
        epochs[epoch] = SequenceTrack(epoch, number, number)
        if len(self.tracks) > SOURCES_MAX:
            del self.tracks[next(iter(self.tracks))]
        return True
