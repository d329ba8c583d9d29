"""How much of one log was read: when the view holds all that the log tells. Pure.

Two things are awaited. Our own ``selector.online``: all that stood in the log before it was read. And a restatement of
the catalogue that was read whole: a new log holds nothing of the catalogue before the master has said it again, and of
an old one the retention has cut the beginning off.
"""

from __future__ import annotations

from events.envelope import MASTER_SOURCE, Envelope
from events.schemas import CatalogueRestated


class Replay:
    """The reading of one log, from its first entry. ``own_id`` is the id of the event that we said at its beginning."""

    def __init__(self, own_id: str) -> None:
        self._own_id = own_id
        self._epoch = -1
        self._first = 0
        self._is_own_read = False
        self._is_catalogue_read = False

    @property
    def done(self) -> bool:
        """Tell whether the view has caught up with the log."""
        return self._is_own_read and self._is_catalogue_read

    @property
    def awaits(self) -> str:
        """Say what is yet to be read; empty when it is done."""
        if not self._is_own_read:
            return "our own announcement"
        return "" if self._is_catalogue_read else "the master to say the whole catalogue"

    def note(self, envelope: Envelope) -> None:
        """Take note that an event was read."""
        self._is_own_read = self._is_own_read or envelope.id == self._own_id
        if envelope.source == MASTER_SOURCE and envelope.epoch >= self._epoch:
            self._note_master(envelope)

    def _note_master(self, envelope: Envelope) -> None:
        """Take note of the master's newest numbering; a relay may write its first numbers in another order."""
        if envelope.epoch > self._epoch:
            self._epoch, self._first, self._is_catalogue_read = envelope.epoch, envelope.sequence, False
        self._first = min(self._first, envelope.sequence)
        if isinstance(envelope.event, CatalogueRestated) and envelope.event.since >= self._first:
            self._is_catalogue_read = True
