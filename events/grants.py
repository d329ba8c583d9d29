"""A grant: leave for one visitor to download one file from one mirror, written into the URL as a token.

The token is the authority; the grant of the same ``grant_id`` in a ``downloads.granted`` batch is the notice. Either
may arrive first. It is authenticated with HMAC-SHA256 (RFC 2104, cut to 128 bits as RFC 2104 §5 allows) under a key
that belongs to one mirror and one key epoch, with the mirror's name inside the MAC: a mirror can forge grants only
for itself, and the theft of one mirror's key opens nothing else.

``/d/<token>/<file name>``: 132 characters of URL-safe base64 (RFC 4648 §5) without padding; the file name is for
the tools that save it and carries no authority.

The same token, marked as a peer's, lets one mirror fetch a content from another.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import struct
from collections.abc import Mapping
from enum import Enum
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final, NamedTuple, TypeAlias

from msgspec import Struct

from events.errors import ExpiredGrantError, ForeignGrantError, MalformedGrantError, OtherFamilyError
from events.names import Digest, MirrorName

IPAddress: TypeAlias = IPv4Address | IPv6Address

GRANT_ID_BYTES: Final = 16
KEY_BYTES: Final = 32
KEY_EPOCH_MAX: Final = 255  # a byte of the token; a rotation each month lasts for 21 years
ADDRESSES_REMEMBERED_MAX: Final = 1024  # of those who are here now; to work one out takes as long as to check a token
MINTERS_KEPT: Final = 16_384  # the keys of the largest fleet and of some rotations; 1 kB each
CLOCK_SKEW_S: Final = 30  # NTP keeps servers within a second; a friend's server may not run it well

# version and flags, key epoch, start by, finish by, size, grant id, sha256, bound bits, bound address (IPv6 or mapped)
_BODY: Final = struct.Struct(">BBIIQ16s32sB16s")
_GRANT_ID_AT: Final = struct.calcsize(">BBIIQ")
_VERSION: Final = 1
_PEER_FLAG: Final = 0x80
_MAC_BYTES: Final = 16
_TOKEN_BYTES: Final = _BODY.size + _MAC_BYTES
TOKEN_LENGTH: Final = _TOKEN_BYTES * 4 // 3  # 132: a multiple of three bytes needs no padding
_URL_SAFE: Final = bytes.maketrans(b"+/", b"-_")
_BLOCK_BYTES: Final = 64  # of SHA-256; a key is shorter
_INNER_PAD: Final = bytes(each ^ 0x36 for each in range(256))
_OUTER_PAD: Final = bytes(each ^ 0x5C for each in range(256))
_MAPPED_BITS: Final = 96
_IPV4_BITS: Final = 32
_MAPPED_PREFIX: Final = 0xFFFF  # ::ffff:0:0/96
_MAPPED: Final = _MAPPED_PREFIX << _IPV4_BITS
_MAPPED_START: Final = (_MAPPED >> _IPV4_BITS).to_bytes(_MAPPED_BITS // 8)
_ADDRESS_BITS: Final = 128


class Binding(Enum):
    """How many bits of a visitor's address a grant is bound to: of IPv4, of IPv6."""

    STRICT = (32, 64)  # an address; temporary ones (RFC 8981) change inside a /64
    PREFIX = (24, 56)  # what carriers and offices spread their visitors over
    OFF = (0, 0)

    def __init__(self, ipv4_bits: int, ipv6_bits: int) -> None:
        self.ipv4_bits, self.ipv6_bits = ipv4_bits, ipv6_bits


class Claim(NamedTuple):
    """The addresses of the other family that a grant is bound to as well, once its visitor came from one of them."""

    address: IPv6Address
    prefix_bits: int


class Bound(Struct, frozen=True, gc=False):
    """What a token says that it is bound to: an IPv6 or IPv4-mapped address, masked, and how many bits of it count."""

    packed: bytes
    prefix_bits: int


class Grant(Struct, frozen=True, kw_only=True):
    """What a token says. Times are seconds since the Unix epoch; sizes are bytes.

    The first byte must be asked for by ``start_by_s``; resuming is possible until ``finish_by_s``. The grant is
    bound to the first ``prefix_bits`` of ``address``, an IPv6 or IPv4-mapped address; 0 binds it to nobody. ``peer``
    marks a mirror's leave to fetch pieces; it opens nothing to visitors.
    """

    grant_id: bytes
    sha256: Digest
    size_bytes: int
    start_by_s: int
    finish_by_s: int
    address: IPv6Address
    prefix_bits: int
    key_epoch: int = 1
    peer: bool = False


def derive_key(secret: bytes, mirror: MirrorName, key_epoch: int) -> bytes:
    """Derive the key for one mirror and key epoch from the site's secret. The mirror is given the key alone."""
    return hmac.digest(secret, f"distributary grant|{mirror}|{key_epoch}".encode(), "sha256")


