"""The mirrors' last load reports as bytes: a selector that begins without the broker has candidates by them. Pure.

Each was heard at a moment of the hearing clock, which goes on from the snapshot's: so a mirror falls silent when it is
not heard for as long as ever, and not while nobody could be heard.
"""

from __future__ import annotations

from typing import Final

import msgspec

from events.envelope import Envelope, load_source
from events.schemas import LoadReported
from selection.view.fleet import FleetView


class UnusableLoadsError(ValueError):
    """These are no load reports of this version. Go without them: mirrors report again within seconds."""


def dump_loads(view: FleetView) -> bytes:
    """Write the last load report of each mirror of the fleet."""
    loads = [mirror.load for mirror in view.mirrors() if mirror.load is not None]
    return msgspec.msgpack.encode([(load.version, load.heard_s, load.report) for load in loads])


def restore_loads(view: FleetView, dumped: bytes) -> None:
    """Let a view know what ``dump_loads`` wrote.

    Raises:
        UnusableLoadsError: something else wrote it.
    """
    try:
        loads = _decoder.decode(dumped)
    except msgspec.DecodeError as error:
        raise UnusableLoadsError(f"the load reports cannot be read: {error}") from error
    for (epoch, sequence), heard_s, report in loads:
        source = load_source(report.mirror)
        envelope = Envelope(source=source, epoch=epoch, sequence=sequence, time_ns=0, traceparent="", event=report)
        view.apply(envelope, heard_s=heard_s)


_decoder: Final = msgspec.msgpack.Decoder(list[tuple[tuple[int, int], float, LoadReported]])
NO_LOADS: Final = msgspec.msgpack.encode([])
