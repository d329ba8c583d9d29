"""What the types themselves say about the wire, as text: ``docs/events.md``. Pure.

``docs/generate.py`` writes it; a test fails when the file falls behind.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from typing import Final, cast

import msgspec
from msgspec import inspect as types

from events.codec import BODY_BYTES_MAX, CONTENT_TYPE
from events.envelope import MASTER_SOURCE, Envelope
from events.examples import EXAMPLES
from events.names import HELD_PREFIX, ORIGIN
from events.routing import Address, address_of
from events.schemas import EVENT_TYPES, Event, EventUnreadable
from events.schemas.fields import INTEGER_MAX, LINE_END, TEXT_LENGTH_MAX

_NAME_FIELDS: Final = ("channel", "mirror", "selector")
_READERS: Final = ("mirror/{mirror}", "selector/{selector}", "master")
_SPEAKERS: Final = {"master": "the master", "mirror": "the mirror itself", "selector": "the selector itself"}

_PREAMBLE: Final = f"""# Events

<!-- Written by docs/generate.py from the types in events/schemas. Change those, then run it. -->

This is normative: whatever speaks to a Distributary broker speaks like this. `docs/asyncapi.yaml` says the same for
tools.

A message's body is MessagePack (content type `{CONTENT_TYPE}`), at most {BODY_BYTES_MAX:,} bytes: an **envelope**,
an array that holds where the event stands in its source's order, and the event. An **event** is an array as well: its
type with version (`file.published/1`), then its fields in the order given here.

- **Reading.** More elements than are known here were added by a newer version: ignore them. Missing ones at the end
  have their default. An unknown type in a sound envelope is counted and skipped. Anything else is unreadable: it is
  reported once as `event.unreadable/1` and not tried again.
- **Compatibility.** A field may be added at the end, with a default. Every other change is a new version of the type.
- **Order.** `(epoch, sequence)` orders the events of one source; a repetition has the same pair. Nothing but the log
  orders events of two sources.
- **Address.** Each event has one exchange, routing key and source. A reader drops an event that it finds elsewhere, or
  that somebody else wrote according to the broker.
- **AMQP.** Exchanges are durable topic exchanges. `message_id` is `<source>:<epoch>:<sequence>`, `type` the event's
  type; a `traceparent` is repeated as a header of that name.
- **Paths** follow the grammar of `events.names.parse_path`: relative, NFC, at most 1,024 bytes, no `.`, `..` or empty
  segment, no backslash, no control character or invisible mark. A file that is held until its release stands under
  `{HELD_PREFIX}<its path>`; nobody else's path begins so, and visitors never see it.
- **Prose** (`reason`, `detail`, `description`) is at most {TEXT_LENGTH_MAX} printable characters; a longer one is cut
  by whoever reads it.

In the examples `h'…'` is a MessagePack `bin`, written in hexadecimal.
"""


def events_page() -> str:
    """Give the whole of ``docs/events.md``."""
    parts = [_PREAMBLE, "## The envelope\n", doc_of(Envelope) + "\n", _table(Envelope, first=0)]
    parts += ["## Types\n", _overview(), *map(_section, EVENT_TYPES)]
    parts += ["## Parts of events\n", "A struct is an array of its fields, without a type in front.\n"]
    return "\n".join([*parts, *map(_part, _parts())])


def addresses_of(kind: type[Event]) -> tuple[Address, ...]:
    """Give where events of a type belong, with names in braces: ``file.{channel}.published``."""
    example = EXAMPLES[tag_of_type(kind)].event
    names = {name: f"{{{name}}}" for name in _NAME_FIELDS if name in kind.__struct_fields__}
    if kind is EventUnreadable:
        return tuple(address_of(msgspec.structs.replace(example, reader=reader)) for reader in _READERS)
    usual = address_of(msgspec.structs.replace(example, **names))
    if "mirror" not in names:
        return (usual,)
    by_origin = address_of(msgspec.structs.replace(example, **names | {"mirror": ORIGIN}))
    # Where the master serves downloads itself, it speaks for them; otherwise "origin" is a name like any other.
    return (usual, by_origin) if by_origin.source == MASTER_SOURCE != usual.source else (usual,)


def tag_of_type(kind: type[Event]) -> str:
    """Give an event type with its version, as it stands on the wire."""
    return str(kind.__struct_config__.tag)


def speaker_of(address: Address) -> str:
    """Say in words who says what belongs at an address."""
    return _SPEAKERS[address.source.partition("/")[0]]


def doc_of(kind: type[object]) -> str:
    """Give a class's docstring as Markdown."""
    return inspect.cleandoc(kind.__doc__ or "").replace("``", "`")


def _overview() -> str:
    rows = ["| type | exchange | routing key | source |", "|---|---|---|---|"]
    for kind in EVENT_TYPES:
        tag = tag_of_type(kind)
        for address in addresses_of(kind):
            link = f"[`{tag}`](#{_anchor(tag)})"
            rows.append(f"| {link} | `{address.exchange}` | `{address.routing_key}` | `{address.source}` |")
    return "\n".join(rows) + "\n"


