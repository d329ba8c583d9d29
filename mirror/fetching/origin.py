"""The master over HTTP, as a mirror asks it: what is in a channel, what may I follow, heal my queue.

Answers are capped and validated; redirects are not followed; nothing is decompressed.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated, Final, TypeVar

import aiohttp
import msgspec
from aiohttp import hdrs
from msgspec import Meta, Struct

from events.grants import KEY_BYTES, KEY_EPOCH_MAX
from events.names import (
    ORIGIN,
    SHA256_BYTES,
    ChannelName,
    Digest,
    FilePath,
    parse_channel,
    parse_digest,
    parse_published_path,
)
from events.pieces import LEASE_HEADER, PIECES_MAX, piece_count
from events.trace import HEADER, TraceContext
from mirror.fetching.source import Source
from mirror.state.plan import Entry, Snapshot

ANSWER_BYTES_MAX: Final = 256 << 20  # a snapshot of a million files
ERROR_BYTES_MAX: Final = 2_000  # enough of an error page for a log line
REQUEST_TIMEOUT_S: Final = 60.0  # for a whole answer that is no file; a healed queue is proved within a few seconds

_NOT_A_MEMBER: Final = "token_wrong"

_T = TypeVar("_T")


class OriginError(Exception):
    """The master did not do it. See the subclass for what may be done."""


class OriginUnavailableError(OriginError):
    """The master cannot be reached, or fails. Ask again after a while; nothing that was fetched is wasted."""


class OriginRefusedError(OriginError):
    """The master says no. Asking again helps only after something changed there."""

    def __init__(self, request: str, status: int, detail: str) -> None:
        super().__init__(f"{request}: {status} {detail}")
        self.request, self.status = request, status


class OriginForgotUsError(OriginRefusedError):
    """No mirror has our token: we are no member any more. Asking again cannot help; our operator has to join again."""


class OriginConfusedError(OriginError):
    """The answer makes no sense: not the range that was asked for, too long, or not in the agreed form."""


class _File(Struct):
    path: str
    generation: int
    size_bytes: Annotated[int, Meta(ge=0)]
    sha256: str
    channel_sequence: int
    media_type: str = "application/octet-stream"
    piece_bytes: Annotated[int, Meta(ge=0)] = 0
    piece_digests: bytes = b""
    published_at_ns: Annotated[int, Meta(ge=0)] = 0


class _SnapshotAnswer(Struct):
    channel: str
    epoch: int
    channel_sequence: int
    files: list[_File]


class _KeysAnswer(Struct):
    grant_keys: dict[int, str]


class _ChannelsAnswer(Struct):
    channels: list[str]


class _QueueAnswer(Struct):
    healed: bool = False


class _LeftAnswer(Struct):
    removed: str


class _Error(Struct):
    code: str


class _ErrorAnswer(Struct):
    error: _Error


class Origin:
    """One master, asked as one mirror."""

    def __init__(self, session: aiohttp.ClientSession, master_url: str, token: str) -> None:
        self._session = session
        self._base = master_url
        self._headers = {hdrs.AUTHORIZATION: f"Bearer {token}"}

    async def snapshot(self, channel: ChannelName) -> Snapshot:
        """Read all that is in a channel now.

        Raises:
            OriginError: see the subclass.
        """
        answer = await self.ask("GET", f"/-/api/v1/channels/{channel}/snapshot", _SnapshotAnswer)
        if answer.channel != channel:
            raise OriginConfusedError(f"asked for channel {channel}, was told of {answer.channel!r}")
        try:
            entries = tuple(_entry(channel, file) for file in answer.files)
        except ValueError as error:
            raise OriginConfusedError(f"snapshot of {channel}: {error}") from error
        return Snapshot(channel=channel, epoch=answer.epoch, sequence=answer.channel_sequence, entries=entries)

    async def subscriptions(self) -> frozenset[ChannelName]:
        """Read which channels this mirror has leave to follow.

        Raises:
            OriginError: see the subclass.
        """
        answer = await self.ask("GET", "/-/api/v1/mirrors/self/subscriptions", _ChannelsAnswer)
        try:
            return frozenset(parse_channel(channel) for channel in answer.channels)
        except ValueError as error:
            raise OriginConfusedError(f"subscriptions: {error}") from error

    async def keys(self) -> dict[int, bytes]:
        """Read the keys that prove this mirror's grants and hold now, by key epoch.

        Raises:
            OriginError: see the subclass.
        """
        answer = await self.ask("GET", "/-/api/v1/mirrors/self/keys", _KeysAnswer)
        try:
            keys = {epoch: bytes.fromhex(key) for epoch, key in answer.grant_keys.items()}
        except ValueError:
            raise OriginConfusedError("keys: not in hexadecimal") from None  # which would show one
        if any(len(key) != KEY_BYTES or not 1 <= epoch <= KEY_EPOCH_MAX for epoch, key in keys.items()):
            raise OriginConfusedError("keys: of another length or epoch than keys have")
        return keys

    async def leave(self) -> None:
        """Have the master remove this mirror from the fleet.

        Raises:
            OriginError: see the subclass.
        """
        await self.ask("DELETE", "/-/api/v1/mirrors/self", _LeftAnswer)

    async def heal_queue(self) -> bool:
        """Let the master put our queue right and prove it; tell whether it was broken, so that events may be missing.

        Raises:
            OriginError: see the subclass.
        """
        return (await self.ask("POST", "/-/api/v1/mirrors/self/queue", _QueueAnswer)).healed

    def content(self, sha256: Digest, *, lease: str | None, trace: TraceContext | None) -> Source:
        """Give where the bytes of a content can be asked for; ``lease`` is the leave to fetch one piece."""
        headers: dict[str, str] = {**self._headers}
        if lease is not None:
            headers[LEASE_HEADER] = lease
        if trace is not None:
            headers[HEADER] = trace.traceparent
        return Source(
            name=ORIGIN,
            url=f"{self._base}/-/origin/{sha256.hex()}",
            headers=headers,
            session=self._session,
            guarded=False,
        )

    async def ask(self, method: str, path: str, kind: type[_T], *, body: Struct | None = None) -> _T:
        """Ask for JSON of this kind.

        Raises:
            OriginError: see the subclass.
        """
        request = f"{method} {path}"
        timeout = aiohttp.ClientTimeout(total=REQUEST_TIMEOUT_S)
        headers, data = self._headers, None
        if body is not None:
            headers, data = headers | {hdrs.CONTENT_TYPE: "application/json"}, msgspec.json.encode(body)
        try:
            async with self._session.request(
                method, self._base + path, headers=headers, data=data, allow_redirects=False, timeout=timeout
            ) as response:
                if response.status != HTTPStatus.OK:
                    raise await _refusal(request, response)
                answer = await _capped(response, ANSWER_BYTES_MAX)
        except (aiohttp.ClientError, TimeoutError) as error:
            raise OriginUnavailableError(f"{request}: {error!r}") from error
        try:
            return msgspec.json.decode(answer, type=kind)
        except msgspec.DecodeError as error:
            raise OriginConfusedError(f"{request}: {error}") from error


async def _capped(response: aiohttp.ClientResponse, bytes_max: int) -> bytes:
    blocks = bytearray()
    async for block in response.content.iter_any():
        blocks += block
        if len(blocks) > bytes_max:
            raise OriginConfusedError(f"an answer of more than {bytes_max} bytes")
    return bytes(blocks)


async def _refusal(request: str, response: aiohttp.ClientResponse) -> OriginError:
    detail = (await response.content.read(ERROR_BYTES_MAX)).decode("utf-8", "replace")
    if response.status >= HTTPStatus.INTERNAL_SERVER_ERROR or response.status == HTTPStatus.TOO_MANY_REQUESTS:
        return OriginUnavailableError(f"{request}: {response.status} {detail}")
    kind = OriginForgotUsError if _is_nobodys(response, detail) else OriginRefusedError
    return kind(request, response.status, detail)


def _is_nobodys(response: aiohttp.ClientResponse, detail: str) -> bool:
    """Tell whether the master refused because of the token itself."""
    if response.status not in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
        return False
    try:
        return msgspec.json.decode(detail, type=_ErrorAnswer).error.code == _NOT_A_MEMBER
    except msgspec.DecodeError:
        return False  # a proxy's page, say


def _entry(channel: ChannelName, file: _File) -> Entry:
    path: FilePath = parse_published_path(file.path)
    pieces = piece_count(file.size_bytes, file.piece_bytes) if file.piece_bytes else 0
    if len(file.piece_digests) != pieces * SHA256_BYTES or pieces > PIECES_MAX:
        raise ValueError(f"{path}: {len(file.piece_digests)} bytes of piece digests for {pieces} pieces")
    return Entry(
        channel=channel,
        path=path,
        sequence=file.channel_sequence,
        generation=file.generation,
        sha256=parse_digest(file.sha256),
        size_bytes=file.size_bytes,
        media_type=file.media_type,
        piece_bytes=file.piece_bytes,
        piece_digests=file.piece_digests,
        published_at_ns=file.published_at_ns,
    )
