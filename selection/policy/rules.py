"""The figures that the policy goes by. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from events.names import Tag

STICKY_TAGS: Final = (Tag("metadata"),)
PERCENT: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What the site decides about choosing.

    Attributes:
        silent_after_s: how long after its last load report a mirror counts as there.
        load_threshold: the share of its slots that a mirror may fill.
        near_km: mirrors up to here are as near as each other, see ``selection.policy.ranking``.
        hops_max: after so many mirrors that sent a visitor back no other is tried.
        share_percent_max: the largest share of a continent's visitors that one mirror is sent in a minute, while
            others can serve them; 100 is no limit.
        sticky_tags: files with one of these belong together: a visitor has those of a channel from one mirror.
    """

    silent_after_s: float
    load_threshold: float
    near_km: float
    hops_max: int
    share_percent_max: int = PERCENT
    sticky_tags: tuple[Tag, ...] = STICKY_TAGS
