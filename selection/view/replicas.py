"""Who holds which content, folded from what each mirror says of itself. Pure.

What a mirror says has an order of its own (its sequence), and here only that counts: of two facts about one content the
later holds, and a complete inventory ``as_of`` n replaces all facts up to n, in whatever order facts and pages arrive.

A fact has to be kept for as long as one that is older may yet arrive: while a number is missing after the last
inventory, or pages of a newer inventory are. Otherwise the set of holders says it all. So two things are not believed:
a fact that comes ``LATE_MAX`` numbers after those around it, and an inventory that was taken before facts which were
not kept (a mirror takes it in the moment in which it says the first page).
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from itertools import chain, compress, count
from typing import Final

from msgspec import Struct

from events.names import SHA256_BYTES, Digest
from events.schemas import InventoryAnnounced, LossReason, ReplicaDeclined, ReplicaLost, ReplicaReady
from selection.view.contents import Contents
from selection.view.sequences import SequenceTrack

# Twice the largest catalogue that we know of: what one mirror can make us keep, some 100 MB, whatever it claims. That
# nobody published it is no reason to forget a content: in a log whose beginning is cut off the master says it later.
CONTENTS_MAX: Final = 1_000_000
DECLINED_MAX: Final = 1000  # explanations for people, a kilobyte each; past that the oldest go
LOSSES_MAX: Final = 1000  # explanations, too
# A mirror tells one inventory at a time; more that never complete are a faulty mirror's, and the oldest go.
INVENTORIES_PENDING_MAX: Final = 4
# A relay repeats a batch of some hundred at most. A mirror whose number is lost for good keeps this many facts, 2 MB.
LATE_MAX: Final = 10_000
_DIGEST: Final = f"{SHA256_BYTES}s"


class Inventory(Struct):
    """The pages of one incomplete inventory: the digests of each, one after the other.

    ``weight`` counts pages and contents, so that empty pages cost, too.
    """

    pages: dict[int, bytes] = {}
    weight: int = 0

    def put(self, page: int, sha256s: tuple[Digest, ...]) -> None:
        """Take a page, or another word on one."""
        known = self.pages.get(page)
        self.weight += 1 + len(sha256s) - (0 if known is None else 1 + len(known) // SHA256_BYTES)
        self.pages[page] = b"".join(sha256s)

    def digests(self) -> list[Digest]:
        """Give the digests of all contents."""
        pages = (struct.unpack(_DIGEST * (len(page) // SHA256_BYTES), page) for page in self.pages.values())
        return [*chain.from_iterable(pages)]


class Told(Struct):
    """What one mirror said. Each fact stands with its sequence.

    ``since`` has the last fact about each content that must be kept, ``2 * sequence`` and 1 where it is held;
    ``folded`` is the highest sequence of a fact that was not. ``pending`` has incomplete inventories by ``(as_of,
    number of pages)``. ``losses`` and ``declined`` explain what is missing.
    """

    number: int
    bit: int
    as_of: int = 0
    copies: int = 0
    folded: int = 0
    since: dict[Digest, int] = {}
    losses: dict[Digest, tuple[int, LossReason]] = {}
    declined: dict[Digest, tuple[int, ReplicaDeclined]] = {}
    pending: dict[tuple[int, int], Inventory] = {}


class Replicas:
    """The holders of every content, and why a mirror has none. Mirrors are given by number."""

    def __init__(self, contents: Contents) -> None:
        self._contents = contents
        self._marks: dict[int, int] = {}
        self.told: dict[int, Told] = {}

    def holders(self, sha256: Digest) -> int:
        """Give the mirrors that hold this content, as a bit set."""
        content = self._contents.find(sha256)
        return self._contents.holders(content)

    def copies(self, number: int) -> int:
        """Count the contents that a mirror holds."""
        return self.of(number).copies

    def inventory_as_of(self, number: int) -> int:
        """Give the sequence at which the mirror's last complete inventory was taken, or 0."""
        return self.of(number).as_of

    def loss(self, number: int, sha256: Digest) -> LossReason | None:
        """Give the reason for which the mirror lost this content, where its last word was that it did."""
        said = self.of(number).losses.get(sha256)
        return said[1] if said else None

    def declined(self, number: int, sha256: Digest) -> ReplicaDeclined | None:
        """Give the mirror's last word on why it could not fetch this content."""
        said = self.of(number).declined.get(sha256)
        return said[1] if said else None

    def ready(self, told: Told, event: ReplicaReady, sequence: int, track: SequenceTrack) -> None:
        """Fold that a mirror holds a content; ``sequence`` is the mirror's, and ``track`` has noted it."""
        if not self.is_plain(told, sequence, 1, track):
            self.apply(told, event, sequence=sequence, track=track)
            return
        told.folded = sequence
        if told.losses or told.declined:
            _forget_reasons(told, event.sha256, sequence)
        self._hold(told, event.sha256)

    def tell_all(self, told: Told, facts: Sequence[ReplicaReady | ReplicaLost], first: int) -> None:
        """Fold which contents a mirror has and lost, where that ``is_plain``; ``first`` is the first fact's sequence.

        Of facts about one content the last holds. What the mirror has is gathered: ``settle`` it before anybody asks.
        """
        told.folded = first + len(facts) - 1
        losses = _places_of_losses(facts)
        held, lost = _last_words([fact.sha256 for fact in facts], losses)
        if losses:
            _follow_reasons(told, facts, losses, first)
        for sha256 in lost:
            self._release(told, sha256)
        for reasons in (told.losses, told.declined):
            for sha256 in reasons.keys() & held if reasons else ():
                del reasons[sha256]
        added = self._contents.gather(held, told.bit)
        told.copies += len(added)
        self._mark(told, sum(map(hash, added)))

    def settle(self) -> None:
        """Put what was gathered into force."""
        for sha256, held_before in self._contents.settle():
            self._uncount(sha256, held_before)

    def is_plain(self, told: Told, first: int, count: int, track: SequenceTrack) -> bool:
        """Tell whether so many facts, from this sequence of the mirror's on, are newer than all that is known."""
        if told.since or told.pending or track.gaps:
            return False
        return track.first <= told.as_of + 1 <= first and told.copies + count <= CONTENTS_MAX

    def apply(self, told: Told, event: ReplicaReady | ReplicaLost, *, sequence: int, track: SequenceTrack) -> None:
        """Fold any fact about one content."""
        if told.since or told.pending or track.gaps or track.first > told.as_of + 1:
            if not _is_news(told, event.sha256, sequence, track):
                return
            self._keep(told, event, sequence, track)
        elif sequence <= told.as_of:
            return
        else:
            told.folded = sequence
        if isinstance(event, ReplicaLost):
            self._lose(told, event, sequence)
        else:
            _forget_reasons(told, event.sha256, sequence)
            self._hold(told, event.sha256)

    def decline(self, told: Told, event: ReplicaDeclined, *, sequence: int) -> None:
        """Keep the last reason for which a mirror could not fetch a content, until it says anything newer of it."""
        known = max(told.as_of, told.since.get(event.sha256, 0) >> 1)
        declined, _ = told.declined.get(event.sha256, (0, None))
        if sequence <= max(known, declined):
            return
        told.declined[event.sha256] = (sequence, event)
        if len(told.declined) > DECLINED_MAX:
            del told.declined[next(iter(told.declined))]

    def page(self, told: Told, event: InventoryAnnounced, *, track: SequenceTrack) -> bool:
        """Fold one page of an inventory; tell whether it was the last one missing, which puts the whole into force."""
        if event.as_of <= told.as_of or event.as_of <= told.folded:
            return False
        key = event.as_of, event.pages
        inventory = told.pending.setdefault(key, Inventory())
        inventory.put(event.page, event.sha256s)
        while len(told.pending) > INVENTORIES_PENDING_MAX or _pending_weight(told) > CONTENTS_MAX:
            del told.pending[min(told.pending)]
        is_complete = key in told.pending and len(inventory.pages) >= event.pages
        if is_complete:
            self._replace(told, event.as_of, inventory)
        self._trim(told, track)
        return is_complete

    def of(self, number: int) -> Told:
        """Give what a mirror said."""
        told = self.told.get(number)
        if told is None:
            told = self.told[number] = Told(number, 1 << number)
            self._marks[number] = 0
        return told

    def forget(self, number: int) -> None:
        """Forget all that a mirror said."""
        self.settle()
        told = self.of(number)
        for content in self._contents.held_by(told.bit):
            self._contents.release(content, told.bit)
        self._marks[number] = 0
        fresh = Told(number, told.bit)
        for name in fresh.__struct_fields__:
            setattr(told, name, getattr(fresh, name))

    def _keep(self, told: Told, event: ReplicaReady | ReplicaLost, sequence: int, track: SequenceTrack) -> None:
        told.since[event.sha256] = 2 * sequence + (not isinstance(event, ReplicaLost))
        is_needed = told.pending or not track.is_whole_after(told.as_of)
        if not is_needed or len(told.since) > 2 * LATE_MAX:
            self._trim(told, track)

    def _trim(self, told: Told, track: SequenceTrack) -> None:
        """Let go of the facts that nothing older can follow."""
        if not told.since:
            return
        floor = track.last if track.is_whole_after(told.as_of) else track.last - LATE_MAX
        floor = min(floor, *(as_of - 1 for as_of, _ in told.pending)) if told.pending else floor
        gone = [sha256 for sha256, fact in told.since.items() if fact >> 1 <= floor]
        for sha256 in gone:
            told.folded = max(told.folded, told.since.pop(sha256) >> 1)

    def _replace(self, told: Told, as_of: int, inventory: Inventory) -> None:
        """Put a complete inventory into force, and on top of it what was said after it was taken."""
        told.as_of = as_of
        told.since = {sha256: fact for sha256, fact in told.since.items() if fact >> 1 > as_of}
        told.losses = {sha256: said for sha256, said in told.losses.items() if said[0] > as_of}
        told.declined = {sha256: said for sha256, said in told.declined.items() if said[0] > as_of}
        told.pending = {key: pages for key, pages in told.pending.items() if key[0] > as_of}
        self.settle()
        sha256s = inventory.digests()
        if told.copies != len(sha256s) or sum(map(hash, sha256s)) != self._mark_of(told):
            self._hold_just(told, sha256s)
        for sha256, fact in told.since.items():
            (self._hold if fact & 1 else self._release)(told, sha256)

    def _hold_just(self, told: Told, sha256s: Sequence[Digest]) -> None:
        """Let a mirror hold these contents and no others."""
        contents = self._contents
        self._marks.pop(told.number, None)
        listed = dict.fromkeys(map(contents.need, sha256s))
        told.copies += contents.hold_all([*listed], told.bit)
        if told.copies > len(listed):
            for content in contents.held_by(told.bit):
                if content not in listed:
                    contents.release(content, told.bit)
            told.copies = len(listed)

    def _lose(self, told: Told, event: ReplicaLost, sequence: int) -> None:
        _forget_reasons(told, event.sha256, sequence)
        _explain(told, event, sequence)
        self._release(told, event.sha256)

    def _hold(self, told: Told, sha256: Digest) -> None:
        if told.copies < CONTENTS_MAX and self._contents.hold(sha256, told.bit):
            told.copies += 1
            self._mark(told, hash(sha256))

    def _release(self, told: Told, sha256: Digest) -> None:
        if self._contents.ungather(sha256, told.bit):
            self._uncount(sha256, told.bit)
        content = self._contents.find(sha256)
        if content and self._contents.release(content, told.bit):
            self._uncount(sha256, told.bit)

    def _uncount(self, sha256: Digest, mirrors: int) -> None:
        """Take back that one more copy, of this content, was counted at each of these mirrors."""
        while mirrors:
            number = mirrors.bit_length() - 1
            mirrors ^= 1 << number
            told = self.of(number)
            told.copies -= 1
            self._mark(told, -hash(sha256))

    def _mark_of(self, told: Told) -> int:
        """Give the sum of the hashes of what a mirror holds.

        Two different sets of contents have the same sum once in 2**64 times, and nobody outside this process knows by
        which key it hashes.
        """
        mark = self._marks.get(told.number)
        if mark is None:
            digest = self._contents.digest
            mark = sum(hash(digest(content)) for content in self._contents.held_by(told.bit))
            self._marks[told.number] = mark
        return mark

    def _mark(self, told: Told, more: int) -> None:
        """Keep the sum of hashes of what a mirror holds, where it is known."""
        if told.number in self._marks:
            self._marks[told.number] += more


