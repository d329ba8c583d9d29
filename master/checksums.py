"""The digests that older tools ask for, beside the SHA-256: taken in the same reading. Nothing is decided by them."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from dataclasses import dataclass
from enum import Enum
from typing import Final


class Checksum(Enum):
    """A digest that a site may have made of each file that it publishes."""

    MD5 = "md5"
    SHA1 = "sha1"


@dataclass(frozen=True, slots=True)
class Checksums:
    """A file's further digests; empty where the site does not make them."""

    md5: bytes = b""
    sha1: bytes = b""

    @property
    def made(self) -> frozenset[Checksum]:
        """Tell which there are."""
        found = {Checksum.MD5: self.md5, Checksum.SHA1: self.sha1}
        return frozenset(kind for kind, digest in found.items() if digest)


NO_CHECKSUMS: Final = Checksums()


class ChecksumHasher:
    """Makes the checksums that are wanted, of bytes that come in blocks. Without any it costs nothing."""

    def __init__(self, wanted: Collection[Checksum]) -> None:
        self._hashes = {kind: hashlib.new(kind.value, usedforsecurity=False) for kind in wanted}

    def update(self, block: memoryview) -> None:
        """Take the next bytes."""
        for digest in self._hashes.values():
            digest.update(block)

    def finish(self) -> Checksums:
        """Give them, when all bytes have come."""
        return Checksums(**{kind.value: digest.digest() for kind, digest in self._hashes.items()})
