"""How much of one log was read: when the view holds all that the log tells. Pure.

Two things are awaited. Our own ``selector.online``: all that stood in the log before it was read. And a restatement of
the catalogue that was read whole: a new log holds nothing of the catalogue before the master has said it again, and of
an old one the retention has cut the beginning off. Who goes on where a snapshot ends has read the restatement before.
"""

from __future__ import annotations

from typing import NamedTuple

from events.envelope import MASTER_SOURCE, Envelope
from events.schemas import CatalogueRestated


class Numbering(NamedTuple):
    """A numbering of the master's in which the whole catalogue was read, and its first number in the log."""

    epoch: int
    first: int


class Replay:
    """The reading of one log. ``own_id`` is the id of the event that we said when we began to read it.

    ``known`` is what was read of the same log in a life before; None: it is read from its first entry.
    """

    def __init__(self, own_id: str, known: Numbering | None = None) -> None:
        self._own_id = own_id
        self._epoch, self._first = known or Numbering(-1, 0)
        self._is_own_read = False
        self._is_catalogue_read = known is not None

    @property
    def catalogue(self) -> Numbering | None:
        """Give the numbering in which the whole catalogue was read, if it was."""
        return Numbering(self._epoch, self._first) if self._is_catalogue_read else None

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
