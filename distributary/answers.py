"""Reading JSON answers whose exact form the servers own. What is missing reads as empty, never as an error. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from distributary.client import JsonObject


def objects(answer: Mapping[str, object], key: str) -> list[JsonObject]:
    """Give the list of objects under a key."""
    value = answer.get(key)
    if not isinstance(value, list):
        return []
    return [cast("JsonObject", each) for each in cast("list[object]", value) if isinstance(each, dict)]


def inside(answer: Mapping[str, object], key: str) -> JsonObject:
    """Give the object under a key."""
    value = answer.get(key)
    return cast("JsonObject", value) if isinstance(value, dict) else {}


def words(answer: Mapping[str, object], key: str) -> list[str]:
    """Give the list of texts under a key."""
    value = answer.get(key)
    return [str(each) for each in cast("list[object]", value)] if isinstance(value, list) else []


def text(answer: Mapping[str, object], key: str) -> str:
    """Give the text under a key; a number is written out."""
    value = answer.get(key)
    return "" if value is None else str(value)


def number(answer: Mapping[str, object], key: str) -> int:
    """Give the whole number under a key."""
    value = answer.get(key)
    return value if isinstance(value, int) else 0
