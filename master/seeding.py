"""The tracker at work: answers mirrors that ask for pieces, at once or when there is something for them.

It knows from the database who may have a content and who holds it whole, from ``master.following`` what changes, and
from the askers themselves the rest. Whom it answered with nothing it keeps waiting, and looks again whenever something
changed: a few at a time, the longest waiting first, so that a thousand who wait cost no more than a few.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import islice
from random import Random
from typing import Final

import structlog

from events.grants import Grant, IPAddress, bind, derive_key, mint
from events.names import ORIGIN, Digest, MirrorName
from events.schemas import SourceFault
from master.heard import Heard
from master.serving import Serving
from master.store.store import Store
from master.tracker.leases import Lease
from master.tracker.stations import ORIGIN_NUMBER
from master.tracker.swarm import Content
from master.tracker.tracker import Rules, Tracker

LOOK_AFTER_S: Final = 0.02  # what changes together is looked at once
LOOK_AGAIN_S: Final = 0.25  # time alone frees places, too: leases end, and the master's rate lets more out
LOOKED_AT_MAX: Final = 64  # waiting askers in one go, of all contents: some 5 ms of the loop
LEAVE_KEPT_S: Final = 10.0  # whether a mirror may have a content is asked so often at most; bytes are checked each time
LEAVES_KEPT_MAX: Final = 100_000

log = structlog.stdlib.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """A mirror's word on a lease; ``fault`` is None where the piece came and is what it should be."""

    lease_id: bytes
    fault: SourceFault | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What a mirror asks. ``have`` is its pieces as bits, piece 0 the lowest; ``address`` is where it comes from.

    ``session`` is another one whenever the mirror's process is.
    """

    mirror: MirrorName
    address: IPAddress
    sha256: Digest
    have: int
    want_max: int
    wait_s: float
    session: str = ""
    results: tuple[Settled, ...] = ()
    is_gone: Callable[[], bool] = lambda: False

    @property
    def place(self) -> tuple[MirrorName, Digest]:
        """Say who waits for what."""
        return self.mirror, self.sha256


@dataclass(frozen=True, slots=True, kw_only=True)
class Leased:
    """One lease as the asker is told. ``url`` and ``token`` are empty where the source is the master."""

    lease_id: bytes
    piece: int
    source: MirrorName
    url: str
    token: str
    expires_in_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a mirror may fetch, and how long to wait before it asks again."""

    leases: tuple[Leased, ...]
    retry_after_s: float


@dataclass(slots=True)
class _Waiting:
    """An asker for whom there was nothing yet."""

    question: Question
    leases: asyncio.Future[list[Lease]]


@dataclass(slots=True)
class _Leaves:
    """Which content a mirror may have, as of lately, with its length and pieces."""

    kept: dict[tuple[MirrorName, Digest], tuple[float, Content]] = field(
        default_factory=dict[tuple[MirrorName, Digest], tuple[float, Content]]
    )

    def find(self, mirror: MirrorName, sha256: Digest, now_s: float) -> Content | None:
        until_s, content = self.kept.get((mirror, sha256), (0.0, None))
        return content if until_s > now_s else None

    def keep(self, mirror: MirrorName, content: Content, now_s: float) -> None:
        if len(self.kept) >= LEAVES_KEPT_MAX:
            self.kept.clear()
        self.kept[mirror, content.sha256] = (now_s + LEAVE_KEPT_S, content)


