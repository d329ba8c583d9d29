"""The tracker at work, over a database that is told what it answers."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from ipaddress import ip_address
from random import Random
from types import SimpleNamespace
from typing import cast

import pytest

from events.names import ORIGIN, Digest, MirrorName
from events.schemas import Profile, SourceFault
from master.errors import ForbiddenError
from master.heard import Announced, Ban, Heard
from master.seeding import LOOKED_AT_MAX, Question, Seeding, Settled
from master.serving import Serving
from master.store.store import Store
from master.tracker.tracker import Rules

ANA, BOB = MirrorName("ana"), MirrorName("bob")
SHA256 = Digest(b"1" * 32)
PIECE_BYTES = 4 << 20
DEADLINE_S = 30.0


class Books:
    """Stands for the database: who holds what. ``on_read`` is called in the middle of each reading."""

    def __init__(self) -> None:
        self.held: dict[MirrorName, set[Digest]] = {}
        self.on_read: Callable[[], None] = lambda: None
        self.reads = 0
        self.forbidden: set[Digest] = set()

    @asynccontextmanager
    async def reading(self) -> AsyncGenerator[SimpleNamespace]:
        self.reads += 1
        yield SimpleNamespace(heard=self)

    async def holders(self, sha256: Digest) -> Sequence[MirrorName]:
        found = sorted(mirror for mirror, held in self.held.items() if sha256 in held)
        self.on_read()
        return found

    async def held_by(self, mirror: MirrorName, sha256s: Collection[Digest]) -> set[Digest]:
        found = self.held.get(mirror, set()) & set(sha256s)
        self.on_read()
        return found

    async def bans(self, _sha256: Digest) -> Sequence[Ban]:
        return []

    async def file_for_mirror(self, mirror: MirrorName, sha256: Digest) -> SimpleNamespace:
        if sha256 in self.forbidden:
            raise ForbiddenError("not_subscribed", f"{mirror} may not have {sha256.hex()}")
        pieces = SimpleNamespace(piece_bytes=PIECE_BYTES)
        return SimpleNamespace(sha256=sha256, size_bytes=2 * PIECE_BYTES, pieces=pieces)


def seeding_over(books: Books, *, escape_after_s: float = 3600.0) -> Seeding:
    rules = Rules(seeds_max=1, escape_after_s=escape_after_s, bytes_per_second=None)
    rng = Random(1)  # noqa: S311 - seeded on purpose
    return Seeding(cast("Store", books), cast("Serving", books), rules, secret=b"s" * 32, rng=rng)


def heard(
    *, announced: tuple[MirrorName, ...] = (), replaced: tuple[MirrorName, ...] = (), holding: bool | None = None
) -> Heard:
    profile = Profile(url="https://ana.example", slots=1)
    return Heard(
        announced=tuple(Announced(mirror=name, online=True, profile=profile, key_epoch=1) for name in announced),
        left=frozenset(),
        replicas={} if holding is None else {(ANA, SHA256): holding},
        replaced=frozenset(replaced),
        bans=(),
    )


def question(
    mirror: MirrorName = BOB, *, have: int = 0, want_max: int = 4, wait_s: float = 0.0, sha256: Digest = SHA256
) -> Question:
    return Question(
        mirror=mirror, address=ip_address("127.0.0.1"), sha256=sha256, have=have, want_max=want_max, wait_s=wait_s
    )


async def sources(seeding: Seeding) -> Counter[MirrorName]:
    async with asyncio.timeout(DEADLINE_S):
        return Counter(lease.source for lease in (await seeding.ask(question())).leases)


async def test_a_log_that_never_rests_keeps_nobody_waiting() -> None:
    """An inventory of one mirror and a word of another come during each reading, as in a fleet that fetches."""
    books = Books()
    seeding = seeding_over(books)
    books.on_read = lambda: seeding.hear(heard(replaced=(ANA,)))
    assert await sources(seeding) == {ORIGIN: 2}
    assert await seeding.ask(question(ANA, want_max=0))


async def test_what_the_log_says_while_the_database_is_read_is_not_lost() -> None:
    books = Books()
    seeding = seeding_over(books)
    seeding.hear(heard(announced=(ANA, BOB)))
    books.on_read = lambda: seeding.hear(heard(holding=True))
    assert (await sources(seeding))[ANA] == 2


async def test_after_an_inventory_a_mirror_counts_for_what_it_still_has() -> None:
    books = Books()
    books.held[ANA] = {SHA256}
    seeding = seeding_over(books, escape_after_s=0.001)
    seeding.hear(heard(announced=(ANA, BOB)))
    await seeding.ask(question(want_max=0))
    books.held[ANA] = set()
    seeding.hear(heard(replaced=(ANA,)))
    assert ANA not in await sources(seeding)
    before = books.reads
    await sources(seeding)
    assert books.reads == before, "it is read once"


async def test_a_lease_is_given_back_even_for_a_content_that_the_mirror_may_have_no_more() -> None:
    books = Books()
    seeding = seeding_over(books)
    lease, _ = (await seeding.ask(question())).leases
    given_back = Settled(lease_id=lease.lease_id, fault=SourceFault.OTHER)
    books.forbidden.add(Digest(b"2" * 32))
    with pytest.raises(ForbiddenError):
        await seeding.ask(replace(question(sha256=Digest(b"2" * 32)), results=(given_back,)))
    assert seeding.described()["leases"] == 1


async def test_another_session_of_a_mirror_ends_the_leases_of_the_one_before() -> None:
    seeding = seeding_over(Books())
    asked = replace(question(), session="first")
    assert len((await seeding.ask(asked)).leases) == 2
    assert (await seeding.ask(asked)).leases == ()
    assert len((await seeding.ask(replace(asked, session="second"))).leases) == 2


async def test_a_mirror_waits_once_for_a_content_however_often_it_asks() -> None:
    seeding = seeding_over(Books())
    for asker in (ANA, BOB):  # the budget is spent
        await seeding.ask(question(asker))
    former = [asyncio.ensure_future(seeding.ask(question(ANA, wait_s=3600.0))) for _ in range(20)]
    async with asyncio.timeout(DEADLINE_S):
        assert [answer.leases for answer in await asyncio.gather(*former[:-1])] == [()] * 19
    assert seeding.described()["waiting"] == 1
    await seeding.ask(question(ANA, have=0b11, want_max=0))
    async with asyncio.timeout(DEADLINE_S):
        await asyncio.gather(*former)
    assert seeding.described()["waiting"] == 0


async def test_many_who_wait_are_all_looked_at_soon() -> None:
    seeding = seeding_over(Books())
    seeding.hear(heard(announced=(ANA,)))
    names = [MirrorName(f"m{number}") for number in range(2 * LOOKED_AT_MAX + 10)]
    for asker in names[:2]:
        await seeding.ask(question(asker))
    waiting = [asyncio.ensure_future(seeding.ask(question(asker, wait_s=3600.0))) for asker in names]
    await seeding.ask(question(ANA, have=0b11, want_max=0))
    async with asyncio.timeout(DEADLINE_S):
        done, pending = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    assert {lease.source for task in done for lease in task.result().leases} == {ANA}
    for task in pending:
        task.cancel()
    await asyncio.wait(waiting)
    assert seeding.described()["waiting"] == 0