@lru_cache(maxsize=ADDRESSES_REMEMBERED_MAX)
def bind(address: IPAddress, binding: Binding = Binding.STRICT) -> Claim:
    """Give the address, mapped to IPv6 and masked, and the number of bits that a grant is bound to; 0 for nobody."""
    if binding is Binding.OFF:
        return Claim(IPv6Address(0), 0)
    if isinstance(address, IPv6Address) and address.ipv4_mapped is None:
        return Claim(_masked(address, binding.ipv6_bits), binding.ipv6_bits)
    prefix_bits = _MAPPED_BITS + binding.ipv4_bits
    return Claim(_masked(_mapped(address), prefix_bits), prefix_bits)


def bound_of(address: IPAddress, binding: Binding = Binding.STRICT) -> Bound:
    """Give what ``bind`` gives, as a token says it, and sooner for the most: IPv4 visitors bound strictly."""
    if binding is Binding.STRICT and isinstance(address, IPv4Address):
        return bound_to(address.packed)
    bound, prefix_bits = bind(address, binding)
    return Bound(bound.packed, prefix_bits)


def bound_to(packed: bytes) -> Bound:
    """Give what binds a grant to one IPv4 address, the four bytes of which these are."""
    return Bound(_MAPPED_START + packed, _ADDRESS_BITS)


class Minter:
    """Mints tokens for one mirror under one key: what is the same in all their MACs is hashed once (RFC 2104 §4)."""

    __slots__ = ("_inner", "_outer")

    def __init__(self, mirror: MirrorName, key: bytes) -> None:
        block = key.ljust(_BLOCK_BYTES, b"\0")
        self._inner = hashlib.sha256(block.translate(_INNER_PAD))
        self._inner.update(b"distributary-grant/1|" + mirror.encode("ascii") + b"|")
        self._outer = hashlib.sha256(block.translate(_OUTER_PAD))

    def token(
        self,
        *,
        grant_id: bytes,
        sha256: Digest,
        size_bytes: int,
        start_by_s: int,
        finish_by_s: int,
        bound: Bound,
        key_epoch: int,
        peer: bool = False,
    ) -> bytes:
        """Write a token; what it says is what a ``Grant`` does. ``key_epoch`` is that of the key."""
        head = _VERSION | _PEER_FLAG if peer else _VERSION
        bits, packed = bound.prefix_bits, bound.packed
        body = _BODY.pack(head, key_epoch, start_by_s, finish_by_s, size_bytes, grant_id, sha256, bits, packed)
        return binascii.b2a_base64(body + self.mac(body), newline=False).translate(_URL_SAFE)

    def mac(self, body: bytes) -> bytes:
        """Give HMAC-SHA256 of ``distributary-grant/1|<mirror>|<body>``, cut."""
        inner, outer = self._inner.copy(), self._outer.copy()
        inner.update(body)
        outer.update(inner.digest())
        return outer.digest()[:_MAC_BYTES]


@lru_cache(maxsize=MINTERS_KEPT)
def minter_of(mirror: MirrorName, key: bytes) -> Minter:
    """Give who mints for a mirror under a key."""
    return Minter(mirror, key)


def mint(grant: Grant, *, mirror: MirrorName, key: bytes) -> str:
    """Write a grant as a token for this mirror alone."""
    token = minter_of(mirror, key).token(
        grant_id=grant.grant_id,
        sha256=grant.sha256,
        size_bytes=grant.size_bytes,
        start_by_s=grant.start_by_s,
        finish_by_s=grant.finish_by_s,
        bound=Bound(grant.address.packed, grant.prefix_bits),
        key_epoch=grant.key_epoch,
        peer=grant.peer,
    )
    return token.decode("ascii")


def read(token: str, *, mirror: MirrorName, keys: Mapping[int, bytes]) -> Grant:
    """Read a token and prove that it was minted for this mirror under one of these keys (by key epoch).

    Raises:
        MalformedGrantError: not exactly as minted: altered, cut, spelt otherwise, for another mirror or epoch.
    """
    raw = _canonical_bytes(token)
    body, mac = raw[: _BODY.size], raw[_BODY.size :]
    head, key_epoch, start_by_s, finish_by_s, size, grant_id, sha256, prefix_bits, address = _BODY.unpack(body)
    # An unknown epoch costs the same time as a wrong MAC.
    key = keys.get(key_epoch, bytes(KEY_BYTES))
    authentic = hmac.compare_digest(mac, minter_of(mirror, key).mac(body))
    if not authentic or key_epoch not in keys or head & ~_PEER_FLAG != _VERSION:
        raise MalformedGrantError("not a token for this mirror")
    return Grant(
        grant_id=grant_id,
        sha256=Digest(sha256),
        size_bytes=size,
        start_by_s=start_by_s,
        finish_by_s=finish_by_s,
        address=IPv6Address(address),
        prefix_bits=prefix_bits,
        key_epoch=key_epoch,
        peer=bool(head & _PEER_FLAG),
    )


