"""Where a visitor was sent, and why, is told long afterwards as the selector told it then."""

from __future__ import annotations

import time
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

import pytest

from events.grants import IPAddress
from events.names import FilePath
from events.schemas import Location
from history.replay.past import How, Past, PastUnknownError, Question, past
from history.sources.broker_log import BrokerLog
from selection.places.place import NOWHERE, Place

if TYPE_CHECKING:
    from conftest import Selector, Site

VISITOR = "203.0.113.9"
SILENT_AFTER_S = 600.0


def nowhere(address: IPAddress) -> Place:
    del address
    return NOWHERE


async def asked(site: Site, path: str, address: str, at_ns: int) -> Past:
    source = BrokerLog(site.broker, vhost=site.config.broker.vhost, name="the test's", clock_s=time.time)
    question = Question(path=FilePath(path), address=ip_address(address), at_ns=at_ns, place_of=nowhere)
    return await past(source, question)


def reasons(told: dict[str, Any]) -> dict[str, str]:
    return {each["mirror"]: each["reason"] for each in told["rejected"]}


async def visited(selector: Selector, path: str = "a.iso", address: str = VISITOR) -> str:
    return await selector.sent_to(f"/{path}", address)


async def test_decision_is_told_with_the_reasons_that_held_then(site: Site) -> None:
    await site.said.published("a.iso")
    await site.said.serving("ana", "a.iso", location=Location(latitude=41, longitude=-9))
    await site.said.serving("bob", "a.iso", slots=0)
    await site.said.serving("cat")
    async with site.selector(silent_after_s=SILENT_AFTER_S) as selector:
        await selector.until_chosen("a.iso", "ana")
        assert await visited(selector) == "ana"
        then_ns = time.time_ns()
        now = await selector.where("a.iso")
        await site.said.holding("ana")
        await site.said.holding("cat", "a.iso")
        await selector.until_chosen("a.iso", "cat")
        assert await visited(selector, address="198.51.100.1") == "cat"
    found = await asked(site, "a.iso", VISITOR, then_ns)
    told = found.told()
    assert (found.how, told["chosen"], found.retraced.agrees) == (How.RECORDED, "ana", True)
    assert reasons(told) == reasons(now) == {"bob": "full", "cat": "no_copy"}
    assert {name: told[name] for name in ("path", "sha256", "generation", "visitor", "access", "fallback")} == {
        name: now[name] for name in ("path", "sha256", "generation", "visitor", "access", "fallback")
    }


async def test_visitor_who_came_back_is_told_as_he_was_sent_each_time(memory_site: Site) -> None:
    site = memory_site
    await site.said.published("a.iso")
    await site.said.serving("ana", "a.iso")
    async with site.selector(silent_after_s=SILENT_AFTER_S) as selector:
        await selector.until_chosen("a.iso", "ana")
        await visited(selector)
        first_ns = time.time_ns()
        await visited(selector)
        second_ns = time.time_ns()
    told: list[dict[str, Any]] = [(await asked(site, "a.iso", VISITOR, at)).told() for at in (first_ns, second_ns)]
    assert [each["then"]["outcome"] for each in told] == ["sent", "kept"]


async def test_choice_for_one_who_did_not_come_is_worked_out_by_what_was_known_then(memory_site: Site) -> None:
    site = memory_site
    await site.said.published("a.iso")
    await site.said.serving("ana", "a.iso")
    async with site.selector(silent_after_s=SILENT_AFTER_S) as selector:
        await selector.until_chosen("a.iso", "ana")
        await visited(selector)
        then_ns = time.time_ns()
        await site.said.withdrawn("a.iso")
        await site.said.published("b.iso")
        await selector.until_chosen("b.iso", None)
        await visited(selector, "b.iso")
    found = await asked(site, "a.iso", "198.51.100.1", then_ns)
    told: dict[str, Any] = found.told()
    assert (found.how, told["chosen"], told["visitor"]["ip"]) == (How.WORKED_OUT, "ana", "198.51.100.1")
    with pytest.raises(PastUnknownError, match=r"nothing was published at a\.iso"):
        await asked(site, "a.iso", "198.51.100.1", time.time_ns())


async def test_moment_before_any_decision_cannot_be_told(memory_site: Site) -> None:
    site = memory_site
    await site.said.published("a.iso")
    with pytest.raises(PastUnknownError, match="no selector"):
        await asked(site, "a.iso", VISITOR, time.time_ns())
