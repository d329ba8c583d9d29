"""The OpenAPI description of the selector's JSON, made of the types that it answers with. Pure.

``docs/openapi.yaml`` is this (``docs/generate.py``), and a selector serves it at ``/-/api/v1/openapi.json``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple, TypeAlias

import msgspec

from selection.answering.surface import mirrorbits, schemas
from selection.answering.surface.schemas import Subject

Json: TypeAlias = dict[str, Any]

_VERSION: Final = "1"
_REFERENCE: Final = "#/components/schemas/{name}"


class _Parameter(NamedTuple):
    name: str
    description: str
    schema: Json
    required: bool = False
    place: str = "query"


class _Operation(NamedTuple):
    path: str
    summary: str
    answers: tuple[type, ...]
    parameters: Sequence[_Parameter] = ()
    refusals: Sequence[int] = ()


_TEXT: Final[Json] = {"type": "string"}
_DAY: Final[Json] = {"type": "string", "format": "date"}
_PRETTY: Final = _Parameter("pretty", "indent the answer", _TEXT)
_NOT: Final = _Parameter("not", "leave this mirror out; can be repeated", {"type": "array", "items": _TEXT})
_FILE: Final = _Parameter("path", "the file's path in the catalogue", _TEXT, required=True)

_OPERATIONS: Final = (
    _Operation(
        "/{path}",
        "With Accept: application/json, a file as mirrorbits tells it, or (with a slash at its end) a folder",
        (mirrorbits.Results, mirrorbits.Counts, mirrorbits.PeriodCount, schemas.FolderTold),
        (
            _Parameter("path", "a path of the catalogue, with its slashes", _TEXT, required=True, place="path"),
            _Parameter("mirrorlist", "with the mirrors that are left out, and why", _TEXT),
            _Parameter("stats", "its downloads; of a day, month or year where one is given", _TEXT),
            _Parameter("after", "of a folder: begin after this name", _TEXT),
            _Parameter("country", "as for a visitor of this country", _TEXT),
            _Parameter("fromip", "as for a visitor near this address", _TEXT),
            _Parameter("https", "1: by https alone, 0: by http alone", _TEXT),
            _Parameter("mirror", "by this mirror alone", _TEXT),
            _NOT,
            _PRETTY,
        ),
        (400, 401, 403, 404, 503),
    ),
    _Operation(
        "/-/api/v1/where",
        "The choice for a file as it would be now, with a reason for each mirror",
        (schemas.ChoiceTold,),
        (_FILE, _Parameter("ip", "the visitor's address; by default the asker's own", _TEXT), _NOT, _PRETTY),
        (400, 401, 403, 404, 503),
    ),
    _Operation(
        "/-/api/v1/files",
        "The files that the asker may download, by path",
        (schemas.FilesTold,),
        (
            _Parameter("after", "begin after this path", _TEXT),
            _Parameter("limit", "at most so many", {"type": "integer", "minimum": 1, "maximum": 1000}),
            _PRETTY,
        ),
        (400, 503),
    ),
    _Operation("/-/api/v1/mirrors", "The fleet, by name", (schemas.MirrorsTold,), (_PRETTY,), (503,)),
    _Operation(
        "/-/api/v1/statistics",
        "The downloads by one key, or (without one) the keys with the most of them",
        (schemas.HistoryTold, schemas.LargestTold),
        (
            _Parameter("by", "what is counted by", {"enum": [subject.value for subject in Subject]}),
            _Parameter("key", "a file's path, a mirror's name or a country's code; the site has none", _TEXT),
            _Parameter("from", "the first day, without a key", _DAY),
            _Parameter("to", "the last day, without a key; by default today", _DAY),
            _Parameter("limit", "at most so many keys", {"type": "integer", "minimum": 1, "maximum": 1000}),
            _PRETTY,
        ),
        (400, 404, 503),
    ),
    _Operation("/-/api/v1/status", "The view in numbers, and how it is kept", (), (_PRETTY,)),
    _Operation("/-/api/v1/openapi.json", "This document", (), (_PRETTY,)),
)


def document() -> Json:
    """Give the document."""
    told = [answer for operation in _OPERATIONS for answer in operation.answers]
    _, components = msgspec.json.schema_components((*told, schemas.ErrorTold), ref_template=_REFERENCE)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Distributary: the selector",
            "version": _VERSION,
            "description": "What the site's public address answers as JSON, beside its redirects (docs/http-api.md).",
        },
        "paths": {operation.path: {"get": _written(operation)} for operation in _OPERATIONS},
        "components": {"schemas": components},
    }


def _written(operation: _Operation) -> Json:
    told = {"200": _answer("what was asked for", operation.answers)}
    refused = {str(status): _answer("an error", (schemas.ErrorTold,)) for status in operation.refusals}
    return {
        "summary": operation.summary,
        "parameters": list(_parameters(operation.parameters)),
        "responses": told | refused,
    }


def _parameters(parameters: Sequence[_Parameter]) -> Iterable[Json]:
    for one in parameters:
        yield {
            "name": one.name,
            "in": one.place,
            "required": one.required,
            "description": one.description,
            "schema": one.schema,
        }


def _answer(description: str, told: Sequence[type]) -> Json:
    """Describe an answer; without a type it is some object, for people and not for programs."""
    references = [{"$ref": _REFERENCE.format(name=one.__name__)} for one in told]
    schema: Json = {"anyOf": references} if len(references) > 1 else references[0] if references else {"type": "object"}
    return {"description": description, "content": {"application/json": {"schema": schema}}}


DOCUMENT: Final = document()
