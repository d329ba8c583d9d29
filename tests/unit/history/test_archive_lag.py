"""When the archiver's lag is an alarm: decided from figures alone."""

from __future__ import annotations

import pytest

from broker.retention import DAY_S, Retention
from history.archive.lag import LagFigures, LagLevel, growth, judge
from history.archive.web import lag_sentence

MONTH = Retention(age_s=30 * DAY_S, size_bytes=20_000_000_000)


@pytest.mark.parametrize(
    ("behind_s", "bytes_per_s", "level"),
    [
        pytest.param(0, 0, LagLevel.FINE, id="abreast"),
        pytest.param(14 * DAY_S, 0, LagLevel.FINE, id="less than half of the age"),
        pytest.param(15 * DAY_S, 0, LagLevel.NEAR, id="half of the age"),
        pytest.param(24 * DAY_S, 0, LagLevel.CRITICAL, id="four fifths of the age"),
        pytest.param(99 * DAY_S, 0, LagLevel.CRITICAL, id="entries are being lost"),
        pytest.param(4000, 1_000_000, LagLevel.FINE, id="less than half of the size"),
        pytest.param(10_000, 1_000_000, LagLevel.NEAR, id="half of the size"),
        pytest.param(16_000, 1_000_000, LagLevel.CRITICAL, id="four fifths of the size"),
        pytest.param(4000, 1, LagLevel.FINE, id="a size that lasts longer than the age"),
    ],
)
def test_lag_is_an_alarm_from_half_of_what_the_stream_keeps_on(
    behind_s: float, bytes_per_s: float, level: LagLevel
) -> None:
    lag = judge(LagFigures(behind_s=behind_s, kept=MONTH, bytes_per_s=bytes_per_s))
    assert lag.level is level
    assert ("will be lost" in lag_sentence(lag)) == (level is not LagLevel.FINE)


def test_growth_is_reckoned_over_whole_days_and_never_over_a_moment() -> None:
    noon_s = 1_700_049_600.0  # 2023-11-15 12:00
    assert growth([], now_s=noon_s) == 0
    assert growth([("2023-11-15", 43_200), ("2023-11-14", 86_400)], now_s=noon_s) == 1.0
    assert growth([("2023-11-15", 3600)], now_s=noon_s - 43_200 + 1) == 1.0
