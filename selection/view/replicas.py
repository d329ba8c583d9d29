"""Who holds which content, folded from what each mirror says of itself. Pure.

Holders of a content are an int used as a bit set, bit n for mirror number n. What a mirror says has an order of its own
(its sequence), and here only that counts: of two facts about one content the later holds, and a complete inventory
``as_of`` n replaces all facts up to n, in whatever order facts and pages arrive.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from events.names import Digest
from events.schemas import InventoryAnnounced, LossReason, ReplicaDeclined, ReplicaLost, ReplicaReady

# Twice the largest catalogue that we know of: what one mirror can make us keep, some 100 MB, whatever it claims. That
# nobody published it is no reason to forget a content: in a log whose beginning is cut off the master says it later.
CONTENTS_MAX: Final = 1_000_000
DECLINED_MAX: Final = 1000  # explanations for people, a kilobyte each; past that the oldest go
# A mirror tells one inventory at a time; more that never complete are a faulty mirror's, and the oldest go.
INVENTORIES_PENDING_MAX: Final = 4


@dataclass(slots=True)
class _Pages:
    """The pages of one incomplete inventory. ``weight`` counts pages and contents, so that empty pages cost, too."""

    digests: dict[int, tuple[Digest, ...]] = field(default_factory=dict[int, tuple[Digest, ...]])
    weight: int = 0

    def put(self, page: int, sha256s: tuple[Digest, ...]) -> None:
        self.weight += 1 + len(sha256s) - (1 + len(self.digests[page]) if page in self.digests else 0)
        self.digests[page] = sha256s


@dataclass(slots=True)
class _Told:
    """What one mirror said that may still be overtaken.

    ``since`` holds the last fact about each content after the inventory, with the reason of a loss or None; ``pages``
    holds incomplete inventories by ``(as_of, number of pages)``.
    """

    as_of: int = 0
    copies: int = 0
    since: dict[Digest, tuple[int, LossReason | None]] = field(
        default_factory=dict[Digest, tuple[int, LossReason | None]]
    )
    declined: dict[Digest, tuple[int, ReplicaDeclined]] = field(
        default_factory=dict[Digest, tuple[int, ReplicaDeclined]]
    )
    pages: dict[tuple[int, int], _Pages] = field(default_factory=dict[tuple[int, int], _Pages])

    @property
    def pending(self) -> int:
        """Weigh the incomplete inventories."""
        return sum(pages.weight for pages in self.pages.values())


class Replicas:
    """The holders of every content, and why a mirror has none. Mirrors are given by number."""

    def __init__(self) -> None:
        self._holders: dict[Digest, int] = {}
        self._told: dict[int, _Told] = {}

    def holders(self, sha256: Digest) -> int:
        """Give the mirrors that hold this content, as a bit set."""
        return self._holders.get(sha256, 0)

    def copies(self, number: int) -> int:
        """Count the contents that a mirror holds."""
        return self._of(number).copies

    def inventory_as_of(self, number: int) -> int:
        """Give the sequence at which the mirror's last complete inventory was taken, or 0."""
        return self._of(number).as_of

    def loss(self, number: int, sha256: Digest) -> LossReason | None:
        """Give the reason for which the mirror lost this content, where its last word was that it did."""
        _, reason = self._of(number).since.get(sha256, (0, None))
        return reason

    def declined(self, number: int, sha256: Digest) -> ReplicaDeclined | None:
        """Give the mirror's last word on why it could not fetch this content."""
        _, event = self._of(number).declined.get(sha256, (0, None))
        return event

    def apply(self, number: int, event: ReplicaReady | ReplicaLost, *, sequence: int) -> None:
        """Fold a fact about one content; ``sequence`` is the mirror's."""
        told = self._of(number)
        known, _ = told.since.get(event.sha256, (told.as_of, None))
        if sequence <= known:
            return
        if event.sha256 not in told.since and len(told.since) >= CONTENTS_MAX:
            self._set(number, event.sha256, held=False)  # better a copy too few than one that is not there
            return
        declined, _ = told.declined.get(event.sha256, (0, None))
        if declined < sequence:
            told.declined.pop(event.sha256, None)
        loss = event.reason if isinstance(event, ReplicaLost) else None
        told.since[event.sha256] = (sequence, loss)
        self._set(number, event.sha256, held=loss is None)

    def decline(self, number: int, event: ReplicaDeclined, *, sequence: int) -> None:
        """Keep the last reason for which a mirror could not fetch a content, until it says anything newer of it."""
        told = self._of(number)
        known, _ = told.since.get(event.sha256, (told.as_of, None))
        declined, _ = told.declined.get(event.sha256, (0, None))
        if sequence <= max(known, declined):
            return
        told.declined[event.sha256] = (sequence, event)
        if len(told.declined) > DECLINED_MAX:
            del told.declined[min(told.declined, key=lambda sha256: told.declined[sha256][0])]

    def page(self, number: int, event: InventoryAnnounced) -> None:
        """Fold one page of an inventory; the last missing page puts the whole into force."""
        told = self._of(number)
        if event.as_of <= told.as_of:
            return
        pages = told.pages.setdefault((event.as_of, event.pages), _Pages())
        pages.put(event.page, event.sha256s)
        while len(told.pages) > INVENTORIES_PENDING_MAX or told.pending > CONTENTS_MAX:
            del told.pages[min(told.pages)]
        if (event.as_of, event.pages) in told.pages and len(pages.digests) >= event.pages:
            self._replace(number, event.as_of, {sha256 for page in pages.digests.values() for sha256 in page})

    def forget(self, number: int) -> None:
        """Forget all that a mirror said."""
        for sha256 in self._held_by(number):
            self._set(number, sha256, held=False)
        self._told[number] = _Told()

    def _of(self, number: int) -> _Told:
        told = self._told.get(number)
        if told is None:
            told = self._told[number] = _Told()
        return told

    def _replace(self, number: int, as_of: int, held: set[Digest]) -> None:
        """Put a complete inventory into force, and on top of it what was said after it was taken."""
        told = self._of(number)
        told.as_of = as_of
        told.since = {sha256: fact for sha256, fact in told.since.items() if fact[0] > as_of}
        told.declined = {sha256: said for sha256, said in told.declined.items() if said[0] > as_of}
        told.pages = {key: pages for key, pages in told.pages.items() if key[0] > as_of}
        held |= {sha256 for sha256, (_, loss) in told.since.items() if loss is None}
        held -= {sha256 for sha256, (_, loss) in told.since.items() if loss is not None}
        for sha256 in self._held_by(number):
            if sha256 not in held:
                self._set(number, sha256, held=False)
        for sha256 in held:
            self._set(number, sha256, held=True)

    def _held_by(self, number: int) -> list[Digest]:
        bit = 1 << number
        return [sha256 for sha256, holders in self._holders.items() if holders & bit]

    def _set(self, number: int, sha256: Digest, *, held: bool) -> None:
        before = self._holders.get(sha256, 0)
        after = before | 1 << number if held else before & ~(1 << number)
        self._of(number).copies += (after > before) - (after < before)
        if after:
            self._holders[sha256] = after
        else:
            self._holders.pop(sha256, None)
