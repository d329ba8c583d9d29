"""Take grants back: those that were given before now, by content, visitor, mirror or id.

A revocation is kept and said until the last grant that it is about would have ended. The master honours it itself
before it answers: what runs here is cut, and later requests are refused.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import structlog

from edge.running import Running
from events.grants import Grant, IPAddress
from events.names import ORIGIN, Digest, FilePath, MirrorName
from events.revocation import revokes
from events.schemas import GrantsRevoked
from events.schemas.fields import NS_PER_S, TEXT_LENGTH_MAX
from events.terms import finish_by_s, last_start_by_s
from events.trace import TraceContext
from master.downloads import Outgoing
from master.errors import ConflictError, ForbiddenError, InvalidRequestError, NotFoundError
from master.store.store import Store, Transaction

REVOCATIONS_MAX: Final = 1000  # each request is compared with all of them, in some milliseconds then
CUT_REASON: Final = "the grant was revoked"

_NUMBERS: Final = "revocations"

log = structlog.stdlib.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """Which grants are to be taken back: those that agree with each of these that is given."""

    path: FilePath | None = None
    mirror: MirrorName | None = None
    grant_id: bytes | None = None
    network: str | None = None
    reason: str = ""

    @property
    def names_something(self) -> bool:
        """Tell whether it is about anything less than all grants."""
        return any(each is not None for each in (self.path, self.mirror, self.grant_id, self.network))


class RevokedError(ForbiddenError):
    """The visitor's grant was taken back. The site may give him another."""

    def __init__(self) -> None:
        super().__init__("revoked", "the site took this link back", hint="ask the site for the file anew")


class Revoking:
    """Keeps the revocations that hold. ``wake`` is called after each commit that said something."""

    def __init__(
        self, store: Store, running: Running[Outgoing], *, wake: Callable[[], None], clock_s: Callable[[], float]
    ) -> None:
        self._store = store
        self._running = running
        self._wake = wake
        self._clock_s = clock_s
        self._holding: list[GrantsRevoked] = []

    async def load(self) -> None:
        """Read what holds, before anybody is served."""
        self._holding = list(await self.holding())

    async def holding(self) -> Sequence[GrantsRevoked]:
        """Give the revocations that hold, by number."""
        async with self._store.reading() as transaction:
            return await transaction.revocations.holding()

    async def revoke(self, order: Order, *, trace: TraceContext) -> tuple[GrantsRevoked, int]:
        """Take grants back; give the revocation, and how many downloads were cut here.

        Raises:
            InvalidRequestError: it names nothing, or the reason is too long.
            NotFoundError: no such file or mirror.
            ConflictError: too many revocations hold.
        """
        _check(order)
        async with self._store.changing(trace=trace) as transaction:
            if len(await transaction.revocations.holding()) >= REVOCATIONS_MAX:
                raise ConflictError(
                    "revocations_full",
                    f"{REVOCATIONS_MAX} revocations hold already",
                    hint="take more back at once, by mirror, content or network",
                )
            revoked = await _revocation(transaction, order)
            await transaction.revocations.add(revoked)
            await transaction.journal.say([revoked])
        self._holding.append(revoked)
        cut = self._running.cut(lambda outgoing: outgoing.is_under(revoked), CUT_REASON)
        self._wake()
        log.info("grants.revoked", revocation=revoked.revocation, cut=cut, trace_id=trace.trace_id)
        return revoked, cut

    def check(self, grant: Grant, address: IPAddress) -> None:
        """Check that a grant for the master itself was not taken back.

        Raises:
            RevokedError: it was.
        """
        now_s = self._clock_s()
        self._holding = [revoked for revoked in self._holding if revoked.until_s >= now_s]
        if any(revokes(revoked, grant, mirror=ORIGIN, address=address) for revoked in self._holding):
            raise RevokedError


def _check(order: Order) -> None:
    if not order.names_something:
        raise InvalidRequestError("revocation_empty", "say which grants: by file, network, mirror or grant")
    if len(order.reason) > TEXT_LENGTH_MAX:
        raise InvalidRequestError("reason_too_long", f"a reason has at most {TEXT_LENGTH_MAX} characters")


async def _revocation(transaction: Transaction, order: Order) -> GrantsRevoked:
    """Make the revocation of all that could be given until now; it holds until the longest of these has ended."""
    if order.mirror not in (None, ORIGIN) and await transaction.fleet.mirror(order.mirror) is None:
        raise NotFoundError("mirror_unknown", f"no mirror {order.mirror}", hint="see them all: distributary mirror ls")
    sha256, size_bytes = await _content(transaction, order.path)
    start_by_s_max = last_start_by_s(transaction.now_ns / NS_PER_S)
    return GrantsRevoked(
        revocation=await transaction.journal.advance(_NUMBERS, 1),
        start_by_s_max=start_by_s_max,
        until_s=finish_by_s(start_by_s_max, size_bytes),
        reason=order.reason,
        mirror=order.mirror,
        grant_id=order.grant_id,
        sha256=sha256,
        network=order.network,
    )


async def _content(transaction: Transaction, path: FilePath | None) -> tuple[Digest | None, int]:
    """Give what stands, or stood last, under a path; without one, the size of the largest that ever stood anywhere."""
    if path is None:
        return None, await transaction.catalogue.largest_bytes()
    content = await transaction.catalogue.last_content(path)
    if content is None:
        raise NotFoundError("file_unknown", f"no file {path} was ever published", hint="see them: distributary ls")
    return content
