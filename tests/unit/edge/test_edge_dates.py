"""Conditions on dates: a file counts as changed from the next whole second on, and a tag counts before a date."""

from __future__ import annotations

import pytest

from edge.dates import changed_s, http_date, read_http_date
from edge.ranges import Conditions, NotModified, PreconditionFailed, Selection, Whole, select

CHANGED_S = 784_111_777
AT = "Sun, 06 Nov 1994 08:49:37 GMT"
BEFORE = "Sun, 06 Nov 1994 08:49:36 GMT"
ETAG = '"abc"'


def selected(conditions: Conditions, *, known: bool = True) -> Selection:
    changed = CHANGED_S if known else None
    return select(conditions, method="GET", etag=ETAG, size_bytes=9, changed_s=changed)


def test_what_was_published_within_a_second_counts_from_the_next_one() -> None:
    assert changed_s(CHANGED_S * 10**9) == CHANGED_S
    assert changed_s((CHANGED_S - 1) * 10**9 + 1) == CHANGED_S
    assert changed_s(0) is None


@pytest.mark.parametrize("text", [AT, "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"])
def test_dates_are_read_in_all_three_forms_and_written_in_one(text: str) -> None:
    assert read_http_date(text) == CHANGED_S
    assert http_date(CHANGED_S) == AT


@pytest.mark.parametrize("text", ["", "soon", "0", "Sun, 99 Nov 1994 08:49:37 GMT", AT + "," + AT + "x" * 99])
def test_what_is_no_date_is_as_if_nothing_was_said(text: str) -> None:
    assert isinstance(selected(Conditions(if_modified_since=text)), Whole) or read_http_date(text) is not None


def test_who_has_it_since_the_change_gets_nothing_again() -> None:
    assert selected(Conditions(if_modified_since=AT)) == NotModified()
    assert selected(Conditions(if_modified_since=BEFORE)) == Whole()
    assert selected(Conditions(if_modified_since=AT), known=False) == Whole()


def test_who_means_an_older_one_is_refused() -> None:
    assert selected(Conditions(if_unmodified_since=BEFORE)) == PreconditionFailed()
    assert selected(Conditions(if_unmodified_since=AT)) == Whole()
    assert selected(Conditions(if_unmodified_since=BEFORE), known=False) == Whole()


def test_a_tag_counts_and_the_date_beside_it_does_not() -> None:
    assert selected(Conditions(if_none_match='"other"', if_modified_since=AT)) == Whole()
    assert selected(Conditions(if_none_match=ETAG, if_modified_since=BEFORE)) == NotModified()
    assert selected(Conditions(if_match=ETAG, if_unmodified_since=BEFORE)) == Whole()
