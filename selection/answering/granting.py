"""From a choice to leave for one download: the grant, its token for one mirror, and the notice of it. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeAlias, cast

from msgspec import defstruct

from events.grants import Claim, Grant, derive_key, mint
from events.names import MirrorName
from events.schemas import Granted
from events.schemas.fields import TIMESTAMP_S_MAX
from events.trace import root_of
from selection.answering.visit import Visit
from selection.view.file import PublishedFile


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """How long a grant holds."""

    start_by_s: int
    finish_within_s: int
    finish_bytes_per_second: int

    def moments(self, size_bytes: int, *, now_s: float, revoked_start_by_s: int) -> tuple[int, int]:
        """Give until when a download that is granted now may begin, and end.

        A revocation takes back what could be begun until ``revoked_start_by_s``, which is a little later than that of
        any grant before it. So for those two seconds a new one is given somewhat longer, lest it be dead at birth.
        """
        start_by_s = int(now_s) + self.start_by_s
        if start_by_s <= revoked_start_by_s:
            start_by_s = revoked_start_by_s + 1
        finish_by_s = start_by_s + self.finish_within_s + size_bytes // self.finish_bytes_per_second
        return start_by_s, finish_by_s if finish_by_s < TIMESTAMP_S_MAX else TIMESTAMP_S_MAX  # noqa: FURB136 - ``min`` takes as long as the rest


class Keys:
    """The grant keys of all mirrors, derived from the site's secret and kept."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret
        self._keys: dict[tuple[MirrorName, int], bytes] = {}

    def of(self, mirror: MirrorName, key_epoch: int) -> bytes:
        """Give a mirror's key of an epoch."""
        key = self._keys.get((mirror, key_epoch))
        if key is None:
            key = self._keys[mirror, key_epoch] = derive_key(self._secret, mirror, key_epoch)
        return key


def grant_for(
    file: PublishedFile,
    bound: Claim,
    terms: Terms,
    *,
    now_s: float,
    grant_id: bytes,
    key_epoch: int,
    revoked_start_by_s: int = 0,
) -> Grant:
    """Give leave to download a file, from now, to the visitors at an address that is bound (``events.grants.bind``)."""
    start_by_s, finish_by_s = terms.moments(file.size_bytes, now_s=now_s, revoked_start_by_s=revoked_start_by_s)
    return Grant(
        grant_id=grant_id,
        sha256=file.sha256,
        size_bytes=file.size_bytes,
        start_by_s=start_by_s,
        finish_by_s=finish_by_s,
        address=bound.address,
        prefix_bits=bound.prefix_bits,
        key_epoch=key_epoch,
    )


def token_for(grant: Grant, mirror: MirrorName, keys: Keys) -> str:
    """Write a grant as a token for one mirror."""
    return mint(grant, mirror=mirror, key=keys.of(mirror, grant.key_epoch))


# Leave that was given: the visit, until when the download may begin, until when it may end (both Unix seconds), and the
# trace that it belongs to, empty where its visitor brought none. A bare tuple, since one is made for each redirect: a
# named one takes several times as long.
Given: TypeAlias = tuple[Visit, int, int, str]

# A notice of ours: what it says was checked when it came into the view, and need not be again. To give its fields by
# place takes a third of the time.
_own_granted = cast(
    "Callable[..., Granted]",
    defstruct("OwnGranted", [(name, object) for name in Granted.__struct_fields__], frozen=True, array_like=True),
)


def notices_of(given: Iterable[Given]) -> tuple[Granted, ...]:
    """Tell the mirror, and the log, who was given leave.

    The trace of a download whose visitor brought none begins with the grant's own id, so nobody rolls dice for it.
    """
    notices: list[Granted] = []
    for visit, start_by_s, finish_by_s, traceparent in given:
        file, guest, grant_id = visit.file, visit.guest, visit.grant_id
        notice = _own_granted(
            grant_id,
            file.path,
            file.generation,
            file.sha256,
            file.size_bytes,
            guest.address,
            guest.visitor.whereabouts.country,
            visit.at_ns,
            start_by_s,
            finish_by_s,
            traceparent or root_of(grant_id),
        )
        notices.append(notice)
    return tuple(notices)