def _anchor(heading: str) -> str:
    return "".join(character for character in heading if character.isalnum() or character in "-_")


def _section(kind: type[Event]) -> str:
    tag = tag_of_type(kind)
    said = "\n".join(
        f"- Exchange `{address.exchange}`, routing key `{address.routing_key}`, "
        f"said by {speaker_of(address)} (source `{address.source}`)."
        for address in addresses_of(kind)
    )
    example = f"```\n{_diagnostic(msgspec.to_builtins(EXAMPLES[tag], builtin_types=(bytes,)))}\n```\n"
    return "\n".join([f"### `{tag}`\n", doc_of(kind) + "\n", said + "\n", _table(kind, first=1), example])


def _table(kind: type[msgspec.Struct], *, first: int) -> str:
    """List the fields with their places; an event's begin at 1, after its type."""
    rows = ["| # | field | type | default |", "|---|---|---|---|"]
    for place, field in enumerate(msgspec.structs.fields(kind), start=first):
        rows.append(f"| {place} | `{field.name}` | {_type_text(types.type_info(field.type))} | {_default(field)} |")
    return "\n".join(rows) + "\n"


def _default(field: msgspec.structs.FieldInfo) -> str:
    if field.required:
        return ""
    value = field.default if field.default is not msgspec.NODEFAULT else field.default_factory()
    return f"`{_diagnostic(msgspec.to_builtins(value))}`"


def _parts() -> tuple[type[msgspec.Struct | Enum], ...]:
    """Give the structs and vocabularies inside events, in the order of their first use."""
    found: dict[type[msgspec.Struct | Enum], None] = {}
    for kind in EVENT_TYPES:
        for field in msgspec.structs.fields(kind):
            found |= dict.fromkeys(_nested(types.type_info(field.type)))
    return tuple(found)


def _nested(info: types.Type) -> Iterator[type[msgspec.Struct | Enum]]:
    match info:
        case types.Metadata():
            yield from _nested(info.type)
        case types.StructType():
            yield info.cls
            for field in info.fields:
                yield from _nested(field.type)
        case types.EnumType():
            yield info.cls
        case types.UnionType():
            for option in info.types:
                yield from _nested(option)
        case _:
            return


def _part(kind: type[msgspec.Struct | Enum]) -> str:
    head = f"### {kind.__name__}\n\n{doc_of(kind)}\n\n"
    if issubclass(kind, Enum):
        return head + "One of " + ", ".join(f"`{member.value}`" for member in kind) + ".\n"
    return head + _table(kind, first=0)


def _type_text(info: types.Type) -> str:  # noqa: C901, PLR0911 - one case for each kind of type
    match info:
        case types.Metadata():
            return _type_text(info.type)
        case types.BytesType():
            return f"bin, {info.min_length} bytes" if info.min_length else f"bin, up to {info.max_length:,} bytes"
        case types.BoolType():
            return "boolean"
        case types.IntType():
            return f"integer, {_span(info.ge, info.le)}"
        case types.FloatType():
            return f"float, {_span(info.ge, info.le)}"
        case types.StrType():
            return "text" + _pattern(info)
        case types.VarTupleType():
            return f"array of up to {info.max_length:,}: {_type_text(info.item_type)}"
        case types.DictType():
            return f"map of up to {info.max_length:,}: {_type_text(info.key_type)} → {_type_text(info.value_type)}"
        case types.StructType() | types.EnumType():
            return f"[{info.cls.__name__}](#{info.cls.__name__.lower()})"
        case types.UnionType() if info.includes_none:
            return (
                " or ".join(_type_text(option) for option in info.types if not isinstance(option, types.NoneType))
                + " or nil"
            )
        case types.UnionType():
            return "array: an event"
        case _:
            raise NotImplementedError(f"the wire has no {type(info).__name__} yet; say here how it is written")


def _span(low: float | None, high: float | None) -> str:
    return f"{low:,} to {high:,}" if high != INTEGER_MAX else f"from {low:,}"


def _pattern(info: types.StrType) -> str:
    if info.pattern is not None:
        shown = info.pattern.removesuffix(LINE_END).replace("|", "\\|")
        return f", `{shown}$`"
    return f", up to {info.max_length:,} characters" if info.max_length is not None else ""


def _diagnostic(value: object) -> str:
    """Write a value as CBOR's diagnostic notation does (RFC 8949 §8): JSON, with bytes as ``h'…'``."""
    match value:
        case bytes():
            return f"h'{value.hex()}'"
        case list() | tuple():
            return "[" + ", ".join(_diagnostic(item) for item in cast("Sequence[object]", value)) + "]"
        case dict():
            pairs = cast("Mapping[object, object]", value).items()
            return "{" + ", ".join(f"{_diagnostic(key)}: {_diagnostic(item)}" for key, item in pairs) + "}"
        case None:
            return "nil"
        case _:
            return msgspec.json.encode(value).decode()
