"""Whoever is told a finding reads in docs/audit.md what it means."""

from __future__ import annotations

from pathlib import Path

from history.audit.findings import FindingKind

DOCUMENT = Path(__file__).parents[3] / "docs" / "audit.md"


def test_each_finding_is_explained_where_it_belongs() -> None:
    damage, harmless = DOCUMENT.read_text().split("## What is told and damages nothing")
    for kind in FindingKind:
        assert f"| `{kind.code}` |" in (damage if kind.is_damage else harmless), kind
