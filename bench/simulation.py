"""A swarm in slots of time: the master's own tracker leases, made-up mirrors fetch. Seeded, so a run can be repeated.

In a slot a mirror sends one piece and takes two, the master sends four; a file has 64 pieces, so a mirror's uplink
needs 64 slots for it: one *file time*. A source sends what was leased from it first come, first served. A mirror asks
in each slot for as much as it can take, as mirrors do: what it has counts for others from then on.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random
from typing import Final

from events.names import ORIGIN, Digest, MirrorName
from events.schemas import Profile
from master.heard import Announced
from master.tracker.leases import Lease
from master.tracker.stations import ORIGIN_NUMBER
from master.tracker.swarm import Content
from master.tracker.tracker import Rules, Tracker

PIECES: Final = 64
PIECE_BYTES: Final = 4 << 20
SLOT_S: Final = 1.0
MASTER_UP: Final = 4
MIRROR_UP: Final = 1
MIRROR_DOWN: Final = 2
SLOTS_MAX: Final = 20_000  # a thousand mirrors by the master alone take 16,000
SEEDS_MAX: Final = 2  # as [master] seeds_max has it by default
ESCAPE_AFTER_S: Final = 10.0

_CONTENT: Final = Content(sha256=Digest(bytes(32)), size_bytes=PIECES * PIECE_BYTES, piece_bytes=PIECE_BYTES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Swarming:
    """How a swarm went. ``done_slots`` tells for each mirror when it was whole, in order."""

    mirrors: int
    copies_from_master: float
    done_slots: tuple[int, ...]

    @property
    def median_file_times(self) -> float:
        """When half of the mirrors were whole."""
        return self.done_slots[len(self.done_slots) // 2] / PIECES

    @property
    def last_file_times(self) -> float:
        """When the last mirror was whole."""
        return self.done_slots[-1] / PIECES


@dataclass(slots=True)
class _Mirror:
    """A mirror of the simulation; ``coming`` counts the pieces that it waits for."""

    name: MirrorName
    number: int
    have: int = 0
    coming: int = 0
    taken: int = 0


@dataclass(slots=True)
class _Stage:
    """All that the slots work on."""

    tracker: Tracker
    mirrors: dict[int, _Mirror]
    queues: dict[int, deque[Lease]] = field(default_factory=dict[int, deque[Lease]])
    sent_by_master: int = 0

    def ask(self, mirror: _Mirror, now_s: float) -> None:
        """Let a mirror ask for as much as it can take in a slot, and queue up at its sources."""
        room = 2 * MIRROR_DOWN - mirror.coming
        if room <= 0:
            return
        leases = self.tracker.ask(mirror.name, _CONTENT.sha256, have=mirror.have, want_max=room, now_s=now_s)
        mirror.coming += len(leases)
        for lease in leases:
            self.queues.setdefault(lease.source, deque()).append(lease)

    def send(self, now_s: float) -> Iterator[_Mirror]:
        """Let each source send what it can; give each mirror that is whole now."""
        for source, queue in self.queues.items():
            waiting: list[Lease] = []
            room = MASTER_UP if source == ORIGIN_NUMBER else MIRROR_UP
            while queue and room:
                lease = queue.popleft()
                asker = self.mirrors[lease.asker]
                if asker.taken >= MIRROR_DOWN:
                    waiting.append(lease)
                    continue
                room -= 1
                self._deliver(lease, asker, now_s)
                if asker.have == (1 << PIECES) - 1:
                    yield asker
            queue.extendleft(reversed(waiting))

    def _deliver(self, lease: Lease, asker: _Mirror, now_s: float) -> None:
        if lease.source == ORIGIN_NUMBER:
            found = self.tracker.find_lease(asker.name, lease.lease_id, lease.sha256, now_s=now_s)
            assert found is lease  # noqa: S101 - the origin sends under a good lease alone
            lease.sent_bytes = lease.piece_bytes
            self.sent_by_master += 1
        asker.have |= 1 << lease.piece
        asker.taken += 1
        asker.coming -= 1
        self.tracker.settle(asker.name, lease.lease_id, None, now_s=now_s)


def simulate(mirrors: int, *, seed: int, peers: bool = True, seeds_max: int = SEEDS_MAX) -> Swarming:
    """Let so many mirrors fetch one file until all are whole. Without ``peers`` the master alone sends."""
    stage, rng = _stage(mirrors, seed=seed, peers=peers, seeds_max=seeds_max), Random(seed)  # noqa: S311 - seeded on purpose
    done: list[int] = []
    wanting = list(stage.mirrors.values())
    for slot in range(1, SLOTS_MAX + 1):
        now_s = slot * SLOT_S
        rng.shuffle(wanting)
        for mirror in wanting:
            mirror.taken = 0
            stage.ask(mirror, now_s)
        for mirror in stage.send(now_s):
            done.append(slot)
            stage.tracker.hold(mirror.name, _CONTENT.sha256, held=True)
        wanting = [mirror for mirror in wanting if mirror.have != (1 << PIECES) - 1]
        if not wanting:
            break
    return Swarming(mirrors=mirrors, copies_from_master=stage.sent_by_master / PIECES, done_slots=tuple(done))


def _stage(count: int, *, seed: int, peers: bool, seeds_max: int) -> _Stage:
    rate = int(MASTER_UP * PIECE_BYTES / SLOT_S)
    rules = Rules(seeds_max=seeds_max, escape_after_s=ESCAPE_AFTER_S, bytes_per_second=rate)
    tracker = Tracker(rules, rng=Random(seed))  # noqa: S311 - seeded on purpose
    tracker.open(_CONTENT, holders=(), bans=())
    mirrors: dict[int, _Mirror] = {}
    for place in range(count):
        name = MirrorName(f"m{place}")
        profile = Profile(url=f"http://{name}.example", slots=1, peers=peers)
        tracker.announce(Announced(mirror=name, online=True, profile=profile, key_epoch=1))
        number = tracker.stations.number(name)
        mirrors[number] = _Mirror(name, number)
    assert tracker.stations.number(ORIGIN) == ORIGIN_NUMBER  # noqa: S101 - the queue of number 0 is the master's
    return _Stage(tracker, mirrors)
