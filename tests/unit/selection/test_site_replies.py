"""What the site's answers mean, and for how long they count."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from multidict import CIMultiDict

from selection.access.asker import Asker
from selection.access.replies import REFUSAL_KEPT_S, Replies, verdict_of
from selection.access.verdicts import ADMITTED, SITE_SILENT, Outcome, Verdict

LOGIN = "https://www.example.org/login?next=%2Fa.iso"
REFUSED = Verdict(Outcome.REFUSED)


@pytest.mark.parametrize("status", [200, 204, 299])
def test_success_admits(status: int) -> None:
    assert verdict_of(status, {}) is ADMITTED


@pytest.mark.parametrize(
    ("status", "headers", "expected"),
    [
        pytest.param(403, {}, Verdict(Outcome.REFUSED), id="forbidden"),
        pytest.param(401, {}, Verdict(Outcome.LOGIN_NEEDED), id="unauthorized"),
        pytest.param(
            401,
            {"www-authenticate": 'Basic realm="x"'},
            Verdict(Outcome.LOGIN_NEEDED, (("WWW-Authenticate", 'Basic realm="x"'),)),
            id="with a challenge",
        ),
        pytest.param(401, {"WWW-Authenticate": "x\udcff"}, Verdict(Outcome.LOGIN_NEEDED), id="with no text"),
        pytest.param(401, {"location": LOGIN}, Verdict(Outcome.SENT_ON, (("Location", LOGIN),)), id="401, log in"),
        pytest.param(
            403, {"Location": "/login"}, Verdict(Outcome.SENT_ON, (("Location", "/login"),)), id="403, log in"
        ),
        pytest.param(302, {"Location": LOGIN}, Verdict(Outcome.SENT_ON, (("Location", LOGIN),)), id="redirect"),
        pytest.param(403, {"Location": "javascript:alert(1)"}, Verdict(Outcome.REFUSED), id="no address of a page"),
    ],
)
def test_refusal_carries_on_what_the_site_wants(status: int, headers: dict[str, str], expected: Verdict) -> None:
    assert verdict_of(status, CIMultiDict(headers)) == expected


@pytest.mark.parametrize(
    ("status", "location"),
    [
        pytest.param(500, "", id="broken"),
        pytest.param(404, "", id="wrong address of the site"),
        pytest.param(302, "", id="redirect to nowhere"),
        pytest.param(302, "data:text/html,x", id="redirect to no page"),
        pytest.param(302, "login", id="redirect relative to the file"),
        pytest.param(302, "https://[", id="redirect to no address"),
        pytest.param(302, "/\\evil.example/login", id="redirect that browsers take elsewhere"),
        pytest.param(302, "//evil.example/login", id="redirect without a scheme"),
        pytest.param(304, "", id="not modified"),
    ],
)
def test_anything_else_says_nothing_and_lets_nobody_in(status: int, location: str) -> None:
    assert verdict_of(status, {"Location": location}) is SITE_SILENT


def test_admission_counts_for_seconds_and_a_refusal_for_less() -> None:
    replies = Replies(kept_s=5.0)
    replies.keep(b"yes", ADMITTED, now_s=100.0)
    replies.keep(b"no", REFUSED, now_s=100.0)
    assert replies.find(b"yes", now_s=104.9) is ADMITTED
    assert replies.find(b"yes", now_s=105.0) is None
    assert replies.find(b"no", now_s=100.0 + REFUSAL_KEPT_S / 2) == REFUSED
    assert replies.find(b"no", now_s=100.0 + REFUSAL_KEPT_S) is None


def test_silence_is_not_remembered() -> None:
    replies = Replies(kept_s=5.0)
    replies.keep(b"a", SITE_SILENT, now_s=100.0)
    assert replies.find(b"a", now_s=100.0) is None


def test_only_so_many_replies_are_remembered_and_the_oldest_go() -> None:
    replies = Replies(kept_s=5.0, kept_max=2)
    for identity in (b"a", b"b", b"a", b"c"):
        replies.keep(identity, ADMITTED, now_s=100.0)
    assert [replies.find(each, now_s=100.0) for each in (b"a", b"b", b"c")] == [ADMITTED, None, ADMITTED]


def test_each_fact_that_the_site_may_decide_by_makes_another_asker() -> None:
    address, other = ip_address("203.0.113.9"), ip_address("203.0.113.10")
    askers = [
        (Asker(address=address), "/a"),
        (Asker(address=address), "/b"),
        (Asker(address=other), "/a"),
        (Asker(address=address, cookie="c"), "/a"),
        (Asker(address=address, authorization="c"), "/a"),
    ]
    assert len({asker.identity(uri) for asker, uri in askers}) == len(askers)


def test_secrets_of_an_asker_do_not_show() -> None:
    asker = Asker(address=ip_address("203.0.113.9"), ticket="sss", cookie="sss", authorization="sss")
    assert "sss" not in repr(asker)
