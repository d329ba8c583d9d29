"""Does a channel's filter take a file, and which rule decided? Pure.

Every rule that is set must hold; the first that does not decides. Globs match the whole path: ``*`` and ``?`` stop
at a slash, ``**`` does not, and ``**/`` also stands for no folder at all, so that ``**/a.iso`` takes ``a.iso``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from typing import Final

from events.names import FilePath, Tag, parse_media_type, parse_tag
from events.schemas import Filter
from master.errors import InvalidRequestError

GLOB_LENGTH_MAX: Final = 1024  # as long as a path may be
GLOBS_MAX: Final = 100  # of one rule: a person reads them
DEEP_WILDCARDS_MAX: Final = 3  # each ** multiplies the worst matching time by the path's length
_COMPILED_MAX: Final = 1024  # patterns kept; a site has tens

# A star that another one follows within its segment ("bound") is settled with the first place where its text fits:
# moving it on would only leave the later star less to absorb. Without that, *a*a*a*a*a takes exponential time.
_TOKENS = re.compile(
    r"(?P<folders>(?<![^/])\*\*/)|(?P<deep>\*\*+)|(?P<bound>\*[^*/]+(?=\*(?!\*)))|(?P<star>\*)|(?P<fixed>[^*]+)"
)


class Rule(Enum):
    """What can decide whether a channel takes a file."""

    NAMED = "channels"
    SIZE_MIN = "size_bytes_min"
    SIZE_MAX = "size_bytes_max"
    TAGS_NONE = "tags_none"
    TAGS_ANY = "tags_any"
    PATHS_NONE = "paths_none"
    PATHS_ANY = "paths_any"
    MEDIA_TYPES = "media_types"
    ALL = "all"


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether a file is taken, the rule that decided, and a sentence for people."""

    taken: bool
    rule: Rule
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Traits:
    """All that a filter may ask about a file."""

    path: FilePath
    size_bytes: int
    media_type: str
    tags: tuple[Tag, ...]


def decide(rules: Filter, file: Traits) -> Decision:
    """Tell whether a filter takes a file, with the rule that decided."""
    for decision in _refusals(rules, file):
        return decision
    return Decision(
        taken=True, rule=Rule.ALL, detail="every rule holds" if rules != Filter() else "no rules: takes all"
    )


def _refusals(rules: Filter, file: Traits) -> Iterator[Decision]:
    yield from _refusals_by_size(rules, file)
    yield from _refusals_by_tags(rules, file)
    yield from _refusals_by_path(rules, file)
    if rules.media_types and not any(_is_kind(file.media_type, wanted) for wanted in rules.media_types):
        yield _refused(Rule.MEDIA_TYPES, f"{file.media_type} is none of {', '.join(rules.media_types)}")


def _refusals_by_size(rules: Filter, file: Traits) -> Iterator[Decision]:
    if rules.size_bytes_min is not None and file.size_bytes < rules.size_bytes_min:
        yield _refused(Rule.SIZE_MIN, f"{file.size_bytes} bytes are fewer than {rules.size_bytes_min}")
    if rules.size_bytes_max is not None and file.size_bytes > rules.size_bytes_max:
        yield _refused(Rule.SIZE_MAX, f"{file.size_bytes} bytes are more than {rules.size_bytes_max}")


def _refusals_by_tags(rules: Filter, file: Traits) -> Iterator[Decision]:
    if unwanted := [tag for tag in file.tags if tag in rules.tags_none]:
        yield _refused(Rule.TAGS_NONE, f"it is tagged {', '.join(unwanted)}")
    if rules.tags_any and not set(rules.tags_any) & set(file.tags):
        yield _refused(Rule.TAGS_ANY, f"it has none of the tags {', '.join(rules.tags_any)}")


def _refusals_by_path(rules: Filter, file: Traits) -> Iterator[Decision]:
    if unwanted := [glob for glob in rules.paths_none if matches(glob, file.path)]:
        yield _refused(Rule.PATHS_NONE, f"its path matches {', '.join(unwanted)}")
    if rules.paths_any and not any(matches(glob, file.path) for glob in rules.paths_any):
        yield _refused(Rule.PATHS_ANY, f"its path matches none of {', '.join(rules.paths_any)}")


def _refused(rule: Rule, detail: str) -> Decision:
    return Decision(taken=False, rule=rule, detail=detail)


def _is_kind(media_type: str, wanted: str) -> bool:
    family, _, kind = wanted.partition("/")
    return media_type == wanted or (kind == "*" and media_type.startswith(f"{family}/"))


def matches(glob: str, path: str) -> bool:
    """Tell whether a glob matches the whole path."""
    return _compiled(glob).fullmatch(path) is not None


@lru_cache(maxsize=_COMPILED_MAX)
def _compiled(glob: str) -> re.Pattern[str]:
    return re.compile("".join(_regex(token) for token in _TOKENS.finditer(glob)), re.DOTALL)


def _regex(token: re.Match[str]) -> str:
    match token.lastgroup:
        case "folders":
            return "(?:.*/)?"
        case "deep":
            return ".*"
        case "bound":
            return f"(?>[^/]*?{_fixed(token['bound'].removeprefix('*'))})"
        case "star":
            return "[^/]*"
        case _:
            return _fixed(token["fixed"])


def _fixed(text: str) -> str:
    return re.escape(text).replace(r"\?", "[^/]")


def check_filter(rules: Filter) -> Filter:
    """Check a filter that a person wrote, and bring its media types into lower case.

    Raises:
        InvalidRequestError: a size, glob, tag or media type in it cannot be meant.
        InvalidNameError: a tag or media type is none.
    """
    _check_sizes(rules)
    for glob in (*rules.paths_any, *rules.paths_none):
        _check_glob(glob)
    for tag in (*rules.tags_any, *rules.tags_none):
        parse_tag(tag)
    if max(len(rules.paths_any), len(rules.paths_none)) > GLOBS_MAX:
        raise InvalidRequestError("filter_invalid", f"a rule has at most {GLOBS_MAX} globs")
    return Filter(
        size_bytes_min=rules.size_bytes_min,
        size_bytes_max=rules.size_bytes_max,
        tags_any=rules.tags_any,
        tags_none=rules.tags_none,
        paths_any=rules.paths_any,
        paths_none=rules.paths_none,
        media_types=tuple(_parse_wanted(wanted) for wanted in rules.media_types),
    )


def _check_sizes(rules: Filter) -> None:
    smallest, largest = rules.size_bytes_min or 0, rules.size_bytes_max
    if smallest < 0 or (largest is not None and largest < smallest):
        raise InvalidRequestError(
            "filter_invalid", f"no file has at least {smallest} and at most {largest} bytes", hint="swap the two sizes"
        )


def _check_glob(glob: str) -> None:
    if not glob or len(glob) > GLOB_LENGTH_MAX:
        raise InvalidRequestError("filter_invalid", f"a glob has 1 to {GLOB_LENGTH_MAX} characters")
    if glob.startswith("/"):
        raise InvalidRequestError(
            "filter_invalid",
            f"{glob!r} can match nothing: no path begins with a slash",
            hint=f"write {glob.lstrip('/')!r}",
        )
    if glob.count("**") > DEEP_WILDCARDS_MAX:
        raise InvalidRequestError("filter_invalid", f"{glob!r} has more than {DEEP_WILDCARDS_MAX} times '**'")


def _parse_wanted(wanted: str) -> str:
    family, _, kind = wanted.partition("/")
    return f"{parse_media_type(f'{family}/any').partition('/')[0]}/*" if kind == "*" else parse_media_type(wanted)
