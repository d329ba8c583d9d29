"""What a selector records of its decisions: enough to make each of them again from the log. For ops alone.

A decision follows from the view (the log up to ``Seen``), from how the mirrors stood (``Figures``, which no log has:
load reports are telemetry), from the rules, the visitor and the dice. The dice are the grant's own id.

``StandingRecorded`` gives rules and figures whole. Each later decision names the figures that differ from what follows
from the decisions before it: a visitor whose place is reserved adds one grant, and the file's size, to his mirror's. A
selector's records are read in the order of their numbers. Where a number is missing, nothing can be told of the
decisions behind it until the next ``StandingRecorded``.
"""

from __future__ import annotations

from enum import Enum
from typing import Annotated, Final, TypeAlias

from msgspec import Meta, Struct

from events.grants import normalise
from events.names import parse_path
from events.schemas.fields import (
    DECISIONS_MAX,
    DETOURS_MAX,
    INTEGER_MAX,
    MESSAGE_ID_LENGTH_MAX,
    MIRRORS_MAX,
    TAGS_MAX,
    AddressOrNone,
    AutonomousSystem,
    Bytes,
    Count,
    Country,
    Generation,
    GrantId,
    Latitude,
    Longitude,
    Mirror,
    Path,
    Selector,
    SharePercent,
    Slots,
    TagName,
    TimeNs,
)

SETTING_MAX: Final = 1e9  # beyond all times and distances that make sense

Setting: TypeAlias = Annotated[float, Meta(ge=0, le=SETTING_MAX)]


class SelectionRules(Struct, frozen=True, kw_only=True, array_like=True):
    """The selector's settings that choices depend on; see ``docs/configuration.md``.

    ``start_by_s`` is how long a place is kept for a visitor. ``recorded_percent``: of so many decisions in a hundred
    there is a record; whom the others were sent to shows in ``Figures`` alone.
    """

    silent_after_s: Setting
    load_threshold: Setting
    near_km: Setting
    hops_max: Count
    share_percent_max: SharePercent
    sticky_tags: Annotated[tuple[TagName, ...], Meta(max_length=TAGS_MAX)]
    start_by_s: Count
    recorded_percent: SharePercent


class Figures(Struct, frozen=True, kw_only=True, array_like=True, gc=False):
    """How one mirror stood: its last load report, and what was granted beyond that.

    ``slots`` to ``is_sparing`` are the report's; ``granted`` and ``granted_bytes`` count the grants that it does not
    yet count, of this selector and of others. ``is_silent``: it was not heard of for too long, or never.
    """

    mirror: Mirror
    slots: Slots
    active: Slots
    reserved: Slots
    quota_left_bytes: Bytes | None = None
    is_sparing: bool = False
    granted: Count = 0
    granted_bytes: Bytes = 0
    is_silent: bool = False


class Seen(Struct, frozen=True, kw_only=True, array_like=True, gc=False):
    """The last entry of the log that a selector had read.

    ``offset`` is the entry's place in that generation's stream. It is -1 while the view is not what that stream tells
    up to an entry: the selector reads a log over what it knew from another one. A log that was imported into another
    broker has other offsets, but the same messages.
    """

    generation: Generation
    offset: Annotated[int, Meta(ge=-1, le=INTEGER_MAX)]
    message_id: Annotated[str, Meta(max_length=MESSAGE_ID_LENGTH_MAX)]


class Whereabouts(Struct, frozen=True, kw_only=True, array_like=True, gc=False):
    """What was known of a visitor's place: any of it, or nothing. ``is_precise``: the position is his, no country's."""

    latitude: Latitude | None = None
    longitude: Longitude | None = None
    country: Country = ""
    continent: Annotated[str, Meta(pattern=r"^([A-Z]{2})?$(?!\n)")] = ""
    asn: AutonomousSystem = 0
    is_precise: bool = True


class DecisionOutcome(Enum):
    """What was decided.

    ``SENT``: to the best mirror. ``KEPT``: to the mirror that kept a place for him from an earlier decision.
    ``ORIGIN``: to the master, since no mirror fits. ``REFUSED``: the file's networks do not take him. ``NOBODY``: no
    mirror fits, and the master has just sent him back. What a newer version knows is read as ``OTHER``.
    """

    SENT = "sent"
    KEPT = "kept"
    ORIGIN = "origin"
    REFUSED = "refused"
    NOBODY = "nobody"
    OTHER = "other"

    @classmethod
    def _missing_(cls, value: object) -> DecisionOutcome | None:
        return cls.OTHER if isinstance(value, str) else None


class Decision(Struct, frozen=True, kw_only=True, array_like=True):
    """One answer to a visitor, with all that is needed to make it again.

    Attributes:
        grant_id: of the link that he was given, or would have been; the dice.
        at_ns: when, by the selector's clock.
        path: what he asked for.
        generation: of the file that was published there.
        address: the visitor's, as text; empty or cut where it is no longer kept.
        place: where mirrors were to be near to.
        outcome: what was decided.
        mirror: whom he was sent to; None: to nobody, or to the master.
        is_reserved: a new place is his, counted at the mirror; a link beyond his claims reserves none.
        seen: how far the log was read, where that is not as at the decision before in the same record.
        figures: how mirrors stood, where that is not what follows from the decisions before.
        asked_not: who has just sent him back, in that order; the master among them is ``origin``.
        only: the one mirror that he asked for.
        secure: by https alone (True), by plain http alone (False), or as it comes.
        home: where he was, when he asked as if he were elsewhere.
        spent: the mirrors that had had their share of his continent.
    """

    grant_id: GrantId
    at_ns: TimeNs
    path: Path
    generation: Generation
    address: AddressOrNone
    place: Whereabouts
    outcome: DecisionOutcome
    mirror: Mirror | None = None
    is_reserved: bool = False
    seen: Seen | None = None
    figures: Annotated[tuple[Figures, ...], Meta(max_length=MIRRORS_MAX)] = ()
    asked_not: Annotated[tuple[Mirror, ...], Meta(max_length=DETOURS_MAX)] = ()
    only: Mirror | None = None
    secure: bool | None = None
    home: Whereabouts | None = None
    spent: Annotated[tuple[Mirror, ...], Meta(max_length=MIRRORS_MAX)] = ()

    def __post_init__(self) -> None:
        """Check what a pattern cannot."""
        parse_path(self.path)
        if self.address:
            normalise(self.address)


class StandingRecorded(Struct, frozen=True, kw_only=True, array_like=True, tag="standing.recorded/1"):
    """How all mirrors stood at a selector before its next decision, and by which rules it decides.

    Said before a selector's first decision, and from time to time, so that records can be read from the middle on.
    ``missed`` counts the decisions before it that were to be recorded and for which there was no room. ``is_first``: it
    is the first one since the selector started.
    """

    selector: Selector
    seen: Seen
    rules: SelectionRules
    figures: Annotated[tuple[Figures, ...], Meta(max_length=MIRRORS_MAX)]
    missed: Count = 0
    is_first: bool = False


class DecisionsRecorded(Struct, frozen=True, kw_only=True, array_like=True, tag="decisions.recorded/1"):
    """What a selector decided since it last said so, in that order. ``seen`` holds for the first of them."""

    selector: Selector
    seen: Seen
    decisions: Annotated[tuple[Decision, ...], Meta(min_length=1, max_length=DECISIONS_MAX)]
