"""Each way that asking for a file can end is on the page about access."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from selection.access.verdicts import Outcome

PAGE: Final = (Path(__file__).parents[3] / "docs" / "access.md").read_text()


@pytest.mark.parametrize("outcome", [each for each in Outcome if each is not Outcome.ADMITTED])
def test_refusal_is_documented_with_its_status_and_code(outcome: Outcome) -> None:
    rows = [line for line in PAGE.splitlines() if f"`{outcome.code}`" in line]
    assert any(str(int(outcome.status)) in row.split("|")[1] for row in rows)
    assert outcome.text
