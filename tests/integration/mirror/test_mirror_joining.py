"""Taking up an invitation."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from events.invitation import Invitation
from events.names import MirrorName
from events.schemas import Location, Profile
from mirror.joining import InvitationRefusedError, MasterUnreachableError, join

PROFILE = Profile(
    url="https://ana.example",
    slots=7,
    monthly_bytes=50_000_000_000,
    location=Location(latitude=41.1, longitude=-8.6, country="PT"),
)
CREDENTIALS = {
    "mirror": "ana",
    "broker_url": "amqp://ana:pw@broker/site",
    "token": "secret",
    "grant_keys": {"1": "ab" * 32},
    "master_url": "https://master.example",
    "site_url": "https://site.example",
    "channels": ["iso"],
}


class Master:
    """Answers one question as the test wants."""

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.status = 200
        self.answer: object = {"credentials": CREDENTIALS}

    async def join(self, request: web.Request) -> web.Response:
        self.asked.append(await request.json())
        return web.json_response(self.answer, status=self.status)


@pytest.fixture
async def master() -> Master:
    return Master()


@pytest.fixture
async def invitation(master: Master) -> AsyncIterator[Invitation]:
    app = web.Application()
    app.router.add_post("/-/api/v1/join", master.join)
    async with TestServer(app) as server:
        url = str(server.make_url("/")).rstrip("/")
        yield Invitation(url=url, name=MirrorName("ana"), secret="word", expires_at_s=0)


async def test_an_invitation_brings_credentials(master: Master, invitation: Invitation) -> None:
    credentials = await join(invitation, PROFILE)
    assert credentials.grant_keys == {1: bytes.fromhex("ab" * 32)}
    assert (credentials.mirror, credentials.token) == ("ana", "secret")
    (question,) = master.asked
    assert question == {
        "secret": "word",
        "name": "ana",
        "profile": {
            "url": "https://ana.example",
            "slots": 7,
            "monthly_bytes": 50_000_000_000,
            "location": {"latitude": 41.1, "longitude": -8.6, "country": "PT"},
        },
    }


async def test_a_refusal_tells_the_masters_reason(master: Master, invitation: Invitation) -> None:
    master.status = 403
    master.answer = {"error": {"code": "invitation_used", "message": "used already", "hint": "ask for another"}}
    with pytest.raises(InvitationRefusedError, match="used already; ask for another") as refused:
        await join(invitation, PROFILE)
    assert refused.value.code == "invitation_used"


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param("hello", id="no credentials"),
        pytest.param({"credentials": {**CREDENTIALS, "grant_keys": {"1": "xyz"}}}, id="key is not hexadecimal"),
        pytest.param({"credentials": {**CREDENTIALS, "grant_keys": {"1": "ab"}}}, id="key is too short"),
        pytest.param({"credentials": {**CREDENTIALS, "mirror": "A B"}}, id="name is none"),
    ],
)
async def test_an_answer_that_makes_no_sense_is_refused(master: Master, invitation: Invitation, answer: object) -> None:
    master.answer = answer
    with pytest.raises(MasterUnreachableError, match="answered 200"):
        await join(invitation, PROFILE)


async def test_a_master_that_is_away_is_told_as_such() -> None:
    nowhere = Invitation(url="http://127.0.0.1:9", name=MirrorName("ana"), secret="word", expires_at_s=0)
    with pytest.raises(MasterUnreachableError, match=r"127\.0\.0\.1:9"):
        await join(nowhere, PROFILE)
