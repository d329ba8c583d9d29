"""Which pieces are there: the map by itself, and a part that it stands beside."""

from __future__ import annotations

import hashlib
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from events.names import Digest
from events.pieces import piece_count, span_of
from mirror.content.objects import DigestMismatchError, Objects
from mirror.content.parts import Part
from mirror.content.piecemap import PieceLayout, PieceMap

counts = st.integers(1, 2048)


def layout_of(content: bytes, piece_bytes: int) -> PieceLayout:
    count = piece_count(len(content), piece_bytes)
    pieces = (content[slice(*span_of(piece, len(content), piece_bytes))] for piece in range(count))
    return PieceLayout(
        sha256=Digest(hashlib.sha256(content).digest()),
        size_bytes=len(content),
        piece_bytes=piece_bytes,
        piece_digests=b"".join(hashlib.sha256(piece).digest() for piece in pieces) if piece_bytes else b"",
    )


@given(st.data(), counts)
def test_a_map_has_exactly_the_pieces_that_were_added_in_any_order(data: st.DataObject, count: int) -> None:
    added = data.draw(st.lists(st.integers(0, count - 1)))
    found = PieceMap(count)
    for piece in added:
        found.add(piece)
    assert list(found) == sorted(set(added))
    assert len(found) == len(set(added))
    assert found.complete == (len(set(added)) == count)
    assert list(PieceMap.read(bytes(found), count)) == list(found)


@given(counts, st.binary(max_size=300))
def test_whatever_stands_in_a_file_is_read_as_a_map_of_so_many_pieces(count: int, bits: bytes) -> None:
    found = PieceMap.read(bits, count)
    assert all(0 <= piece < count for piece in found)
    assert len(found) == 0 or len(bits) == -(-count // 8)
    assert len(bytes(found)) == -(-count // 8)


def test_piece_0_is_the_highest_bit_of_the_first_byte() -> None:
    found = PieceMap(10)
    found.add(0)
    found.add(9)
    assert bytes(found) == bytes([0b1000_0000, 0b0100_0000])


@pytest.mark.parametrize("piece", [-1, 10])
def test_a_piece_that_there_is_none_of_cannot_be_added(piece: int) -> None:
    with pytest.raises(IndexError):
        PieceMap(10).add(piece)
    assert piece not in PieceMap.full(10)


@given(st.integers(1, 5000), st.integers(0, 1000), st.integers(-10, 6000), st.integers(-10, 6000))
def test_a_range_is_a_piece_exactly_where_it_lies_in_one_and_ends_with_it(
    size_bytes: int, piece_bytes: int, start: int, stop: int
) -> None:
    layout = PieceLayout(sha256=Digest(bytes(32)), size_bytes=size_bytes, piece_bytes=piece_bytes)
    spans = [layout.span(piece) for piece in range(layout.count)]
    expected = [piece for piece, span in enumerate(spans) if span.start <= start < stop == span.stop]
    assert layout.piece_of(start, stop) == (expected[0] if expected else None)


@given(st.data())
def test_pieces_land_in_any_order_and_a_later_opening_believes_only_what_hashes_right(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    size_bytes = data.draw(st.integers(0, 2000))
    piece_bytes = data.draw(st.sampled_from([0, 100, 333, 2000]))
    content = random.Random(size_bytes).randbytes(size_bytes)  # noqa: S311 - any bytes will do
    layout = layout_of(content, piece_bytes)
    objects = Objects(tmp_path_factory.mktemp("store"))
    landed = set(data.draw(st.lists(st.integers(0, layout.count - 1), unique=True)))
    part = Part(objects, layout)
    for piece in data.draw(st.permutations(sorted(landed))):
        if piece not in part.pieces:
            land(part, piece, content)
    part.close()
    damaged = data.draw(st.sets(st.sampled_from(sorted(landed)))) if landed and size_bytes else set[int]()
    for piece in damaged:
        flip(objects.part_path(layout.sha256), layout.span(piece).start)
    part = Part(objects, layout)
    expected = landed - damaged if size_bytes else {0}
    assert set(part.pieces) == expected
    assert part.have_bytes == sum(stop - start for start, stop in map(layout.span, expected))
    for piece in range(layout.count):
        if piece not in part.pieces:
            land(part, piece, content)
    part.commit()
    part.close()
    assert objects.path(layout.sha256).read_bytes() == content
    assert objects.parts() == []
    assert not objects.map_path(layout.sha256).exists()


def land(part: Part, piece: int, content: bytes) -> None:
    landing = part.land(piece)
    body = content[landing.span.start : landing.span.stop]
    landing.append([body[:50], body[50:]])
    assert landing.finish()


def flip(path: Path, position: int) -> None:
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)


CONTENT = random.Random(0).randbytes(1000)  # noqa: S311 - any bytes will do
LAYOUT = layout_of(CONTENT, 300)


@pytest.fixture
def objects(tmp_path: Path) -> Objects:
    return Objects(tmp_path)


@pytest.mark.parametrize(
    "lie",
    [
        pytest.param(b"\xff", id="claims all"),
        pytest.param(b"\xff" * 100, id="is too long"),
        pytest.param(b"", id="is empty"),
        pytest.param(None, id="is gone"),
    ],
)
def test_a_map_that_lies_makes_no_piece_verified(objects: Objects, lie: bytes | None) -> None:
    part = Part(objects, LAYOUT)
    land(part, 2, CONTENT)
    part.close()
    if lie is None:
        objects.map_path(LAYOUT.sha256).unlink()
    else:
        objects.map_path(LAYOUT.sha256).write_bytes(lie)
    part = Part(objects, LAYOUT)
    assert set(part.pieces) <= {2}
    part.close()


def test_wrong_bytes_set_no_bit_and_the_piece_can_be_landed_again(objects: Objects) -> None:
    part = Part(objects, LAYOUT)
    landing = part.land(1)
    landing.append([bytes(300)])
    assert not landing.finish()
    assert len(part.pieces) == 0
    land(part, 1, CONTENT)
    assert list(part.pieces) == [1]
    with pytest.raises(ValueError, match="verified"):
        part.land(1)
    part.close()


def test_a_piece_takes_no_byte_of_the_next_one(objects: Objects) -> None:
    part = Part(objects, LAYOUT)
    land(part, 1, CONTENT)
    with pytest.raises(ValueError, match="300 bytes to come"):
        part.land(0).append([bytes(301)])
    assert not part.land(0).finish(), "a short one is none"
    part.close()
    part = Part(objects, LAYOUT)
    assert list(part.pieces) == [1]
    part.close()


def test_right_pieces_of_another_whole_are_deleted(objects: Objects) -> None:
    layout = PieceLayout(sha256=Digest(bytes(32)), size_bytes=1000, piece_bytes=300, piece_digests=LAYOUT.piece_digests)
    part = Part(objects, layout)
    for piece in range(layout.count):
        land(part, piece, CONTENT)
    with pytest.raises(DigestMismatchError):
        part.commit()
    part.close()
    assert objects.parts() == []
    assert not objects.map_path(layout.sha256).exists()


def test_verified_pieces_can_be_read_after_the_part_is_closed(objects: Objects) -> None:
    part = Part(objects, LAYOUT)
    land(part, 0, CONTENT)
    descriptor = part.duplicate()
    part.close()
    with open(descriptor, "rb") as file:  # noqa: PTH123 - by descriptor
        assert file.read(300) == CONTENT[:300]
