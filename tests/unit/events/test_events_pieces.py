"""How files are cut: every byte in one piece, and never more pieces than an event can list."""

from __future__ import annotations

from hashlib import sha256 as digest
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from events.examples import EXAMPLES
from events.names import SHA256_BYTES, Digest
from events.pieces import (
    ONE_PIECE_BYTES_MAX,
    PIECE_BYTES_MIN,
    PIECES_MAX,
    PIECES_WANTED,
    Span,
    digest_of,
    piece_bytes_for,
    piece_count,
    span_of,
)
from events.schemas import FilePublished
from events.schemas.fields import INTEGER_MAX

_CLOSE = st.integers(-2, 2)
_POWERS = st.integers(0, 63).map(lambda bits: 1 << bits)
_SIZES = st.one_of(
    st.integers(0, INTEGER_MAX),
    st.integers(0, 4 * ONE_PIECE_BYTES_MAX),
    st.builds(int.__add__, _POWERS, _CLOSE),
    st.builds(int.__add__, _POWERS.map(lambda power: power * PIECES_WANTED), _CLOSE),
).filter(lambda size_bytes: 0 <= size_bytes <= INTEGER_MAX)


@given(_SIZES)
def test_file_of_any_size_has_no_more_pieces_than_wanted(size_bytes: int) -> None:
    piece_bytes = piece_bytes_for(size_bytes)
    assert piece_count(size_bytes, piece_bytes) <= PIECES_WANTED <= PIECES_MAX
    assert piece_bytes == 0 or (piece_bytes >= PIECE_BYTES_MIN and piece_bytes.bit_count() == 1)


@given(_SIZES)
def test_pieces_are_as_short_as_their_number_allows(size_bytes: int) -> None:
    piece_bytes = piece_bytes_for(size_bytes)
    if piece_bytes > PIECE_BYTES_MIN:
        assert piece_count(size_bytes, piece_bytes // 2) > PIECES_WANTED


@given(_SIZES)
def test_pieces_of_any_size_cover_the_file_exactly(size_bytes: int) -> None:
    piece_bytes = piece_bytes_for(size_bytes)
    spans = [span_of(piece, size_bytes, piece_bytes) for piece in range(piece_count(size_bytes, piece_bytes))]
    assert spans[0].start == 0
    assert spans[-1].stop == size_bytes
    assert all(before.stop == after.start for before, after in pairwise(spans))
    assert {span.stop - span.start for span in spans[:-1]} <= {piece_bytes}
    assert size_bytes == 0 or spans[-1].stop > spans[-1].start


@given(st.integers(0, 10_000), st.integers(0, 100))
def test_pieces_of_any_length_cover_the_file_exactly(size_bytes: int, piece_bytes: int) -> None:
    content = bytes(n % 251 for n in range(size_bytes))
    spans = [span_of(piece, size_bytes, piece_bytes) for piece in range(piece_count(size_bytes, piece_bytes))]
    assert b"".join(content[span.start : span.stop] for span in spans) == content


EDGES = [
    pytest.param(0, 0, 1, id="an empty file is one empty piece"),
    pytest.param(1, 0, 1, id="a byte"),
    pytest.param(ONE_PIECE_BYTES_MAX - 1, 0, 1, id="the longest of one piece"),
    pytest.param(ONE_PIECE_BYTES_MAX, PIECE_BYTES_MIN, 2, id="the shortest of two"),
    pytest.param(ONE_PIECE_BYTES_MAX + 1, PIECE_BYTES_MIN, 3, id="one byte in its third"),
    pytest.param(PIECES_WANTED * PIECE_BYTES_MIN, PIECE_BYTES_MIN, PIECES_WANTED, id="as many as wanted"),
    pytest.param(PIECES_WANTED * PIECE_BYTES_MIN + 1, 2 * PIECE_BYTES_MIN, PIECES_WANTED // 2 + 1, id="longer pieces"),
    pytest.param(INTEGER_MAX, 1 << 55, 256, id="the largest that an event can tell"),
]


@pytest.mark.parametrize(("size_bytes", "piece_bytes", "pieces"), EDGES)
def test_file_is_cut_by_its_size(size_bytes: int, piece_bytes: int, pieces: int) -> None:
    assert piece_bytes_for(size_bytes) == piece_bytes
    assert piece_count(size_bytes, piece_bytes) == pieces


def test_last_piece_ends_where_the_file_does() -> None:
    assert span_of(2, 25, 10) == Span(20, 25)
    assert span_of(0, 25, 0) == Span(0, 25)
    assert span_of(0, 0, 10) == Span(0, 0)


@pytest.mark.parametrize("piece", [-1, 3], ids=["before the first", "after the last"])
def test_piece_that_is_not_there_is_refused(piece: int) -> None:
    with pytest.raises(IndexError, match="of 3"):
        span_of(piece, 25, 10)


def test_digest_is_that_of_the_piece() -> None:
    digests = [Digest(digest(bytes([n])).digest()) for n in range(3)]
    whole = Digest(digest(b"whole").digest())
    assert [digest_of(piece, whole, b"".join(digests)) for piece in range(3)] == digests


def test_digest_of_a_file_of_one_piece_is_its_own() -> None:
    whole = Digest(digest(b"whole").digest())
    assert digest_of(0, whole, b"") == whole


MISFITS = [
    pytest.param(10, 0, bytes(SHA256_BYTES), id="digests without a length"),
    pytest.param(10, 5, b"", id="a length without digests"),
    pytest.param(10, 5, bytes(SHA256_BYTES), id="a digest too few"),
    pytest.param(10, 5, bytes(3 * SHA256_BYTES), id="a digest too many"),
    pytest.param(10, 5, bytes(2 * SHA256_BYTES - 1), id="half a digest"),
]


@pytest.mark.parametrize(("size_bytes", "piece_bytes", "piece_digests"), MISFITS)
def test_publication_whose_digests_do_not_fit_is_refused(
    size_bytes: int, piece_bytes: int, piece_digests: bytes
) -> None:
    published = EXAMPLES["file.published/1"].event
    assert isinstance(published, FilePublished)
    with pytest.raises(ValueError, match="piece digests"):
        replace(published, size_bytes=size_bytes, piece_bytes=piece_bytes, piece_digests=piece_digests)
