"""W3C Trace Context: what is read, what is begun, what is passed on."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from events.schemas.fields import TRACEPARENT_LENGTH_MAX
from events.trace import (
    RANDOM_BYTES,
    SPAN_ID_BYTES,
    TRACE_ID_BYTES,
    TraceContext,
    child,
    continued,
    parse,
    root,
    root_of,
)

TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
SPAN_ID = "b7ad6b7169203331"
GOOD = f"00-{TRACE_ID}-{SPAN_ID}-01"
RANDOM = bytes(range(1, RANDOM_BYTES + 1))

contexts = st.builds(root, st.binary(min_size=RANDOM_BYTES, max_size=RANDOM_BYTES))
spans = st.binary(min_size=SPAN_ID_BYTES, max_size=SPAN_ID_BYTES)


@pytest.mark.parametrize(
    ("traceparent", "sampled"),
    [
        pytest.param(GOOD, True, id="sampled"),
        pytest.param(f"00-{TRACE_ID}-{SPAN_ID}-00", False, id="not sampled"),
        pytest.param(f"00-{TRACE_ID}-{SPAN_ID}-fe", False, id="unknown flags alone"),
        pytest.param(f"00-{TRACE_ID}-{SPAN_ID}-ff", True, id="unknown flags as well"),
        pytest.param(f"cc-{TRACE_ID}-{SPAN_ID}-01", True, id="higher version"),
        pytest.param(f"cc-{TRACE_ID}-{SPAN_ID}-01-what the future holds", True, id="higher version that says more"),
    ],
)
def test_well_formed_context_is_read(traceparent: str, *, sampled: bool) -> None:
    assert parse(traceparent) == TraceContext(TRACE_ID, SPAN_ID, sampled=sampled)


@pytest.mark.parametrize(
    "traceparent",
    [
        pytest.param("", id="empty"),
        pytest.param("00-aa-bb-01", id="short ids"),
        pytest.param(GOOD.upper(), id="upper case"),
        pytest.param(f"00-{'0' * 32}-{SPAN_ID}-01", id="no trace id"),
        pytest.param(f"00-{TRACE_ID}-{'0' * 16}-01", id="no span id"),
        pytest.param(f"ff-{TRACE_ID}-{SPAN_ID}-01", id="forbidden version"),
        pytest.param(f"{GOOD}-more", id="version 00 that says more"),
        pytest.param(f"cc-{TRACE_ID}-{SPAN_ID}-01more", id="higher version without a dash"),
        pytest.param(f"{GOOD}\n", id="line end"),
        pytest.param(f" {GOOD}", id="blank before"),
        pytest.param(GOOD.replace("0af", "\N{ARABIC-INDIC DIGIT ZERO}af"), id="digits of another script"),
        pytest.param("x" * 10_000, id="long nonsense"),
    ],
)
def test_what_is_no_context_counts_as_none(traceparent: str) -> None:
    assert parse(traceparent) is None


def test_request_without_one_good_context_begins_a_trace() -> None:
    fresh = root(RANDOM)
    assert [continued(headers, RANDOM) for headers in ((), ("nonsense",), (GOOD, GOOD))] == [fresh] * 3


def test_request_with_a_context_continues_its_trace_in_a_span_of_its_own() -> None:
    span = continued((f"00-{TRACE_ID}-{SPAN_ID}-00",), RANDOM)
    assert span.trace_id == TRACE_ID
    assert span.span_id not in {SPAN_ID, TRACE_ID[:16]}
    assert not span.sampled


def test_the_wrong_number_of_dice_is_an_error_of_ours() -> None:
    with pytest.raises(ValueError, match="24 are needed"):
        root(RANDOM[1:])
    with pytest.raises(ValueError, match="8 are needed"):
        child(root(RANDOM), RANDOM)


@given(st.text())
def test_no_text_breaks_the_reader_and_what_it_reads_is_written_well_formed(text: str) -> None:
    found = parse(text)
    assert found is None or parse(found.traceparent) == found


@given(st.binary(min_size=TRACE_ID_BYTES, max_size=TRACE_ID_BYTES))
@example(bytes(TRACE_ID_BYTES))
@example(b"\x01" * SPAN_ID_BYTES + bytes(SPAN_ID_BYTES))
def test_trace_that_its_id_begins_has_the_latter_half_for_its_span(trace_id: bytes) -> None:
    assert root_of(trace_id) == root(trace_id + trace_id[-SPAN_ID_BYTES:]).traceparent


@given(contexts, spans)
def test_each_context_fits_the_envelope_and_survives_being_written(context: TraceContext, dice: bytes) -> None:
    for each in (context, child(context, dice), root(bytes(RANDOM_BYTES)), child(context, bytes(SPAN_ID_BYTES))):
        assert parse(each.traceparent) == each
        assert len(each.traceparent) == TRACEPARENT_LENGTH_MAX


@given(contexts, spans)
def test_child_keeps_trace_and_flag_and_takes_its_span_from_the_dice(parent: TraceContext, dice: bytes) -> None:
    span = child(parent, dice)
    assert (span.trace_id, span.sampled) == (parent.trace_id, parent.sampled)
    assert span == child(TraceContext(parent.trace_id, SPAN_ID, sampled=parent.sampled), dice)
