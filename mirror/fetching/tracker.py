"""The master as the tracker: which piece to fetch next, and from whom.

Each question tells what is there and what became of the former leases, so the answers spread pieces over the fleet, and
other mirrors can be sent here for what is verified.
"""

from __future__ import annotations

import base64
from typing import Annotated, Final, NamedTuple

from msgspec import Meta, Struct

from events.errors import InvalidNameError
from events.names import ORIGIN, MirrorName, parse_mirror
from events.schemas import SourceFault
from mirror.content.piecemap import PieceLayout, PieceMap
from mirror.fetching.origin import Origin, OriginConfusedError

RETRY_AFTER_S_MAX: Final = 60.0  # longer nobody is sent away; a piece may come free at any moment

_PATH: Final = "/-/api/v1/mirrors/self/pieces"


class Lease(NamedTuple):
    """Leave to fetch one piece from one source; ``origin`` is the master. ``token`` is what the source wants to see."""

    lease: str
    piece: int
    source: MirrorName
    url: str
    token: str


class Leases(NamedTuple):
    """What may be fetched now. Ask again after ``retry_after_s`` for more."""

    leases: tuple[Lease, ...]
    retry_after_s: float


class Report(NamedTuple):
    """What became of a lease; ``fault`` is None where the piece came and is verified."""

    lease: str
    fault: SourceFault | None


class _Result(Struct, omit_defaults=True):
    lease: str
    outcome: str
    fault: str = ""


class _Question(Struct):
    sha256: str
    have: str
    want_max: int
    wait_s: float
    session: str
    results: list[_Result]


class _Lease(Struct):
    lease: str
    piece: Annotated[int, Meta(ge=0)]
    source: str
    url: str = ""
    token: str = ""


class _Answer(Struct):
    leases: list[_Lease]
    retry_after_s: Annotated[float, Meta(ge=0)] = 0.0


class Tracker:
    """Asks one master. It knows by the ``session`` that another process of this mirror's has other leases."""

    def __init__(self, origin: Origin, *, session: str) -> None:
        self._origin = origin
        self._session = session

    async def lease(
        self, layout: PieceLayout, have: PieceMap, *, want_max: int, wait_s: float, reports: tuple[Report, ...] = ()
    ) -> Leases:
        """Ask for pieces of a content, and tell what is there and what became of former leases.

        Args:
            layout: the content.
            have: its verified pieces.
            want_max: how many leases are wanted at most; 0 to tell only.
            wait_s: how long the answer may take while there is nothing to lease.
            reports: what became of former leases.

        Raises:
            OriginError: see the subclass.
        """
        question = _Question(
            sha256=layout.sha256.hex(),
            have=base64.b64encode(bytes(have)).decode("ascii"),
            want_max=want_max,
            wait_s=wait_s,
            session=self._session,
            results=[_result(report) for report in reports],
        )
        answer = await self._origin.ask("POST", _PATH, _Answer, body=question)
        try:
            leases = tuple(_lease(told, layout) for told in answer.leases[:want_max])
        except (InvalidNameError, IndexError) as error:
            raise OriginConfusedError(f"leases of {layout.sha256.hex()}: {error}") from error
        return Leases(leases, min(answer.retry_after_s, RETRY_AFTER_S_MAX))


def _result(report: Report) -> _Result:
    if report.fault is None:
        return _Result(report.lease, "done")
    return _Result(report.lease, "failed", report.fault.value)


def _lease(told: _Lease, layout: PieceLayout) -> Lease:
    layout.span(told.piece)
    source = ORIGIN if told.source == ORIGIN else parse_mirror(told.source)
    return Lease(told.lease, told.piece, source, told.url, told.token)
