"""Sizes, durations and places as people write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distributary.units import (
    SIZE_BYTES_MAX,
    UnitError,
    format_duration,
    format_size,
    parse_duration,
    parse_listen,
    parse_location,
    parse_size,
)


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [
        ("1048576", 1_048_576),
        ("1MB", 1_000_000),
        ("1 MB", 1_000_000),
        ("1mb", 1_000_000),
        ("1.5GiB", 1_610_612_736),
        ("500k", 500_000),
        ("0", 0),
        ("0.5 kB", 500),
    ],
)
def test_size_is_read_as_people_write_it(text: str, size_bytes: int) -> None:
    assert parse_size(text) == size_bytes


@pytest.mark.parametrize("text", ["", "MB", "-1MB", "1 XB", "1.0001kB", "1e6", "1MB 2", "\uff19MB", "9999999999GB"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(UnitError):
        parse_size(text)


@given(st.integers(min_value=0, max_value=SIZE_BYTES_MAX - 10**16))
def test_a_written_size_reads_back_to_what_was_shown(size_bytes: int) -> None:
    shown = format_size(size_bytes).replace(",", "")
    assert abs(parse_size(shown) - size_bytes) <= size_bytes * 0.006


@given(st.integers(min_value=0, max_value=SIZE_BYTES_MAX))
def test_a_plain_number_is_bytes(size_bytes: int) -> None:
    assert parse_size(str(size_bytes)) == size_bytes


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30s", 30),
        ("36h", 129_600),
        ("1d12h", 129_600),
        ("1d 12h", 129_600),
        ("250ms", 0.25),
        ("7d", 604_800),
        ("1.5h", 5400),
    ],
)
def test_duration_is_read_as_people_write_it(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "10", "h", "5 parsecs", "-1h", "1h and a bit", "1h,2m"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(UnitError):
        parse_duration(text)


@given(st.floats(min_value=1, max_value=10**8))
def test_a_written_duration_reads_back_to_within_its_smaller_unit(seconds: float) -> None:
    assert abs(parse_duration(format_duration(seconds)) - seconds) <= max(0.05 * seconds, 0.5)


def test_place_is_two_numbers_on_the_globe() -> None:
    assert parse_location("41.15,-8.61") == (41.15, -8.61)
    for text in ("41.15", "91,0", "0,181", "north,south", "nan,0"):
        with pytest.raises(UnitError):
            parse_location(text)


@pytest.mark.parametrize(
    ("text", "address"),
    [("127.0.0.1:80", ("127.0.0.1", 80)), ("[::1]:0", ("::1", 0)), ("localhost:65535", ("localhost", 65535))],
)
def test_listen_address_is_host_and_port(text: str, address: tuple[str, int]) -> None:
    assert parse_listen(text) == address


@pytest.mark.parametrize("text", ["80", ":80", "host", "host:", "host:65536", "host:-1", "host:²"])
def test_what_is_no_listen_address_is_refused(text: str) -> None:
    with pytest.raises(UnitError):
        parse_listen(text)
