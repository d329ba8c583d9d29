"""The operator's view of his mirror: what it holds, fetches and serves, its day and month, and what is wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from ipaddress import IPv4Address, ip_network
from itertools import islice
from typing import Final

from edge.health import Check
from events.grants import IPAddress
from events.names import Digest, MirrorName
from events.schemas import QuotaWindow
from mirror.config import MirrorConfig
from mirror.content.objects import Objects
from mirror.content.parts import PartsOnOffer
from mirror.content.piecemap import PieceLayout
from mirror.keeping.keeper import Keeper, Trouble
from mirror.operating.operator import Operator
from mirror.serving.traffic import Traffic
from mirror.serving.transfers import Transfer
from mirror.state.plan import Entry
from mirror.state.store import Store

DOWNLOADS_SHOWN_MAX: Final = 200  # more are not read; their number is told
EVICTED_SHOWN_MAX: Final = 20  # enough to see what is missing; their number is told
EVICTED_BECAUSE: Final = "no room under the disk limit"
_IPV4_BITS_SHOWN: Final = 24  # enough to tell a neighbour from a stranger, and nobody's own
_IPV6_BITS_SHOWN: Final = 48


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """All that is looked at. ``show`` it."""

    config: MirrorConfig
    store: Store
    keeper: Keeper
    objects: Objects
    on_the_way: PartsOnOffer
    traffic: Traffic
    operator: Operator
    left_because: str | None

    def show(self, checks: Iterable[Check], unknown: Mapping[str, int], *, verbose: bool = False) -> dict[str, object]:
        """Give the view as JSON; ``verbose`` shows visitors' whole addresses."""
        return {
            "mirror": self.config.name,
            "left": self.left_because or "",
            "serve": self.config.serve.value,
            "availability": self._availability(),
            "checks": [{"name": check.name, "ok": check.ok, "detail": check.detail} for check in checks],
            "month": self._window(QuotaWindow.MONTH),
            "day": self._window(QuotaWindow.DAY),
            "serves": self._serves(),
            "downloads": [self._download(each, verbose=verbose) for each in list(self.traffic)[:DOWNLOADS_SHOWN_MAX]],
            "channels": dict(self.store.catalogue.positions),
            "holds": self._holds(),
            "evicted": [self._gone(entry) for entry in islice(self._evicted(), EVICTED_SHOWN_MAX)],
            "fetching": [self._fetch(entry) for entry in self._fetched()],
            "troubles": [self._trouble(sha256, trouble) for sha256, trouble in self.keeper.troubles.items()],
            "limits": self._limits(),
            "events": {
                "epoch": self.store.database.epoch,
                "sequence": self.store.database.sequence,
                "master_epoch": self.store.catalogue.epoch,
                "unknown": dict(unknown),
            },
        }

    def _availability(self) -> dict[str, object]:
        state = self.operator.state
        return {"state": state.availability.value, "until": _moment(state.until_s) if state.until_s else ""}

    def _window(self, window: QuotaWindow) -> dict[str, object]:
        quota = self.traffic.bookkeeper.quota
        return {
            "began": quota.first_day(window).isoformat(),
            "used_bytes": quota.used_bytes(window),
            "left_bytes": quota.left(window),
            "limit_bytes": quota.limits.of(window),
            "resets_at": _moment(quota.resets_at_s(window)),
        }

    def _serves(self) -> dict[str, object]:
        slots, now_s = self.traffic.slots, self.traffic.now_s()
        return {
            "slots": slots.visits.slots,
            "active": slots.visits.active,
            "kept": slots.kept(now_s),
            "reserved": slots.reserved(now_s),
            "connections": slots.connections,
            "peers": self.traffic.peer_slots.active,
            "peer_slots": self.traffic.peer_slots.slots,
            "sent_bytes": self.traffic.sent_bytes,
            "sparing": self.traffic.bookkeeper.quota.sparing,
        }

    def _download(self, transfer: Transfer, *, verbose: bool) -> dict[str, object]:
        elapsed_s = max(self.traffic.now_s() - transfer.since_s, 0.001)
        entry = self.store.catalogue.wanted(transfer.grant.sha256)
        return {
            "path": transfer.grant.sha256.hex() if entry is None else entry.path,
            "address": str(transfer.address) if verbose else blurred(transfer.address),
            "peer": transfer.for_peer,
            "first_byte": transfer.asked.start,
            "asked_bytes": transfer.asked_bytes,
            "sent_bytes": transfer.sent_bytes,
            "bytes_per_second": round(transfer.sent_bytes / elapsed_s),
        }

    def _holds(self) -> dict[str, object]:
        quarantined = self.keeper.quarantine.count()
        return {
            "files": len(self.store.replicas),
            "bytes": self.store.held_bytes,
            "wanted": sum(1 for _ in self.store.catalogue.wanted_digests()),
            "evicted": sum(1 for _ in self._evicted()),
            "limit_bytes": self.operator.promises.disk_bytes_max,
            "free_bytes": self.objects.free_bytes(),
            "quarantined": quarantined.files,
            "quarantined_bytes": quarantined.bytes,
        }

    def _evicted(self) -> Iterator[Entry]:
        """Give what had to make room and did not come back."""
        entries = map(self.store.catalogue.wanted, self.store.wants.evicted)
        return (entry for entry in entries if entry is not None)

    def _gone(self, entry: Entry) -> dict[str, object]:
        return {
            "path": entry.path,
            "sha256": entry.sha256.hex(),
            "size_bytes": entry.size_bytes,
            "reason": EVICTED_BECAUSE,
        }

    def _fetched(self) -> list[Entry]:
        """Give what is being fetched; what is being removed is worked on, too."""
        entries = [self.store.catalogue.wanted(sha256) for sha256 in self.keeper.fetching]
        return [entry for entry in entries if entry is not None and entry.sha256 not in self.store.replicas]

    def _fetch(self, entry: Entry) -> dict[str, object]:
        part = self.on_the_way.get(entry.sha256)
        came_from = Counter[MirrorName]() if part is None else part.came_from
        return {
            "path": entry.path,
            "sha256": entry.sha256.hex(),
            "size_bytes": entry.size_bytes,
            "pieces": PieceLayout.of(entry).count,
            "pieces_done": 0 if part is None else len(part.pieces),
            "sources": ", ".join(f"{name} {pieces}" for name, pieces in sorted(came_from.items())),
        }

    def _trouble(self, sha256: Digest, trouble: Trouble) -> dict[str, object]:
        entry = self.store.catalogue.wanted(sha256)
        return {
            "path": "" if entry is None else entry.path,
            "sha256": sha256.hex(),
            "reason": trouble.reason,
            "detail": trouble.detail,
            "attempts": trouble.attempts,
        }

    def _limits(self) -> list[dict[str, object]]:
        promises, was_set = self.operator.promises, self.operator.settings.as_dict()
        return [
            {"name": name, "value": getattr(promises, name), "from": "set" if name in was_set else "config"}
            for name in promises.__slots__
        ]


def blurred(address: IPAddress) -> str:
    """Show where a visitor comes from, and not who he is."""
    bits = _IPV4_BITS_SHOWN if isinstance(address, IPv4Address) else _IPV6_BITS_SHOWN
    return str(ip_network((address, bits), strict=False))


def _moment(at_s: int) -> str:
    return datetime.fromtimestamp(at_s, tz=UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
