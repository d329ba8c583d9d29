"""Types that read what was validated before: each schema's twin, with bare fields, derived by machine. Pure.

A twin is a subclass of its schema, so it is matched and asked like it. Its fields are of the same types without
patterns and bounds, and nothing is checked when one is made. Structs are equal to those of their own type alone, so a
twin is equal to twins. A kind that the reader has no use for has a twin without fields instead, and one of which it
needs no more than the first fields one with those alone: the others cost a step over their bytes.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Annotated, Any, ClassVar, Final, NewType, TypeAlias, Union, cast, get_args, get_origin

from msgspec import NODEFAULT, Struct, defstruct
from msgspec import field as field_of
from msgspec.structs import FieldInfo, fields

_Field: TypeAlias = tuple[str, Any] | tuple[str, Any, Any]

_POST_INIT = "__post_init__"
NO_EXCERPTS: Final[Mapping[type[Struct], str]] = types.MappingProxyType({})


class Unread(Struct, frozen=True, gc=False):
    """An event of a kind that its reader did not ask for: nothing is known of it but its type."""


class Excerpt(Struct, frozen=True, gc=False):
    """An event of which its reader asked for the first fields alone. It is no instance of its ``schema``."""

    schema: ClassVar[type[Struct]]


class Twins:
    """The twins that were made, so that a type that stands in many has one.

    Those of ``unread`` are ``Unread``, those of ``excerpts`` an ``Excerpt`` up to the field that stands there.
    """

    def __init__(
        self,
        unread: AbstractSet[type[Struct]] = frozenset(),
        excerpts: Mapping[type[Struct], str] = NO_EXCERPTS,
    ) -> None:
        self._unread = unread
        self._excerpts = excerpts
        self._made: dict[type[Struct], type[Struct]] = {}

    def of(self, kind: type[Struct]) -> type[Struct]:
        """Give the twin of a schema."""
        if kind not in self._made:
            self._made[kind] = self._make(kind)
        return self._made[kind]

    def _make(self, kind: type[Struct]) -> type[Struct]:
        if kind in self._unread:
            return _twin(kind, (), Unread)
        named = [self._field(info) for info in fields(kind)]
        if last := self._excerpts.get(kind):
            end = kind.__struct_fields__.index(last) + 1
            return _twin(kind, named[:end], Excerpt, {"schema": kind})
        # ``callable`` is in C: it costs nothing
        return _twin(kind, named, kind, {_POST_INIT: callable} if hasattr(kind, _POST_INIT) else None)

    def _field(self, info: FieldInfo) -> _Field:
        bare = self._bare(info.type)
        if info.default is not NODEFAULT:
            return info.name, bare, info.default
        if info.default_factory is not NODEFAULT:
            factory = cast("Callable[[], object]", info.default_factory)
            return info.name, bare, field_of(default_factory=factory)
        return info.name, bare

    def _bare(self, kind: Any) -> Any:  # noqa: ANN401 - any type that a field may have
        """Take from a type what a value has to satisfy beyond being of it."""
        origin, inner = get_origin(kind), get_args(kind)
        if origin is Annotated:
            return self._bare(inner[0])
        if isinstance(kind, NewType):
            return self._bare(kind.__supertype__)
        if origin is Union or origin is types.UnionType:
            return Union[tuple(self._bare(each) for each in inner)]  # noqa: UP007 - of a tuple that is made here
        if origin is not None:
            bare = tuple(each if each is Ellipsis else self._bare(each) for each in inner)
            return origin[bare]
        return self.of(kind) if isinstance(kind, type) and issubclass(kind, Struct) else cast("Any", kind)


def _twin(
    kind: type[Struct], named: Sequence[_Field], base: type[Struct], namespace: dict[str, object] | None = None
) -> type[Struct]:
    """Make a twin of a kind that has these fields of it."""
    return defstruct(
        kind.__name__,
        named,
        bases=(base,),
        namespace=namespace,
        tag=kind.__struct_config__.tag,
        array_like=True,
        kw_only=True,
        frozen=True,
        gc=False,
    )