class Seeding:
    """Answers mirrors. Make it inside a running loop; ``secret`` is the site's, which mints tokens for peers."""

    def __init__(self, store: Store, serving: Serving, rules: Rules, *, secret: bytes, rng: Random) -> None:
        self._store = store
        self._serving = serving
        self._secret = secret
        self._tracker = Tracker(rules, rng=rng)
        self._waiting: OrderedDict[tuple[MirrorName, Digest], _Waiting] = (
            OrderedDict()
        )  # the next to be looked at first
        self._unseen = 0  # those who wait and were not looked at since something changed
        self._look: asyncio.TimerHandle | None = None
        self._leaves = _Leaves()
        self._outdated: set[MirrorName] = set()
        self._meanwhile: list[Heard] = []
        self._reading = asyncio.Lock()
        self._loop = asyncio.get_running_loop()
        self._sent_bytes = 0

    async def load(self) -> None:
        """Begin with what mirrors said of themselves before this process began."""
        async with self._store.reading() as transaction:
            for announced in await transaction.heard.announced():
                self._tracker.announce(announced)

    def hear(self, heard: Heard) -> None:
        """Take up what the log said."""
        if self._reading.locked():
            self._meanwhile.append(heard)
        for mirror in heard.left:
            self._tracker.leave(mirror)
        for announced in heard.announced:
            self._tracker.announce(announced)
        self._take_up(heard)
        self._look_for_change()

    async def ask(self, question: Question) -> Answer:
        """Answer a mirror; wait for its time where there is nothing to be had at once.

        Raises:
            NotFoundError: nothing like that is published.
            ForbiddenError: none of the mirror's channels holds it.
            StoreError: the database cannot be used now.
        """
        # What is given back counts, even of a content that the mirror may have no more.
        self._tracker.resume(question.mirror, question.session)
        for settled in question.results:
            self._tracker.settle(question.mirror, settled.lease_id, settled.fault, now_s=self._loop.time())
        await self._prepare(question)
        self._dismiss(question.place, [])  # what it asked before is answered by this
        leases = self._lease(question)
        self._look_for_change()  # its pieces, or the places that it gave back, are what others wait for
        if not leases and question.want_max and question.wait_s > 0:
            leases = await self._wait(question)
        return Answer(
            leases=tuple(self._told(lease, question.address) for lease in leases),
            retry_after_s=0.0 if leases else self._tracker.retry_after_s(),
        )

    def find_lease(self, mirror: MirrorName, lease_id: bytes, sha256: Digest) -> Lease | None:
        """Find a lease of this mirror for content from the master."""
        return self._tracker.find_lease(mirror, lease_id, sha256, now_s=self._loop.time())

    def count(self, sent_bytes: int) -> None:
        """Count what left the master for mirrors."""
        self._sent_bytes += sent_bytes

    def described(self) -> dict[str, object]:
        """Give the figures for the status."""
        return {
            "sent_bytes": self._sent_bytes,
            "peers": self._tracker.sources(self._loop.time()),
            "contents": len(self._tracker.contents),
            "leases": self._tracker.leases,
            "waiting": len(self._waiting),
        }

    async def _prepare(self, question: Question) -> None:
        """Make sure that the mirror may have the content and that it has a swarm, and that what is known is whole."""
        content = self._leaves.find(question.mirror, question.sha256, self._loop.time())
        if content is None:
            file = await self._serving.file_for_mirror(question.mirror, question.sha256)
            content = Content(sha256=file.sha256, size_bytes=file.size_bytes, piece_bytes=file.pieces.piece_bytes)
            self._leaves.keep(question.mirror, content, self._loop.time())
        if self._outdated or not self._tracker.has(content.sha256):
            async with self._reading:
                await self._reload()
                await self._open(content)

    async def _open(self, content: Content) -> None:
        """Begin a swarm with what the database says, and what the log says meanwhile."""
        if self._tracker.has(content.sha256):
            return
        self._meanwhile.clear()
        async with self._store.reading() as transaction:
            holders = await transaction.heard.holders(content.sha256)
            bans = await transaction.heard.bans(content.sha256)
        self._tracker.put_away(self._loop.time())
        self._tracker.open(content, holders=holders, bans=bans)
        self._take_up_meanwhile()

    async def _reload(self) -> None:
        """Read anew which of the contents that are being fetched some mirrors hold, after inventories of theirs came.

        Once is enough, however many more come: this reading is at least as new as what made it needed.
        """
        if not self._outdated:
            return
        self._meanwhile.clear()
        mirrors, contents = frozenset(self._outdated), self._tracker.contents
        async with self._store.reading() as transaction:
            held = {mirror: await transaction.heard.held_by(mirror, contents) for mirror in mirrors}
        self._outdated -= mirrors
        for mirror, sha256s in held.items():
            self._tracker.replace(mirror, sha256s)
        self._take_up_meanwhile()

    def _take_up_meanwhile(self) -> None:
        """Take up once more what was heard while the database was read: it may be newer than what was read."""
        for heard in self._meanwhile:
            self._take_up(heard)
        self._meanwhile.clear()

    def _take_up(self, heard: Heard) -> None:
        for (mirror, sha256), held in heard.replicas.items():
            self._tracker.hold(mirror, sha256, held=held)
        for ban in heard.bans:
            self._tracker.ban(ban)
        self._outdated |= heard.replaced

    def _lease(self, question: Question) -> list[Lease]:
        return self._tracker.ask(
            question.mirror,
            question.sha256,
            have=question.have,
            want_max=question.want_max,
            now_s=self._loop.time(),
        )

    async def _wait(self, question: Question) -> list[Lease]:
        waiting = _Waiting(question, self._loop.create_future())
        self._waiting[question.place] = waiting
        try:
            await asyncio.wait([waiting.leases], timeout=question.wait_s)
            return waiting.leases.result() if waiting.leases.done() else []
        finally:
            if self._waiting.get(question.place) is waiting:
                del self._waiting[question.place]

    def _dismiss(self, place: tuple[MirrorName, Digest], leases: list[Lease]) -> None:
        """Let one who waits go."""
        waiting = self._waiting.pop(place, None)
        if waiting is not None:
            waiting.leases.set_result(leases)

    def _look_for_change(self) -> None:
        self._unseen = len(self._waiting)
        self._look_after(LOOK_AFTER_S)

    def _look_after(self, after_s: float) -> None:
        """Look at those who wait, soon; sooner than was planned if need be."""
        at_s = self._loop.time() + after_s
        if self._look is not None and self._look.when() > at_s:
            self._look.cancel()
            self._look = None
        if self._look is None and self._waiting:
            self._look = self._loop.call_at(at_s, self._look_at_waiting)

    def _look_at_waiting(self) -> None:
        self._look = None
        looked_at = list(islice(self._waiting, LOOKED_AT_MAX))
        for place in looked_at:
            self._look_at(place)
        self._unseen = max(0, self._unseen - len(looked_at))
        self._look_after(LOOK_AFTER_S if self._unseen else LOOK_AGAIN_S)

    def _look_at(self, place: tuple[MirrorName, Digest]) -> None:
        """Lease to one who waits, or let him queue up again; one who is gone gets nothing."""
        question = self._waiting[place].question
        over = question.is_gone() or not self._tracker.has(question.sha256)
        leases = [] if over else self._lease(question)
        if leases or over:
            self._dismiss(place, leases)
        else:
            self._waiting.move_to_end(place)

    def _told(self, lease: Lease, address: IPAddress) -> Leased:
        name = self._tracker.stations.name(lease.source)
        url, token = ("", "") if lease.source == ORIGIN_NUMBER else self._peer(lease, name, address)
        return Leased(
            lease_id=lease.lease_id,
            piece=lease.piece,
            source=ORIGIN if lease.source == ORIGIN_NUMBER else name,
            url=url,
            token=token,
            expires_in_s=max(0.0, lease.expires_at_s - self._loop.time()),
        )

    def _peer(self, lease: Lease, source: MirrorName, address: IPAddress) -> tuple[str, str]:
        """Give the source's URL, and the asker's token for it."""
        announced = self._tracker.stations.announced(lease.source)
        claim = bind(address)
        until_s = int(time.time() + max(0.0, lease.expires_at_s - self._loop.time())) + 1
        grant = Grant(
            grant_id=lease.lease_id,
            sha256=lease.sha256,
            size_bytes=lease.piece_bytes,
            start_by_s=until_s,
            finish_by_s=until_s,
            address=claim.address,
            prefix_bits=claim.prefix_bits,
            key_epoch=announced.key_epoch,
            peer=True,
        )
        key = derive_key(self._secret, source, announced.key_epoch)
        assert announced.profile is not None  # noqa: S101 - without one it is no source
        return announced.profile.url, mint(grant, mirror=source, key=key)
