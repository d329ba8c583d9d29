"""Whatever can be said is read back: events of every type, made from what the types say of their fields."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Final, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Struct
from msgspec import inspect as types
from msgspec.structs import FieldInfo, fields

from events.codec import decode, encode
from events.envelope import Envelope
from events.errors import InvalidNameError
from events.names import SHA256_BYTES, parse_path
from events.pieces import piece_count
from events.schemas import EVENT_TYPES, Event, FilePublished, GrantsRevoked
from events.schemas.fields import INTEGER_MAX

BINARY_BYTES_MAX = 64  # length is no news to the codec, and a file's piece digests may take 64 kB


def _is_path(text: str) -> bool:
    try:
        parse_path(text)
    except InvalidNameError:
        return False
    return True


@st.composite
def _pieces(draw: st.DrawFn) -> dict[str, object]:
    """A size with piece digests that fit it, or with none."""
    size_bytes, piece_bytes = draw(st.integers(0, INTEGER_MAX)), 0
    if draw(st.booleans()):
        pieces = draw(st.integers(1, 3))
        piece_bytes = max(1, -(-size_bytes // pieces))
    digests_bytes = piece_count(size_bytes, piece_bytes) * SHA256_BYTES if piece_bytes else 0
    digests = draw(st.binary(min_size=digests_bytes, max_size=digests_bytes))
    return {"size_bytes": size_bytes, "piece_bytes": piece_bytes, "piece_digests": digests}


def _names_a_target(said: dict[str, object]) -> bool:
    return any(said[name] is not None for name in ("mirror", "grant_id", "sha256", "network"))


_NETWORKS: Final = st.sampled_from(["192.0.2.0/24", "2001:db8::/32", "0.0.0.0/0"])

_SPECIAL: Final[dict[str, st.SearchStrategy[object]]] = {
    "path": st.text(min_size=1, max_size=60).filter(_is_path),
    "address": st.ip_addresses().map(str),
    "networks": st.lists(_NETWORKS).map(tuple),
    "networks_only": st.lists(_NETWORKS).map(tuple),
    "md5": st.sampled_from([b"", bytes(16)]),
    "sha1": st.sampled_from([b"", bytes(20)]),
    "network": st.none() | _NETWORKS,
    "page": st.just(1),
}


@cache
def events(kind: type[Event]) -> st.SearchStrategy[Event]:
    """Any event of a type."""
    return cast("st.SearchStrategy[Event]", _of(types.type_info(kind)))


def envelopes() -> st.SearchStrategy[Envelope]:
    """Any envelope around any event."""
    return st.builds(
        Envelope,
        source=st.text(min_size=1, max_size=64),
        epoch=st.integers(0, INTEGER_MAX),
        sequence=st.integers(1, INTEGER_MAX),
        time_ns=st.integers(0, INTEGER_MAX),
        traceparent=st.text(max_size=55),
        event=st.sampled_from(EVENT_TYPES).flatmap(events),
    )


def _of_field(field: FieldInfo) -> st.SearchStrategy[object]:
    special = _SPECIAL.get(field.name)
    return special if special is not None else _of(types.type_info(field.type))


def _with(said: dict[str, object], agreeing: dict[str, object]) -> dict[str, object]:
    return said | agreeing


def _of_struct(kind: type[Struct]) -> st.SearchStrategy[object]:
    """Give each field what its type takes, and to some fields what the others leave them."""
    said = st.fixed_dictionaries({field.name: _of_field(field) for field in fields(kind)})
    if kind is FilePublished:
        said = st.builds(_with, said, _pieces())
    elif kind is GrantsRevoked:
        said = said.filter(_names_a_target)
    make = cast("Callable[..., object]", kind)
    return said.map(lambda values: make(**values))


def _of(info: types.Type) -> st.SearchStrategy[object]:  # noqa: C901, PLR0911, PLR0912 - one case for each kind of type
    match info:
        case types.Metadata():
            return _of(info.type)
        case types.StructType():
            return _of_struct(info.cls)
        case types.EnumType():
            return st.sampled_from(info.cls)
        case types.IntType():
            return st.integers(cast("int", info.ge), cast("int", info.le))
        case types.FloatType():
            return st.floats(cast("float", info.ge), cast("float", info.le))
        case types.BytesType():
            return st.binary(min_size=info.min_length or 0, max_size=min(info.max_length or 0, BINARY_BYTES_MAX))
        case types.StrType() if info.pattern is not None:
            return st.from_regex(info.pattern).filter(lambda text: len(text) <= (info.max_length or 1000))
        case types.StrType():
            return st.text(min_size=info.min_length or 0, max_size=info.max_length)
        case types.VarTupleType():
            return st.lists(_of(info.item_type), min_size=info.min_length or 0, max_size=3).map(tuple)
        case types.DictType():
            return st.dictionaries(_of(info.key_type), _of(info.value_type), max_size=3)
        case types.UnionType():
            return st.one_of([_of(option) for option in info.types])
        case types.BoolType():
            return st.booleans()
        case types.NoneType():
            return st.none()
        case _:
            raise NotImplementedError(info)


@pytest.mark.parametrize("kind", EVENT_TYPES, ids=lambda kind: kind.__name__)
@given(data=st.data())
@settings(max_examples=30)
def test_event_of_every_type_is_read_back_as_it_was_said(kind: type[Event], data: st.DataObject) -> None:
    event = data.draw(events(kind))
    said = Envelope(source="x", epoch=0, sequence=1, time_ns=0, traceparent="", event=event)
    assert decode(encode(said)) == said


@given(envelopes())
@settings(max_examples=50)
def test_envelope_is_read_back(envelope: Envelope) -> None:
    assert decode(encode(envelope)) == envelope
