"""A redirect's head, field by field; and the dice."""

from __future__ import annotations

from base64 import b64encode
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest

from events.schemas import Location
from selection.answering.dice import POOL_BYTES, Dice
from selection.answering.heads import Heads, pairs

if TYPE_CHECKING:
    from conftest import Story


def test_head_names_the_link_the_digest_the_metalink_and_other_mirrors(story: Story) -> None:
    file = story.shown("dir/ü a.iso")
    story.serving("ana", location=Location(latitude=1, longitude=2, country="PT"))
    story.serving("bob")
    view = story.view()
    others = [view.mirror(mirror.name) for mirror in view.mirrors()]
    heads = Heads("https://dl.example/")
    sheet = heads.sheet(file)
    written = heads.redirect(sheet, b"http://x/d/t/a", others, served_by=b"X-MirrorBrain-Mirror: cat\r\n")
    told = list(pairs(written))
    assert heads.redirect(sheet, b"http://x/d/t/a", others, served_by=b"X-MirrorBrain-Mirror: cat\r\n") == written
    url, digest = f"https://dl.example/{quote(file.path)}", b64encode(file.sha256).decode()
    fields = dict(told)
    assert told[0] == ("Location", "http://x/d/t/a")
    assert fields["Cache-Control"] == "no-store"
    assert fields["ETag"] == f'"{file.sha256.hex()}"'
    assert (fields["Digest"], fields["Repr-Digest"]) == (f"SHA-256={digest}", f"sha-256=:{digest}:")
    assert fields["X-MirrorBrain-Mirror"] == "cat"
    assert [value for name, value in told if name == "Link"] == [
        f'<{url}.meta4>; rel=describedby; type="application/metalink4+xml"',
        f"<{url}?mirror=ana>; rel=duplicate; pri=1; geo=pt",
        f"<{url}?mirror=bob>; rel=duplicate; pri=2",
    ]


def test_links_carry_what_a_visitor_must_say_and_lead_back_to_wherever_he_asked(story: Story) -> None:
    file = story.shown("a.iso")
    story.serving("ana")
    view = story.view()
    heads = Heads(None)
    told = list(pairs(heads.redirect(heads.sheet(file, "ticket=t"), b"http://x", view.mirrors(), served_by=b"")))
    assert [value.partition(">")[0] for name, value in told if name == "Link"] == [
        "</a.iso.meta4?ticket=t",
        "</a.iso?ticket=t&mirror=ana",
    ]
    assert "X-MirrorBrain-Mirror" not in dict(told)


def test_dice_give_each_byte_once_and_fair_numbers() -> None:
    dice = Dice()
    ids = {dice.randbytes(16) for _ in range(POOL_BYTES // 4)}
    assert len(ids) == POOL_BYTES // 4
    assert len(dice.randbytes(2 * POOL_BYTES)) == 2 * POOL_BYTES
    assert sum(dice.random() for _ in range(4000)) / 4000 == pytest.approx(0.5, abs=0.05)
    assert {dice.randrange(6) for _ in range(1000)} == set(range(6))
    assert all(dice.getrandbits(3) < 8 for _ in range(100))