def _is_news(told: Told, sha256: Digest, sequence: int, track: SequenceTrack) -> bool:
    """Tell whether a fact is newer than what is known of the content, and not too late to be compared with it."""
    known = max(told.as_of, told.since.get(sha256, 0) >> 1)
    return sequence > known and sequence > track.last - LATE_MAX


def _pending_weight(told: Told) -> int:
    return sum(inventory.weight for inventory in told.pending.values())


def _forget_reasons(told: Told, sha256: Digest, sequence: int) -> None:
    """Forget why a content was missing before a newer word on it."""
    declined, _ = told.declined.get(sha256, (sequence, None))
    if declined < sequence:
        del told.declined[sha256]
    told.losses.pop(sha256, None)


def _places_of_losses(facts: Sequence[ReplicaReady | ReplicaLost]) -> list[int]:
    """Find the facts that tell of a loss: they are few."""
    kinds = [*map(type, facts)]
    losses = {kind for kind in {*kinds} if issubclass(kind, ReplicaLost)}
    return [*compress(count(), map(losses.__contains__, kinds))] if losses else []


def _last_words(sha256s: Sequence[Digest], losses: Sequence[int]) -> tuple[set[Digest], set[Digest]]:
    """Give what a mirror holds and what it lost in the end of what it told of; at the places ``losses`` it lost it."""
    held: set[Digest] = set()
    lost: set[Digest] = set()
    end = len(sha256s)
    for place in reversed(losses):
        held.update(sha256s[place + 1 : end])
        if sha256s[place] not in held:
            lost.add(sha256s[place])
        end = place
    held.update(sha256s[:end])
    return held - lost if lost else held, lost


def _follow_reasons(told: Told, facts: Sequence[ReplicaReady | ReplicaLost], losses: Sequence[int], first: int) -> None:
    """Keep and forget the reasons of losses as one by one: all facts count where so many are lost that old ones go.

    Otherwise what is held in the end is left to be forgotten.
    """
    is_roomy = len(told.losses) + len(losses) <= LOSSES_MAX
    for place in losses if is_roomy else range(len(facts)):
        fact = facts[place]
        _forget_reasons(told, fact.sha256, first + place)
        if isinstance(fact, ReplicaLost):
            _explain(told, fact, first + place)


def _explain(told: Told, event: ReplicaLost, sequence: int) -> None:
    told.losses[event.sha256] = (sequence, event.reason)
    if len(told.losses) > LOSSES_MAX:
        del told.losses[next(iter(told.losses))]
