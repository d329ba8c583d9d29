"""What a benchmark found, held against its goal."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """A figure and the most it may be, in the same unit."""

    name: str
    figure: float
    goal: float
    unit: str

    @property
    def holds(self) -> bool:
        """Tell whether the goal is met."""
        return self.figure < self.goal

    def line(self) -> str:
        """Say it in one line."""
        word = "holds" if self.holds else "MISSED"
        return f"{self.name}: {self.figure:.3f} {self.unit} (goal: under {self.goal:g} {self.unit}) {word}"
