"""Where entries of the log may be missing in the archive: noticed, recorded, told loudly, and gone on behind. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import assert_never


class GapKind(Enum):
    """Why entries may be missing.

    ``CUT_OFF``: the stream's retention cut off what was not archived yet. ``REWRITTEN``: the stream does not hold what
    was read last; its broker lost the end of it, or it was made anew. ``LOST``: a generation of the log cannot be read
    to its end any more; the next one is gone on with.
    """

    CUT_OFF = "cut_off"
    REWRITTEN = "rewritten"
    LOST = "lost"


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """One such place: behind ``after_offset`` (-1: from the beginning) of a generation.

    ``next_offset`` is where the log goes on, None where it does not in this generation. ``detail`` says what was found.
    """

    kind: GapKind
    noticed_at_ns: int
    generation: int
    after_offset: int
    next_offset: int | None
    detail: str = ""

    @property
    def sentence(self) -> str:
        """Say it to a person."""
        place = f"generation {self.generation} behind offset {self.after_offset}"
        match self.kind:
            case GapKind.CUT_OFF:
                said = f"the stream's retention cut off entries of {place}, up to {self.next_offset}"
            case GapKind.REWRITTEN:
                said = f"the stream no longer holds what was archived of {place}"
            case GapKind.LOST:
                said = f"{place} cannot be read any more"
            case _:
                assert_never(self.kind)
        return f"{said}: {self.detail}" if self.detail else said
