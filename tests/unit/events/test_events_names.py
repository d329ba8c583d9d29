"""Names from outside: what is refused, and what a parsed one can be trusted with."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from pathlib import PurePosixPath

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from events.errors import InvalidNameError
from events.names import (
    HELD_PREFIX,
    PATH_BYTES_MAX,
    SEGMENT_BYTES_MAX,
    FilePath,
    file_name,
    parse_channel,
    parse_digest,
    parse_media_type,
    parse_mirror,
    parse_path,
    parse_published_path,
    parse_selector,
    parse_tag,
)

HOSTILE_PATHS = {
    "empty": "",
    "absolute": "/etc/passwd",
    "parent": "../secret",
    "parent inside": "a/../../secret",
    "parent at the end": "a/..",
    "here": "a/./b",
    "empty segment": "a//b",
    "slash at the end": "a/",
    "backslash": "a\\..\\b",
    "NUL": "a\0b",
    "CR LF": "a\r\nSet-Cookie: x",
    "line feed at the end": "a\n",
    "tab": "a\tb",
    "delete": "a\x7f",
    "C1 control": "a\x85b",
    "right-to-left override": "exe.\u202eiso",
    "right-to-left isolate": "a\u2067b",
    "zero width space": "a\u200bb",
    "byte order mark": "\ufeffa",
    "soft hyphen": "a\u00adb",
    "line separator": "a\u2028b",
    "paragraph separator": "a\u2029b",
    "lone surrogate": "a\ud800",
    "not NFC": "u\u0308ber.iso",
    "our own pages": "-/livez",
    "our own folder": "-",
    "too long": "/".join(["a" * 100] * 11),
    "segment too long": "a" * (SEGMENT_BYTES_MAX + 1),
    "segment too long in bytes": "ä" * 128,
}


@pytest.mark.parametrize("text", HOSTILE_PATHS.values(), ids=HOSTILE_PATHS.keys())
def test_path_that_could_do_harm_is_refused(text: str) -> None:
    with pytest.raises(InvalidNameError) as caught:
        parse_path(text)
    assert caught.value.value == text
    assert caught.value.problem


@pytest.mark.parametrize(
    "text",
    ["a", "debian/12/debian 12.iso", ".hidden", "a/.b", "a..b/c..", "...", "über/größe.iso", "日本語/全角　空白.zip",
     "-x/y", "a/-/b", "100%/a%2fb", "a" * SEGMENT_BYTES_MAX, "/".join(["a" * 203] * 5)],
)  # fmt: skip
def test_path_of_an_honest_file_is_taken(text: str) -> None:
    assert parse_path(text) == text


@given(st.text() | st.lists(st.sampled_from(["..", ".", "-", "a", "é", "/", "\\", "\0", "\u202e", " "])).map("".join))
@example("-")
@example("a\n")
def test_parsed_path_never_leaves_its_folder(text: str) -> None:
    try:
        path = parse_path(text)
    except InvalidNameError:
        return
    joined = PurePosixPath("/srv/root", path)
    assert joined.is_relative_to("/srv/root")
    assert str(joined) == f"/srv/root/{path}"
    assert ".." not in joined.parts
    assert len(path.encode()) <= PATH_BYTES_MAX
    assert unicodedata.is_normalized("NFC", path)
    assert not {unicodedata.category(character) for character in path} & {"Cc", "Cf", "Cs", "Zl", "Zp"}
    assert file_name(path) == joined.name


@given(st.text(alphabet=st.characters(min_codepoint=0x20, max_codepoint=0x7E, exclude_characters="\\"), min_size=1))
def test_visible_ascii_is_judged_by_its_segments_alone(text: str) -> None:
    segments = text.split("/")
    honest = segments[0] != "-" and not {"", ".", ".."} & set(segments) and max(map(len, segments)) <= SEGMENT_BYTES_MAX
    if honest and len(text) <= PATH_BYTES_MAX:
        assert parse_path(text) == text
    else:
        with pytest.raises(InvalidNameError):
            parse_path(text)


@pytest.mark.parametrize("parse", [parse_channel, parse_mirror, parse_selector])
@pytest.mark.parametrize(
    "text",
    ["", "-a", "A", "a.b", "a*", "a#", "a_b", "a/b", "a b", "ä", "a" * 32, "a\n", ".*", "ana|bob", "\uff11"],
)
def test_name_that_routing_keys_and_permissions_could_misread_is_refused(
    parse: Callable[[str], str], text: str
) -> None:
    with pytest.raises(InvalidNameError):
        parse(text)


@pytest.mark.parametrize("parse", [parse_channel, parse_mirror, parse_selector])
@pytest.mark.parametrize("text", ["a", "0", "a-b-c", "a-", "a" * 31])
def test_plain_name_is_taken(parse: Callable[[str], str], text: str) -> None:
    assert parse(text) == text


@pytest.mark.parametrize(
    ("parse", "name"), [(parse_channel, "origin"), (parse_mirror, "origin"), (parse_mirror, "self")]
)
def test_reserved_name_is_refused(parse: Callable[[str], str], name: str) -> None:
    with pytest.raises(InvalidNameError, match="reserved"):
        parse(name)


@pytest.mark.parametrize("text", ["", " a", "a b", "-a", "a,b", "é", "a" * 65, "a\n"])
def test_odd_tag_is_refused(text: str) -> None:
    with pytest.raises(InvalidNameError):
        parse_tag(text)


@pytest.mark.parametrize("text", ["confidential", "arch=arm64", "v1.2+b3", "a" * 64])
def test_tag_is_taken(text: str) -> None:
    assert parse_tag(text) == text


@pytest.mark.parametrize(
    "text", ["", "text", "text/", "/plain", "text/plain; charset=utf-8", "a/b/c", "text/pl\r\nX: y", "te\u212at/plain"]
)
def test_odd_media_type_is_refused(text: str) -> None:
    with pytest.raises(InvalidNameError):
        parse_media_type(text)


def test_media_type_is_lowered() -> None:
    assert parse_media_type("Application/ZIP") == "application/zip"


@pytest.mark.parametrize("text", ["", "ab", "g" * 64, "A" * 64, "0" * 63, "0" * 64 + "\n", "\uff10" * 64])
def test_digest_in_another_spelling_is_refused(text: str) -> None:
    with pytest.raises(InvalidNameError):
        parse_digest(text)


@given(st.binary(min_size=32, max_size=32))
def test_digest_is_read_back(digest: bytes) -> None:
    assert parse_digest(digest.hex()) == digest


def test_file_name_is_the_last_segment() -> None:
    assert file_name(FilePath("a/b/c.iso")) == "c.iso"


@pytest.mark.parametrize("text", ["pool/a.deb", ".hidden", HELD_PREFIX + "pool/a.deb", HELD_PREFIX + "ä"])
def test_a_published_file_stands_under_a_path_or_under_that_of_a_held_file(text: str) -> None:
    assert parse_published_path(text) == text


@pytest.mark.parametrize("text", ["", "-/a", "a//b", HELD_PREFIX, HELD_PREFIX + "../a", HELD_PREFIX * 2 + "a"])
def test_a_published_file_stands_nowhere_else(text: str) -> None:
    with pytest.raises(InvalidNameError):
        parse_published_path(text)
