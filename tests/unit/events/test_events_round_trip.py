"""Whatever can be said is read back: events of every type, made from what the types say of their fields."""

from __future__ import annotations

from typing import Final, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import inspect as types
from msgspec.structs import FieldInfo, fields

from events.codec import decode, encode
from events.envelope import Envelope
from events.errors import InvalidNameError
from events.names import parse_path
from events.schemas import EVENT_TYPES, Event
from events.schemas.fields import INTEGER_MAX


def _is_path(text: str) -> bool:
    try:
        parse_path(text)
    except InvalidNameError:
        return False
    return True


_SPECIAL: Final[dict[str, st.SearchStrategy[object]]] = {
    "path": st.text(min_size=1, max_size=60).filter(_is_path),
    "address": st.ip_addresses().map(str),
    "networks": st.lists(st.sampled_from(["192.0.2.0/24", "2001:db8::/32", "0.0.0.0/0"])).map(tuple),
    "page": st.just(1),
}


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


def _of(info: types.Type) -> st.SearchStrategy[object]:  # noqa: C901, PLR0911, PLR0912 - one case for each kind of type
    match info:
        case types.Metadata():
            return _of(info.type)
        case types.StructType():
            made = {field.name: _of_field(field) for field in fields(info.cls)}
            return st.builds(info.cls, **made)
        case types.EnumType():
            return st.sampled_from(info.cls)
        case types.IntType():
            return st.integers(cast("int", info.ge), cast("int", info.le))
        case types.FloatType():
            return st.floats(cast("float", info.ge), cast("float", info.le))
        case types.BytesType():
            return st.binary(min_size=info.min_length or 0, max_size=info.max_length)
        case types.StrType() if info.pattern is not None:
            return st.from_regex(info.pattern).filter(lambda text: len(text) <= (info.max_length or 1000))
        case types.StrType():
            return st.text(min_size=info.min_length or 0, max_size=info.max_length)
        case types.VarTupleType():
            return st.lists(_of(info.item_type), max_size=3).map(tuple)
        case types.DictType():
            return st.dictionaries(_of(info.key_type), _of(info.value_type), max_size=3)
        case types.UnionType():
            return st.one_of([_of(option) for option in info.types])
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
