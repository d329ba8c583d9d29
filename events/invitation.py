"""An invitation to join a fleet, written as one word that a person copies from a mail into a terminal.

``DT1.`` and then base64url without padding of the MessagePack array ``[url, name, secret, expires_at_s]`` followed by
a checksum, so that a slip of the hand is told as one instead of as a wrong secret.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from typing import Annotated, Final

import msgspec
from msgspec import Meta, Struct

from events.errors import MalformedInvitationError
from events.names import MirrorName, parse_mirror

PREFIX: Final = "DT1."
TOKEN_LENGTH_MAX: Final = 1024  # a URL, a name and a secret need a fifth of that; who pastes a file is told early
SECRET_LENGTH_MAX: Final = 128

_CHECKSUM_BYTES: Final = 4  # one slip in four thousand million goes unnoticed here, and then fails as a wrong secret


class Invitation(Struct, frozen=True, kw_only=True, array_like=True):
    """Where to join, as whom, and the secret that proves the invitation. It works once, until ``expires_at_s``."""

    url: str
    name: MirrorName
    secret: Annotated[str, Meta(min_length=1, max_length=SECRET_LENGTH_MAX)]
    expires_at_s: int


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Invitation)


def write_invitation(invitation: Invitation) -> str:
    """Write an invitation as a token."""
    body = _encoder.encode(invitation)
    return PREFIX + base64.urlsafe_b64encode(body + _checksum(body)).decode("ascii").rstrip("=")


def read_invitation(token: str) -> Invitation:
    """Read a token; white space around and inside it, as mail programs insert it, does not matter.

    Raises:
        MalformedInvitationError: cut, mistyped or no invitation; the message says which.
        InvalidNameError: it invites a mirror whose name is none.
    """
    text = "".join(token.split())
    if not text.startswith(PREFIX):
        raise MalformedInvitationError(f"an invitation begins with {PREFIX}; copy the whole of it")
    body = _checked_body(text.removeprefix(PREFIX))
    try:
        invitation = _decoder.decode(body)
    except msgspec.DecodeError as error:
        raise MalformedInvitationError(f"this invitation is of a kind that we do not know: {error}") from error
    parse_mirror(invitation.name)
    return invitation


def _checked_body(text: str) -> bytes:
    if len(text) > TOKEN_LENGTH_MAX:
        raise MalformedInvitationError(f"an invitation has at most {TOKEN_LENGTH_MAX} characters, this has {len(text)}")
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise MalformedInvitationError("this invitation is cut short or has a stray character; copy it anew") from error
    body, checksum = raw[:-_CHECKSUM_BYTES], raw[-_CHECKSUM_BYTES:]
    if _checksum(body) != checksum:
        raise MalformedInvitationError("this invitation was mistyped or cut short; copy it anew")
    return body


def _checksum(body: bytes) -> bytes:
    return hashlib.sha256(PREFIX.encode("ascii") + body).digest()[:_CHECKSUM_BYTES]
