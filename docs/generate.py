"""Write what follows from the types: docs/events.md, docs/asyncapi.yaml, docs/openapi.yaml, and missing samples.

Run ``python docs/generate.py``. A frozen sample is never overwritten: what was once on the wire must be readable for
ever, and a type whose bytes changed needs a new version beside it.
"""  # noqa: INP001 - a script, and no part of any package

from __future__ import annotations

import sys
from importlib.metadata import version
from pathlib import Path

import yaml

from events.asyncapi import asyncapi_document
from events.codec import encode
from events.describe import events_page
from events.examples import EXAMPLES
from selection.answering.surface.openapi import DOCUMENT as OPENAPI

ROOT = Path(__file__).resolve().parent.parent
EVENTS_PAGE = Path("docs/events.md")
ASYNCAPI_PAGE = Path("docs/asyncapi.yaml")
OPENAPI_PAGE = Path("docs/openapi.yaml")
SAMPLES = Path("tests/unit/samples")


def pages() -> dict[Path, str]:
    """Give each generated page with its text."""
    document = asyncapi_document(version=version("distributary"))
    return {
        EVENTS_PAGE: events_page(),
        ASYNCAPI_PAGE: _yaml(document),
        OPENAPI_PAGE: _yaml(OPENAPI),
    }


def _yaml(document: object) -> str:
    return yaml.dump(document, Dumper=_Plain, sort_keys=False, allow_unicode=True, width=120)


class _Plain(yaml.SafeDumper):
    """Writes a part anew wherever it stands: references of YAML's own only confuse readers."""

    def ignore_aliases(self, data: object) -> bool:
        """Know no part again."""
        del data
        return True


def sample_of(tag: str) -> Path:
    """Name the file of a type's frozen sample: ``file.published/1`` is in ``file.published.v1.msgpack``."""
    name, _, type_version = tag.partition("/")
    return SAMPLES / f"{name}.v{type_version}.msgpack"


def write_all(root: Path) -> list[Path]:
    """Write all pages and the missing samples under this folder; give what changed."""
    wanted = {path: text.encode() for path, text in pages().items()}
    samples = {sample_of(tag): encode(envelope) for tag, envelope in EXAMPLES.items()}
    wanted |= {path: body for path, body in samples.items() if not (root / path).exists()}
    changed = [
        path for path, data in wanted.items() if not (root / path).exists() or (root / path).read_bytes() != data
    ]
    for path in changed:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(wanted[path])
    return changed


if __name__ == "__main__":
    for written in write_all(ROOT):
        sys.stdout.write(f"wrote {written}\n")
