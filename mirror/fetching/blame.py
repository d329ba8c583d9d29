"""What sources did wrong, and whom not to ask for a content for a while. Pure.

Whoever lies about bytes, ranges or lengths, or leads to a forbidden address, is banned for the content at once; who
merely fails is, after some failures in a row. A ban ends, so that a mended source is tried again; the master's ends
soon, for it may be the only one who has the content.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from events.names import ORIGIN, Digest, MirrorName
from events.schemas import DeclineReason, SourceFault

STRIKES_MAX: Final = 5  # failures in a row of a source that may be well again soon
SLOW_STRIKES: Final = 3  # for each time that we waited in vain, which costs us most
LIAR_BAN_S: Final = 3600.0  # a disk or a person that corrupts content is not mended sooner
FAILED_BAN_S: Final = 60.0  # a server that restarts is back by then
RECORDS_MAX: Final = 20_000  # of a source and a content each; some 4 MB

LIES: Final = frozenset(
    {
        SourceFault.WRONG_BYTES,
        SourceFault.WRONG_RANGE,
        SourceFault.WRONG_ENCODING,
        SourceFault.ENDLESS,
        SourceFault.FORBIDDEN_ADDRESS,
    }
)


class Fault(NamedTuple):
    """What one source did; ``piece`` is the one whose bytes prove it, if any do."""

    fault: SourceFault
    detail: str
    piece: int | None = None

    def __str__(self) -> str:
        """Say it to a person."""
        return f"{self.fault.value} ({self.detail})"


class SourceFaultError(Exception):
    """A source did not send what it was asked for. Ask another one, and note the ``fault``."""

    def __init__(self, fault: SourceFault, detail: str, *, piece: int | None = None) -> None:
        super().__init__(f"{fault.value}: {detail}")
        self.fault = Fault(fault, detail, piece)


class SourceBusyError(SourceFaultError):
    """A source has no place for us now. That is no fault of it; ask another one."""

    def __init__(self, detail: str) -> None:
        super().__init__(SourceFault.REFUSED, detail)


class SourcesBadError(Exception):
    """Every source that was to be had failed. What was verified is kept; try again after a while.

    ``faults`` has the last one of each source.
    """

    def __init__(self, sha256: Digest, faults: Mapping[MirrorName, Fault]) -> None:
        told = "; ".join(f"{source}: {fault}" for source, fault in sorted(faults.items()))
        super().__init__(f"no good source of {sha256.hex()}: {told}")
        self.sha256, self.faults = sha256, dict(faults)

    @property
    def reason(self) -> DeclineReason:
        """Say in one word why: the mildest of the faults, for that is the one most likely to pass."""
        kinds = {fault.fault for fault in self.faults.values()}
        if SourceFault.FORBIDDEN_ADDRESS not in kinds and kinds <= LIES:
            return DeclineReason.DIGEST_MISMATCH
        return DeclineReason.SOURCE_REFUSED if kinds <= LIES | {SourceFault.REFUSED} else _UNAVAILABLE


_UNAVAILABLE: Final = DeclineReason.SOURCE_UNAVAILABLE


class _Record:
    """What is known of one source of one content."""

    __slots__ = ("banned_until_s", "last", "reported", "strikes")

    def __init__(self) -> None:
        self.last: Fault | None = None
        self.strikes = 0
        self.banned_until_s = 0.0
        self.reported = False


class Blame:
    """All bans of one mirror, by source and content."""

    def __init__(self, *, origin_ban_s: float) -> None:
        self._origin_ban_s = origin_ban_s
        self._records: dict[tuple[MirrorName, Digest], _Record] = {}

    def banned(self, source: MirrorName, sha256: Digest, *, now_s: float) -> Fault | None:
        """Give for what a source is not to be asked for a content now; None where it may be."""
        record = self._records.get((source, sha256))
        return record.last if record is not None and now_s < record.banned_until_s else None

    def note(self, source: MirrorName, sha256: Digest, fault: Fault, *, now_s: float) -> bool:
        """Note a fault; tell whether the source is banned for it and nobody was told of that yet."""
        record = self._record((source, sha256))
        record.last = fault
        record.strikes += SLOW_STRIKES if fault.fault is SourceFault.TOO_SLOW else 1
        if fault.fault not in LIES and record.strikes < STRIKES_MAX:
            return False
        ban_s = LIAR_BAN_S if fault.fault in LIES else FAILED_BAN_S
        record.banned_until_s = now_s + (self._origin_ban_s if source == ORIGIN else ban_s)
        record.strikes = 0
        first, record.reported = not record.reported, True
        return first

    def praise(self, source: MirrorName, sha256: Digest) -> None:
        """Note that a source sent what it should."""
        if (record := self._records.get((source, sha256))) is not None:
            record.strikes = 0

    def _record(self, key: tuple[MirrorName, Digest]) -> _Record:
        record = self._records.pop(key, None) or _Record()
        self._records[key] = record  # the ones noted last stay
        if len(self._records) > RECORDS_MAX:
            del self._records[next(iter(self._records))]
        return record
