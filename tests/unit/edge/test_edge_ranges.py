"""Which bytes a request gets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.ranges import Conditions, NotModified, Part, PreconditionFailed, Selection, Unsatisfiable, Whole, select

ETAG = '"9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"'
SIZE = 1000


def of_range(field: str | None, *, method: str = "GET", size_bytes: int = SIZE, **conditions: str) -> Selection:
    return select(Conditions(range=field, **conditions), method=method, etag=ETAG, size_bytes=size_bytes)


RANGES: dict[str, tuple[str, Selection]] = {
    "first byte": ("bytes=0-0", Part(0, 1)),
    "some bytes": ("bytes=10-19", Part(10, 20)),
    "from a place on": ("bytes=990-", Part(990, 1000)),
    "last bytes": ("bytes=-10", Part(990, 1000)),
    "last byte": ("bytes=999-999", Part(999, 1000)),
    "all by name": ("bytes=0-999", Part(0, 1000)),
    "past the end": ("bytes=990-2000", Part(990, 1000)),
    "longer suffix than file": ("bytes=-5000", Part(0, 1000)),
    "unit in capitals": ("BYTES=0-0", Part(0, 1)),
    "spaces": ("bytes= 0-0 ", Part(0, 1)),
    "huge last": ("bytes=5-" + "9" * 400, Part(5, 1000)),
    "begins at the end": ("bytes=1000-", Unsatisfiable()),
    "begins past the end": ("bytes=5000-6000", Unsatisfiable()),
    "huge first": ("bytes=" + "9" * 400 + "-", Unsatisfiable()),
    "suffix of nothing": ("bytes=-0", Unsatisfiable()),
    "two ranges": ("bytes=0-1,5-6", Whole()),
    "many ranges": ("bytes=" + ",".join(["0-0"] * 1000), Whole()),
    "last before first": ("bytes=5-4", Whole()),
    "huge and backwards": ("bytes=" + "9" * 30 + "-5", Whole()),
    "another unit": ("items=0-1", Whole()),
    "no unit": ("0-1", Whole()),
    "no numbers": ("bytes=-", Whole()),
    "negative": ("bytes=--5", Whole()),
    "not ASCII digits": ("bytes=\u0661-\u0662", Whole()),
    "sign": ("bytes=+1-2", Whole()),
    "empty": ("", Whole()),
}


@pytest.mark.parametrize(("field", "expected"), RANGES.values(), ids=RANGES.keys())
def test_range_selects(field: str, expected: Selection) -> None:
    assert of_range(field) == expected


@pytest.mark.parametrize(("field", "expected"), [("bytes=0-", Unsatisfiable()), ("bytes=-5", Whole()), (None, Whole())])
def test_empty_file_has_no_parts(field: str | None, expected: Selection) -> None:
    assert of_range(field, size_bytes=0) == expected


def test_range_counts_for_get_alone() -> None:
    assert of_range("bytes=0-1", method="HEAD") == Whole()


@pytest.mark.parametrize(
    "validator",
    ['"another"', f"W/{ETAG}", ETAG.strip('"'), "*", "Sat, 21 Nov 2026 10:00:00 GMT", "", f'{ETAG}, "another"'],
)
def test_if_range_with_anything_but_the_strong_tag_gives_the_whole_file(validator: str) -> None:
    assert of_range("bytes=5-", if_range=validator) == Whole()


def test_if_range_with_the_tag_gives_the_part() -> None:
    assert of_range("bytes=5-", if_range=f" {ETAG} ") == Part(5, SIZE)


def test_if_range_of_another_content_never_says_unsatisfiable() -> None:
    assert of_range("bytes=5000-", if_range='"another"') == Whole()


@pytest.mark.parametrize("field", [ETAG, f"W/{ETAG}", "*", f'"a", {ETAG}', f'"a,b",W/{ETAG}'])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_client_that_has_the_content_is_told_so(field: str, method: str) -> None:
    assert of_range("bytes=0-1", method=method, if_none_match=field) == NotModified()


@pytest.mark.parametrize("field", ['"another"', "", ETAG.strip('"'), f'"x{ETAG.strip(chr(34))}"'])
def test_client_that_has_another_content_gets_this(field: str) -> None:
    assert of_range(None, if_none_match=field) == Whole()


@pytest.mark.parametrize(
    ("field", "expected"),
    [(ETAG, Part(0, 2)), ("*", Part(0, 2)), (f"W/{ETAG}", PreconditionFailed()), ('"another"', PreconditionFailed())],
)
def test_if_match_wants_the_strong_tag(field: str, expected: Selection) -> None:
    assert of_range("bytes=0-1", if_match=field) == expected


def test_if_match_is_judged_before_if_none_match() -> None:
    assert of_range(None, if_match='"another"', if_none_match=ETAG) == PreconditionFailed()


@given(st.integers(0, 10**12), st.integers(0, 10**12), st.integers(0, 10**12))
def test_part_is_inside_the_file_and_as_asked(first: int, last: int, size_bytes: int) -> None:
    match of_range(f"bytes={first}-{last}", size_bytes=size_bytes):
        case Part(start, stop):
            assert start == first < stop <= size_bytes
            assert stop == min(last + 1, size_bytes)
        case Unsatisfiable():
            assert first >= size_bytes
        case other:
            assert (other, last < first) == (Whole(), True)


_WORD = st.sampled_from(
    ["bytes", "=", "-", ",", "0", "7", "999", "1000", " ", "\t", '"', "W/", "*", ETAG, "\u0660", "a"]
)
_FIELD = st.none() | st.text() | st.lists(_WORD).map("".join)


@given(_FIELD, _FIELD, _FIELD, _FIELD, st.sampled_from(["GET", "HEAD"]), st.integers(0, 2000))
def test_no_field_ever_selects_bytes_that_are_not_there(
    if_match: str | None, if_none_match: str | None, if_range: str | None, field: str | None, method: str, size: int
) -> None:
    conditions = Conditions(if_match=if_match, if_none_match=if_none_match, if_range=if_range, range=field)
    found = select(conditions, method=method, etag=ETAG, size_bytes=size)
    if isinstance(found, Part):
        assert method == "GET"
        assert 0 <= found.start < found.stop <= size
