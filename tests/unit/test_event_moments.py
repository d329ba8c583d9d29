"""Times and places in the log, as people write them."""

from __future__ import annotations

import pytest

from distributary.cli.events.moments import MomentError, parse_moment
from history.entry import Position

NOW_NS = 1_795_344_067_000_000_000  # 2026-11-22 10:41:07 UTC
S = 1_000_000_000


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("g1:1234", Position(1, 1234)),
        ("g12:0", Position(12, 0)),
        ("now", NOW_NS),
        ("2h", NOW_NS - 7200 * S),
        ("1h 30m", NOW_NS - 5400 * S),
        ("2026-11-22T10:41:07Z", NOW_NS),
        ("2026-11-22 10:41:07", NOW_NS),
        ("2026-11-22 11:41:07+01:00", NOW_NS),
        ("2026-11-22 10:41", NOW_NS - 7 * S),
        ("2026-11-22", NOW_NS - (10 * 3600 + 41 * 60 + 7) * S),
        ("2026-11-22T10:41:07.5Z", NOW_NS + S // 2),
    ],
)
def test_a_moment_is_a_place_a_time_or_how_long_ago(text: str, moment: object) -> None:
    assert parse_moment(text, now_ns=NOW_NS) == moment


@pytest.mark.parametrize("text", ["", "yesterday", "g0:1", "g1", "1:2", "2026-13-01", "2"])
def test_what_is_no_moment_is_told_with_how_to_write_one(text: str) -> None:
    with pytest.raises(MomentError, match="write 2026-11-22"):
        parse_moment(text, now_ns=NOW_NS)
