"""Blocks: what a segment's file consists of, so that damaged bytes are found and placed before they are read. Pure.

A segment is a sound Zstandard file (RFC 8878): ``zstd -dc`` gives its records as MessagePack. Before each compressed
frame stands one that Zstandard skips, which tells what follows: its kind, its records, its length and its digest, all
under a checksum. The first frame of a file is one to skip, too, and names the format.
"""

from __future__ import annotations

from enum import Enum
from hashlib import blake2b
from struct import Struct as Layout
from typing import BinaryIO, Final, NamedTuple
from zlib import crc32

import msgspec
import zstandard

from history.export.chain import Record

_TEXT: Final = b"distributary log segment 1\n"  # another number for another format
_SKIPPED: Final = 0x184D2A5D  # RFC 8878 §3.1.2: sixteen numbers mark frames to skip; this is the one that we take
_FRAME: Final = Layout("<II")
_HEAD: Final = Layout(">cIII16s")
_CHECKSUM: Final = Layout(">I")
_DIGEST_BYTES: Final = 16
_HEAD_BYTES: Final = _FRAME.size + _HEAD.size + _CHECKSUM.size

PREAMBLE: Final = _FRAME.pack(_SKIPPED, len(_TEXT)) + _TEXT

BLOCK_RECORDS_MAX: Final = 1000  # a batch of a source
BLOCK_BYTES: Final = 1 << 20  # uncompressed; more in a block compresses no better
MESSAGE_BYTES_MAX: Final = 128 << 20  # what RabbitMQ takes, whoever wrote it
# One entry more than fills a block, however large: what claims to be more is no block of ours.
BLOCK_BYTES_MAX: Final = BLOCK_BYTES + MESSAGE_BYTES_MAX + (1 << 20)
_LEVEL: Final = 3  # Zstandard's own choice; 9 takes four times as long for a twentieth less


class BlockKind(Enum):
    """What a block holds."""

    HEADER = b"H"
    ENTRIES = b"E"
    FOOTER = b"F"


class Block(NamedTuple):
    """A block as it was read."""

    kind: BlockKind
    records: list[Record]


class BlockCutError(Exception):
    """The file ends where something should follow."""


class BlockDamagedError(Exception):
    """Bytes are not as they were written."""


def packed(kind: BlockKind, records: list[Record]) -> bytes:
    """Write a block."""
    payload = _compressor.compress(_encoder.encode(records))
    head = _FRAME.pack(_SKIPPED, _HEAD.size + _CHECKSUM.size) + _HEAD.pack(
        kind.value, records[0].index, len(records), len(payload), _digest(payload)
    )
    return head + _CHECKSUM.pack(crc32(head)) + payload


class BlockReader:
    """Reads a segment's blocks one after the other from a file that can be sought in."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def begin(self) -> None:
        """Read what stands before the first block.

        Raises:
            BlockCutError: it is not there, or not all of it.
            BlockDamagedError: this is no segment of ours.
        """
        preamble = self._file.read(len(PREAMBLE))
        if preamble != PREAMBLE:
            if PREAMBLE.startswith(preamble):
                raise BlockCutError("the file ends within its first line")
            raise BlockDamagedError("it does not begin as a segment of this version")

    def next(self) -> Block | None:
        """Read a block; None at the end of the file.

        Raises:
            BlockCutError: the file ends within it.
            BlockDamagedError: its bytes are not as they were written.
        """
        head = self._head()
        if head is None:
            return None
        payload = self._file.read(head.size_bytes)
        where = f"the block of records {head.first_index} to {head.first_index + head.records - 1}"
        if len(payload) < head.size_bytes:
            raise BlockCutError(f"the file ends within {where}")
        if _digest(payload) != head.digest:
            raise BlockDamagedError(f"{where} is damaged")
        return Block(head.kind, _unpacked(payload, where))

    def last(self) -> Block | None:
        """Read the last block alone, skipping what is before it; None where there is none.

        Raises:
            BlockCutError: the file ends within a block.
            BlockDamagedError: bytes that had to be read are not as they were written.
        """
        last_at = None
        end = self._file.seek(0, 2)
        at = self._file.seek(len(PREAMBLE))
        while (head := self._head()) is not None:
            last_at, at = at, at + _HEAD_BYTES + head.size_bytes
            if at > end:
                raise BlockCutError("the file ends within a block")
            self._file.seek(at)
        if last_at is None:
            return None
        self._file.seek(last_at)
        return self.next()

    def _head(self) -> _Head | None:
        data = self._file.read(_HEAD_BYTES)
        if not data:
            return None
        if len(data) < _HEAD_BYTES:
            raise BlockCutError("the file ends between two blocks")
        return _head_of(data)


class _Head(NamedTuple):
    kind: BlockKind
    first_index: int
    records: int
    size_bytes: int
    digest: bytes


def _head_of(data: bytes) -> _Head:
    body, checksum = data[: -_CHECKSUM.size], data[-_CHECKSUM.size :]
    if _CHECKSUM.pack(crc32(body)) != checksum:
        raise BlockDamagedError("what tells of the next block is damaged")
    kind, first_index, records, size_bytes, digest = _HEAD.unpack(body[_FRAME.size :])
    try:
        return _Head(BlockKind(kind), first_index, records, size_bytes, digest)
    except ValueError as error:
        raise BlockDamagedError(f"there is no such block: {error}") from error


def _unpacked(payload: bytes, where: str) -> list[Record]:
    """Read what passed its digest; who made it himself may have made anything."""
    try:
        parameters = zstandard.get_frame_parameters(payload)
        if not 0 < parameters.content_size <= BLOCK_BYTES_MAX:
            raise BlockDamagedError(f"{where} claims {parameters.content_size} bytes")
        records = _decoder.decode(_decompressor.decompress(payload))
    except (zstandard.ZstdError, msgspec.DecodeError) as error:
        raise BlockDamagedError(f"{where} cannot be read: {error}") from error
    if not records:
        raise BlockDamagedError(f"{where} is empty")
    return records


def _digest(payload: bytes) -> bytes:
    return blake2b(payload, digest_size=_DIGEST_BYTES).digest()


_compressor = zstandard.ZstdCompressor(level=_LEVEL)
_decompressor = zstandard.ZstdDecompressor()
_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(list[Record])
