"""In which form a visitor wants a file told: by the query, by a suffix of the path, or by what he accepts. Pure.

The names are those of mirrorbits (``?mirrorlist``, ``?sha256``) and MirrorBrain (``.meta4``, ``.mirrorlist``). A query
beats a suffix, and a suffix beats ``Accept``. Whether a suffix is one, the catalogue tells: a published file that is
named like that is meant before all (``selection.answering.web``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

JSON: Final = "application/json"
METALINK4_TYPE: Final = "application/metalink4+xml"
METALINK3_TYPE: Final = "application/metalink+xml"
HTML: Final = "text/html"

_OFF: Final = frozenset({"0", "false", "no"})


class Form(Enum):
    """What is told of a file. The value is the name in a query and as a suffix, for those that have one."""

    REDIRECT = ""
    MIRRORBITS = "json"
    METALINK4 = "meta4"
    METALINK3 = "metalink"
    MIRRORLIST = "mirrorlist"
    STATS = "stats"
    SHA256 = "sha256"
    SHA1 = "sha1"
    MD5 = "md5"


_SUFFIXED: Final = (Form.METALINK4, Form.METALINK3, Form.MIRRORLIST, Form.SHA256, Form.SHA1, Form.MD5)
_QUERIED: Final = (*_SUFFIXED, Form.STATS)
_ACCEPTED: Final = ((JSON, Form.MIRRORBITS), (METALINK4_TYPE, Form.METALINK4), (METALINK3_TYPE, Form.METALINK3))


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """One wish. ``as_json`` chooses where there is a page and JSON; ``is_suffix`` tells how the form was named."""

    form: Form
    as_json: bool = False
    pretty: bool = False
    is_suffix: bool = False


def wish_of(query: Mapping[str, str], accept: str, suffix: Form | None = None) -> Wish:
    """Read a wish. ``suffix`` is the form that the path's end names, where the catalogue says that it is one."""
    as_json, pretty = accepts(accept, JSON), is_on(query, "pretty") is True
    queried = next((form for form in _QUERIED if form.value in query), None)
    if queried is None and suffix is not None:
        return Wish(form=suffix, as_json=as_json or is_on(query, "json") is True, pretty=pretty, is_suffix=True)
    form = queried or _accepted(accept)
    return Wish(form=form, as_json=as_json or is_on(query, "json") is True, pretty=pretty)


def split_suffix(path: str) -> tuple[str, Form] | None:
    """Take a form's suffix from a path; None where it has none, or nothing before it."""
    stem, _, end = path.rpartition(".")
    form = next((form for form in _SUFFIXED if form.value == end), None)
    return (stem, form) if form and stem and not stem.endswith("/") else None


def is_on(query: Mapping[str, str], name: str) -> bool | None:
    """Tell whether a switch such as ``?pretty`` or ``?https=0`` is on; None where it is not there."""
    value = query.get(name)
    return None if value is None else value.lower() not in _OFF


def accepts(accept: str, media_type: str) -> bool:
    """Tell whether an ``Accept`` field names a type, and not by a wildcard."""
    return _quality(accept, media_type) > 0


def _accepted(accept: str) -> Form:
    """Give the form whose type is named with the highest quality.

    aria2 says ``*/*,application/metalink4+xml,…`` and means that it would rather have the metalink; libraries say
    ``application/json, */*``. So a named type beats a wildcard.
    """
    named = [(_quality(accept, media_type), form) for media_type, form in _ACCEPTED]
    quality, form = max(named, key=lambda pair: pair[0])
    return form if quality > 0 else Form.REDIRECT


def _quality(accept: str, media_type: str) -> float:
    for item in accept.lower().split(","):
        name, *parameters = (part.strip() for part in item.split(";"))
        if name == media_type:
            return min((_number(text[2:]) for text in parameters if text.startswith("q=")), default=1.0)
    return 0.0


def _number(text: str) -> float:
    """Read a quality; what is none counts as not accepted."""
    try:
        quality = float(text)
    except ValueError:
        return 0.0
    return quality if 0 <= quality <= 1 else 0.0
