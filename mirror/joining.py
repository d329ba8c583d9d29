"""Taking up an invitation: one request to the master, once."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import Final

import aiohttp
import msgspec
from msgspec import Struct

from edge.clients import new_session
from events.invitation import Invitation
from events.names import parse_mirror
from events.schemas import Profile
from mirror.config import MirrorCredentials

JOIN_TIMEOUT_S: Final = 30.0  # the master makes a broker user and a queue, and proves it
ANSWER_BYTES_MAX: Final = 64_000  # credentials are under one kilobyte, and one name for each channel


class JoinError(Exception):
    """The mirror did not join. See the subclass."""


class MasterUnreachableError(JoinError):
    """No answer. Check the address and the network and try again; the invitation may or may not be used up."""


class InvitationRefusedError(JoinError):
    """The master says no: used, expired or withdrawn, or a profile it does not take. ``code`` is the master's own."""

    def __init__(self, code: str, message: str, hint: str) -> None:
        super().__init__(message if not hint else f"{message}; {hint}")
        self.code, self.message, self.hint = code, message, hint


class _Location(Struct):
    latitude: float
    longitude: float
    country: str


class _Profile(Struct):
    url: str
    slots: int
    monthly_bytes: int | None
    location: _Location | None


class _Question(Struct):
    secret: str
    name: str
    profile: _Profile


class _Credentials(Struct):
    mirror: str
    broker_url: str
    token: str
    grant_keys: dict[int, str]
    master_url: str
    site_url: str


class _Answer(Struct):
    credentials: _Credentials


class _Error(Struct):
    code: str = "refused"
    message: str = "the master refused without a reason"
    hint: str = ""


class _ErrorAnswer(Struct):
    error: _Error


async def join(invitation: Invitation, profile: Profile) -> MirrorCredentials:
    """Take up an invitation with this profile. Keep what it gives: it cannot be asked for twice.

    Raises:
        MasterUnreachableError: no answer, or none that makes sense.
        InvitationRefusedError: the master says no.
    """
    question = _Question(secret=invitation.secret, name=invitation.name, profile=_plain(profile))
    status, body = await _ask(f"{invitation.url}/-/api/v1/join", msgspec.json.encode(question))
    try:
        if status != HTTPStatus.OK:
            error = msgspec.json.decode(body, type=_ErrorAnswer).error
            raise InvitationRefusedError(error.code, error.message, error.hint)
        return _credentials(msgspec.json.decode(body, type=_Answer).credentials)
    except ValueError as error:
        raise MasterUnreachableError(f"{invitation.url} answered {status} with {body[:200]!r}: {error}") from error


async def _ask(url: str, question: bytes) -> tuple[int, bytes]:
    try:
        async with (
            asyncio.timeout(JOIN_TIMEOUT_S),
            new_session() as session,
            session.post(
                url, data=question, headers={"Content-Type": "application/json"}, allow_redirects=False
            ) as response,
        ):
            return response.status, await response.content.read(ANSWER_BYTES_MAX)
    except (aiohttp.ClientError, TimeoutError) as error:
        raise MasterUnreachableError(f"{url}: {error!r}") from error


def _plain(profile: Profile) -> _Profile:
    """Write a profile as JSON objects; on the wire of events it is an array."""
    location = profile.location
    return _Profile(
        url=profile.url,
        slots=profile.slots,
        monthly_bytes=profile.monthly_bytes,
        location=_Location(location.latitude, location.longitude, location.country) if location is not None else None,
    )


def _credentials(answer: _Credentials) -> MirrorCredentials:
    credentials = MirrorCredentials(
        mirror=parse_mirror(answer.mirror),
        broker_url=answer.broker_url,
        token=answer.token,
        grant_keys={epoch: bytes.fromhex(key) for epoch, key in answer.grant_keys.items()},
        master_url=answer.master_url,
        site_url=answer.site_url,
    )
    if problems := credentials.problems():
        raise ValueError("; ".join(problems))
    return credentials
