"""What is written down: frozen samples decode for ever, and the documents say what the types say."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import pytest
import yaml

from events.codec import decode, encode
from events.envelope import Envelope
from events.examples import EXAMPLES
from events.schemas import EVENT_TYPES, TAGS, Event

ROOT = Path(__file__).resolve().parents[3]
COMMAND = "run 'python docs/generate.py' and commit what it writes"


def _load_generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


GENERATOR = _load_generator()


@pytest.mark.parametrize("tag", sorted(TAGS))
def test_frozen_sample_is_read_as_what_it_was(tag: str) -> None:
    sample = ROOT / GENERATOR.sample_of(tag)
    assert sample.exists(), f"{tag} has no sample: {COMMAND}"
    assert decode(sample.read_bytes()) == EXAMPLES[tag]


@pytest.mark.parametrize("tag", sorted(TAGS))
def test_we_still_write_what_the_sample_holds(tag: str) -> None:
    sample = (ROOT / GENERATOR.sample_of(tag)).read_bytes()
    assert encode(EXAMPLES[tag]) == sample, f"{tag} is written otherwise now: it needs a new version, not a new sample"


def test_no_sample_was_forgotten_when_a_type_left() -> None:
    samples = {path.name for path in (ROOT / GENERATOR.SAMPLES).iterdir()}
    assert samples == {GENERATOR.sample_of(tag).name for tag in TAGS}


@pytest.mark.parametrize("page", ["EVENTS_PAGE", "ASYNCAPI_PAGE", "OPENAPI_PAGE"])
def test_page_says_what_the_types_say(page: str) -> None:
    path = getattr(GENERATOR, page)
    assert (ROOT / path).read_text() == GENERATOR.pages()[path], f"{path} is behind: {COMMAND}"


def test_generator_writes_what_is_missing_and_never_overwrites_a_sample(tmp_path: Path) -> None:
    written = GENERATOR.write_all(tmp_path)
    assert len(written) == len(TAGS) + 3
    sample = tmp_path / GENERATOR.sample_of("log.opened/1")
    sample.write_bytes(b"frozen")
    (tmp_path / GENERATOR.EVENTS_PAGE).write_text("stale")
    assert GENERATOR.write_all(tmp_path) == [GENERATOR.EVENTS_PAGE]
    assert sample.read_bytes() == b"frozen"


@pytest.fixture(scope="module")
def asyncapi() -> dict[str, Any]:
    return cast("dict[str, Any]", yaml.safe_load((ROOT / GENERATOR.ASYNCAPI_PAGE).read_text()))


def test_asyncapi_has_what_version_3_asks_for(asyncapi: dict[str, Any]) -> None:
    assert asyncapi["asyncapi"] == "3.0.0"
    assert {"title", "version"} <= asyncapi["info"].keys()
    for operation in asyncapi["operations"].values():
        assert operation["action"] in {"send", "receive"}
        channel = asyncapi["channels"][operation["channel"]["$ref"].rpartition("/")[2]]
        assert all(
            _lookup(asyncapi, message["$ref"]) in channel["messages"].values() for message in operation["messages"]
        )


def test_every_reference_in_asyncapi_leads_somewhere(asyncapi: dict[str, Any]) -> None:
    references = list(_references(asyncapi))
    assert references
    for reference in references:
        assert _lookup(asyncapi, reference)


def test_every_channel_names_its_parameters(asyncapi: dict[str, Any]) -> None:
    for channel in asyncapi["channels"].values():
        braced = {word[1:-1] for word in channel["address"].split(".") if word.startswith("{")}
        assert braced == set(channel.get("parameters", {}))


@pytest.mark.parametrize("kind", EVENT_TYPES, ids=lambda kind: kind.__name__)
def test_schema_lists_the_fields_in_the_order_of_the_wire(asyncapi: dict[str, Any], kind: type[Event]) -> None:
    message = asyncapi["components"]["messages"][kind.__name__]
    payload = _lookup(asyncapi, message["payload"]["$ref"])
    assert len(payload["prefixItems"]) == len(Envelope.__struct_fields__)
    event = _lookup(asyncapi, payload["prefixItems"][5]["$ref"])
    assert event["prefixItems"][0] == {"enum": [message["name"]]}
    assert len(event["prefixItems"]) == 1 + len(kind.__struct_fields__)


def _references(node: object) -> Iterator[str]:
    match node:
        case {"$ref": str(reference)}:
            yield reference
        case dict():
            for inner in cast("dict[str, object]", node).values():
                yield from _references(inner)
        case list():
            for inner in cast("list[object]", node):
                yield from _references(inner)
        case _:
            return


def _lookup(document: dict[str, Any], reference: str) -> dict[str, Any]:
    node: dict[str, Any] = document
    for step in reference.removeprefix("#/").split("/"):
        node = node[step]
    return node
