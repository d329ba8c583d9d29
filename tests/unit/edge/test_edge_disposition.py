"""The name that a download is saved under."""

from __future__ import annotations

import re
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.disposition import attachment
from events.errors import InvalidNameError
from events.names import file_name, parse_path

_FORM = re.compile(r"attachment; filename=\"([\x20-\x7e]*)\"; filename\*=UTF-8''([A-Za-z0-9!#$&+.^_`|~%-]+)")


@given(st.text() | st.text(alphabet="abc.\"\\%;,'é\u00df日 =*"))
def test_header_is_safe_and_exact_for_every_name_that_a_file_can_have(text: str) -> None:
    try:
        name = file_name(parse_path(text))
    except InvalidNameError:
        return
    found = _FORM.fullmatch(attachment(name))
    assert found is not None
    assert not set('"\\%;,/') & set(found[1])
    assert unquote(found[2], errors="strict") == name


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("debian-12.iso", "debian-12.iso"),
        ("über größe.zip", "uber gro_e.zip"),
        ('a"b\\c.txt', "a_b_c.txt"),
        ("100%25.txt", "100_25.txt"),
        ("日本.txt", "__.txt"),
        ("a;b,c.txt", "a_b_c.txt"),
    ],
)
def test_old_tools_get_a_plain_name(name: str, plain: str) -> None:
    assert f'filename="{plain}"' in attachment(name)
