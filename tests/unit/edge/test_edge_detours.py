"""What a visitor takes along when he is sent back."""

from __future__ import annotations

import pytest

from edge.detours import ticket_query


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        pytest.param([], "", id="public file"),
        pytest.param(["1700000000-Ab_-9"], "&ticket=1700000000-Ab_-9", id="ticket"),
        pytest.param(["1700000000-a", "other"], "&ticket=1700000000-a", id="two: the first, as the selector reads it"),
        pytest.param([""], "", id="empty"),
        pytest.param(["a&not=origin"], "", id="another field in it"),
        pytest.param(["a\r\nX: y"], "", id="another header in it"),
        pytest.param(["x" * 65], "", id="too long"),
    ],
)
def test_only_what_can_be_a_ticket_is_passed_on(values: list[str], expected: str) -> None:
    assert ticket_query(values) == expected