def grant_id_of(token: str) -> bytes:
    """Read a token's grant id without proof: to speak of a grant, never to serve under it.

    Raises:
        MalformedGrantError: no token, whoever wrote it.
    """
    raw = _canonical_bytes(token)
    return raw[_GRANT_ID_AT : _GRANT_ID_AT + GRANT_ID_BYTES]


def check(grant: Grant, *, address: IPAddress, now_s: float, started: bool, claimed: Claim | None = None) -> None:
    """Check that a proven grant holds for this visitor at this moment.

    Args:
        grant: what the token says.
        address: where the visitor comes from.
        now_s: the Unix time.
        started: whether this mirror already sent bytes under the grant; then ``finish_by_s`` counts.
        claimed: what the other address family has claimed of this grant already (``claim_of``), if anything.

    Raises:
        OtherFamilyError: the visitor comes by the other address family, for which nobody has claimed the grant yet. He
            may claim it, once: check again with that claim.
        ForeignGrantError: the visitor's address is not one that the grant is bound to.
        ExpiredGrantError: too late to start, or to go on.
    """
    _check_address(grant, _mapped(address), claimed)
    deadline_s = grant.finish_by_s if started else grant.start_by_s
    if now_s > deadline_s + CLOCK_SKEW_S:
        raise ExpiredGrantError(f"this link ended {now_s - deadline_s:.0f} s ago")


def check_or_claim(
    grant: Grant, *, address: IPAddress, now_s: float, started: bool, claimed: Claim | None
) -> Claim | None:
    """Check as ``check`` does, and let the first visitor of the other address family claim the grant.

    Gives the claim that holds from now on: another than ``claimed`` where this visitor has just made it.

    Raises:
        ForeignGrantError, ExpiredGrantError: see ``check``.
    """
    try:
        check(grant, address=address, now_s=now_s, started=started, claimed=claimed)
    except OtherFamilyError:
        claimed = claim_of(grant, address)
        check(grant, address=address, now_s=now_s, started=started, claimed=claimed)
    return claimed


def claim_of(grant: Grant, address: IPAddress) -> Claim:
    """Give what a visitor of the other address family claims of a grant: as closely bound as the grant itself is."""
    bits = grant.prefix_bits - _MAPPED_BITS if grant.address.ipv4_mapped is not None else grant.prefix_bits
    return bind(address, next(each for each in Binding if bits in (each.ipv4_bits, each.ipv6_bits)))


@lru_cache(maxsize=ADDRESSES_REMEMBERED_MAX)
def normalise(address: str) -> IPAddress:
    """Read an address and turn an IPv4-mapped IPv6 one into IPv4.

    Raises:
        ValueError: not an address.
    """
    parsed = ip_address(address)
    if isinstance(parsed, IPv6Address) and parsed.ipv4_mapped is not None:
        return parsed.ipv4_mapped
    return parsed


def text_of(address: IPAddress) -> str:
    """Write an address as ``str`` does, in a quarter of the time for IPv4."""
    return str(address) if isinstance(address, IPv6Address) else ".".join(map(str, address.packed))


def _canonical_bytes(token: str) -> bytes:
    """Decode the one spelling that ``mint`` writes. Other alphabets, padding and lengths are refused."""
    if len(token) != TOKEN_LENGTH:
        raise MalformedGrantError("a token has another length")
    try:
        raw = base64.b64decode(token.encode("ascii"), altchars=b"-_", validate=True)
    except (UnicodeEncodeError, binascii.Error) as error:
        raise MalformedGrantError("a token has another alphabet") from error
    if base64.urlsafe_b64encode(raw).decode("ascii") != token:
        raise MalformedGrantError("a token has one spelling only")
    return raw


def _check_address(grant: Grant, address: IPv6Address, claimed: Claim | None) -> None:
    if grant.prefix_bits == 0 or _is_within(address, grant.address, grant.prefix_bits):
        return
    if claimed is not None and _is_within(address, claimed.address, claimed.prefix_bits):
        return
    if claimed is None and _is_mapped(int(address)) != _is_mapped(int(grant.address)):
        raise OtherFamilyError("this link was given to an address of the other family")
    raise ForeignGrantError("this link was given to another address")


def _is_within(address: IPv6Address, bound: IPv6Address, prefix_bits: int) -> bool:
    # ::/64, where ::1 is, holds the mapped address of every IPv4 visitor.
    one, other = int(address), int(bound)
    return (one ^ other) >> (_ADDRESS_BITS - prefix_bits) == 0 and _is_mapped(one) == _is_mapped(other)


def _is_mapped(address: int) -> bool:
    return address >> _IPV4_BITS == _MAPPED_PREFIX


@lru_cache(maxsize=ADDRESSES_REMEMBERED_MAX)
def _mapped(address: IPAddress) -> IPv6Address:
    return IPv6Address(_MAPPED | int(address)) if isinstance(address, IPv4Address) else address


def _masked(address: IPv6Address, prefix_bits: int) -> IPv6Address:
    dropped = _ADDRESS_BITS - prefix_bits
    if not dropped:
        return address
    return IPv6Address(int(address) >> dropped << dropped)
