"""The operator's page: what this mirror holds, fetches and serves, its month, and what is wrong."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping

from edge.health import Check
from mirror.config import MirrorConfig
from mirror.keeper import Keeper
from mirror.store import Store
from mirror.traffic import Traffic


def status_of(
    config: MirrorConfig,
    store: Store,
    keeper: Keeper,
    traffic: Traffic,
    checks: Iterable[Check],
    unknown: Mapping[str, int],
) -> dict[str, object]:
    """Give the page as JSON."""
    catalogue, quota, slots = store.catalogue, traffic.quota, traffic.slots
    return {
        "mirror": config.name,
        "checks": [{"name": check.name, "ok": check.ok, "detail": check.detail} for check in checks],
        "channels": dict(catalogue.positions),
        "holds": {
            "files": len(store.replicas),
            "bytes": store.held_bytes,
            "wanted": sum(1 for _ in catalogue.wanted_digests()),
        },
        "fetching": [sha256.hex() for sha256 in keeper.fetching],
        "troubles": [
            {"sha256": sha256.hex(), "reason": trouble.reason, "detail": trouble.detail, "attempts": trouble.attempts}
            for sha256, trouble in keeper.troubles.items()
        ],
        "serves": {
            "slots": slots.slots,
            "active": slots.active,
            "reserved": slots.reserved(time.time()),
            "sent_bytes": traffic.sent_bytes,
        },
        "month": {
            "name": quota.month,
            "used_bytes": quota.used_bytes,
            "left_bytes": quota.left_bytes,
            "monthly_bytes": config.monthly_bytes,
        },
        "events": {
            "epoch": store.database.epoch,
            "sequence": store.database.sequence,
            "master_epoch": catalogue.epoch,
            "unknown": dict(unknown),
        },
    }
