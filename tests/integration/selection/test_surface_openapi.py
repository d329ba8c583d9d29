"""The OpenAPI document says what the selector answers: each real answer is held against it."""

from __future__ import annotations

import json
from copy import deepcopy
from typing import TYPE_CHECKING, Any, cast

import jsonschema
import pytest

from events.schemas import Location
from selection.answering.surface.openapi import DOCUMENT

if TYPE_CHECKING:
    from conftest import Selector, Site

API = "/-/api/v1"
ANSWERED = [
    ("/{path}", "/dir/a.iso", 200),
    ("/{path}", "/dir/a.iso?mirrorlist", 200),
    ("/{path}", "/dir/a.iso?stats", 200),
    ("/{path}", "/dir/a.iso?stats=2026-11", 200),
    ("/{path}", "/dir/", 200),
    ("/{path}", "/nothing", 404),
    ("/{path}", "/dir/a.iso?stats=often", 400),
    (f"{API}/where", f"{API}/where?path=dir/a.iso&ip=203.0.113.9", 200),
    (f"{API}/where", f"{API}/where?path=nothing", 404),
    (f"{API}/files", f"{API}/files?limit=1", 200),
    (f"{API}/files", f"{API}/files?limit=none", 400),
    (f"{API}/mirrors", f"{API}/mirrors", 200),
    (f"{API}/statistics", f"{API}/statistics", 200),
    (f"{API}/statistics", f"{API}/statistics?by=mirror&key=ana", 200),
    (f"{API}/statistics", f"{API}/statistics?by=file&from=2026-11-01&to=2026-11-22", 200),
    (f"{API}/statistics", f"{API}/statistics?by=moon", 400),
    (f"{API}/statistics", f"{API}/statistics?by=file&from=2026-11-22&to=2026-11-01", 400),
    (f"{API}/status", f"{API}/status", 200),
    (f"{API}/openapi.json", f"{API}/openapi.json", 200),
]


def strict(document: dict[str, Any]) -> dict[str, Any]:
    """Allow no field that is not described."""
    document = deepcopy(document)
    for schema in document["components"]["schemas"].values():
        if "properties" in schema:
            schema["additionalProperties"] = False
    return document


def validator_of(path: str, status: int) -> Any:  # noqa: ANN401 - its stubs know no type of its own
    """Give what an answer is held against."""
    document = strict(DOCUMENT)
    answer = document["paths"][path]["get"]["responses"][str(status)]
    schema = {**answer["content"]["application/json"]["schema"], "components": document["components"]}
    return cast("Any", jsonschema.Draft202012Validator)(schema)


async def ask(selector: Selector, target: str) -> tuple[int, Any]:
    headers = {"Accept": "application/json"}
    async with selector.http.get(selector.url + target, headers=headers, allow_redirects=False) as answer:
        return answer.status, json.loads(await answer.text())


@pytest.mark.parametrize(("path", "target", "status"), ANSWERED)
async def test_answer_is_as_described(memory_site: Site, path: str, target: str, status: int) -> None:
    await memory_site.said.published("dir/a.iso")
    await memory_site.said.serving("ana", "dir/a.iso", location=Location(latitude=41.15, longitude=-8.61, country="PT"))
    await memory_site.said.serving("bob")
    async with memory_site.selector() as selector:
        await selector.until_chosen("dir/a.iso", "ana")
        told = await ask(selector, target)
    assert told[0] == status
    validator_of(path, status).validate(told[1])


async def test_selector_serves_the_document(memory_site: Site) -> None:
    async with memory_site.selector() as selector:
        assert await ask(selector, f"{API}/openapi.json") == (200, DOCUMENT)


def test_every_path_of_the_api_is_described_and_tried() -> None:
    assert {path for path, _, status in ANSWERED if status == 200} == set(DOCUMENT["paths"])


def test_validator_would_notice_a_field_that_is_not_described() -> None:
    validator = validator_of(f"{API}/mirrors", 200)
    assert validator.is_valid({"mirrors": []})
    assert not validator.is_valid({"mirrors": [], "more": 1})
    assert not validator.is_valid({})
