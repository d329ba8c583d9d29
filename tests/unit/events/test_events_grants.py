"""Tokens: only the very one that was minted, for this mirror, this visitor and this moment."""

from __future__ import annotations

import base64
import hmac
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from events.errors import ExpiredGrantError, ForeignGrantError, GrantError, MalformedGrantError, OtherFamilyError
from events.grants import (
    CLOCK_SKEW_S,
    TOKEN_LENGTH,
    Binding,
    Bound,
    Grant,
    IPAddress,
    bind,
    bound_of,
    check,
    claim_of,
    derive_key,
    mint,
    normalise,
    read,
)
from events.names import Digest, MirrorName

ANA, BOB = MirrorName("ana"), MirrorName("bob")
SECRET = b"a site's secret of 32 bytes......"
KEY = derive_key(SECRET, ANA, 1)
KEYS = {1: KEY}
START_BY_S, FINISH_BY_S = 1_763_800_120, 1_763_806_600
ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


def granted(address: str = "203.0.113.9", *, key_epoch: int = 1, binding: Binding = Binding.STRICT) -> Grant:
    bound, prefix_bits = bind(ip_address(address), binding)
    return Grant(
        grant_id=bytes(range(16)),
        sha256=Digest(bytes(range(32))),
        size_bytes=658_505_728,
        start_by_s=START_BY_S,
        finish_by_s=FINISH_BY_S,
        address=bound,
        prefix_bits=prefix_bits,
        key_epoch=key_epoch,
    )


GRANT = granted()
TOKEN = mint(GRANT, mirror=ANA, key=KEY)


@given(st.ip_addresses(), st.sampled_from(Binding))
def test_what_a_token_is_bound_to_is_what_a_grant_is(address: IPAddress, binding: Binding) -> None:
    bound, prefix_bits = bind(address, binding)
    assert bound_of(address, binding) == Bound(bound.packed, prefix_bits)


@given(
    st.builds(
        Grant,
        grant_id=st.binary(min_size=16, max_size=16),
        sha256=st.binary(min_size=32, max_size=32).map(Digest),
        size_bytes=st.integers(0, 2**64 - 1),
        start_by_s=st.integers(0, 2**32 - 1),
        finish_by_s=st.integers(0, 2**32 - 1),
        address=st.ip_addresses(v=6),
        prefix_bits=st.integers(0, 128),
        key_epoch=st.integers(0, 255),
        peer=st.booleans(),
    )
)
def test_grant_is_read_back_as_it_was_minted(grant: Grant) -> None:
    token = mint(grant, mirror=ANA, key=KEY)
    assert len(token) == TOKEN_LENGTH
    assert set(token) <= set(ALPHABET)
    assert read(token, mirror=ANA, keys={grant.key_epoch: KEY}) == grant


@pytest.mark.parametrize("peer", [False, True], ids=["a visitor's", "a peer's"])
def test_every_flipped_bit_is_noticed(peer: bool) -> None:
    raw = base64.urlsafe_b64decode(mint(replace(GRANT, peer=peer), mirror=ANA, key=KEY))
    for bit in range(len(raw) * 8):
        flipped = bytearray(raw)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(MalformedGrantError):
            read(base64.urlsafe_b64encode(flipped).decode(), mirror=ANA, keys=KEYS)


@given(st.integers(0, TOKEN_LENGTH - 1), st.sampled_from(ALPHABET))
def test_every_other_letter_is_noticed(place: int, letter: str) -> None:
    if TOKEN[place] == letter:
        return
    with pytest.raises(MalformedGrantError):
        read(TOKEN[:place] + letter + TOKEN[place + 1 :], mirror=ANA, keys=KEYS)


@given(st.text() | st.text(alphabet=ALPHABET, min_size=TOKEN_LENGTH, max_size=TOKEN_LENGTH))
def test_any_text_is_no_token(text: str) -> None:
    with pytest.raises(MalformedGrantError):
        read(text, mirror=ANA, keys=KEYS)


SPELLINGS = {
    "empty": "",
    "cut": TOKEN[:-1],
    "cut by a group": TOKEN[:-4],
    "longer": TOKEN + "A",
    "padded": TOKEN + "====",
    "padded inside": TOKEN[:-1] + "=",
    "space before": " " + TOKEN[:-1],
    "line feed after": TOKEN[:-1] + "\n",
    "CR LF inside": TOKEN[:10] + "\r\n" + TOKEN[12:],
    "percent": TOKEN[:-3] + "%3D",
    "not ASCII": TOKEN[:-1] + "é",
    "full-width": TOKEN[:-1] + "\uff21",
}


@pytest.mark.parametrize("token", SPELLINGS.values(), ids=SPELLINGS.keys())
def test_token_in_another_spelling_is_refused(token: str) -> None:
    with pytest.raises(MalformedGrantError):
        read(token, mirror=ANA, keys=KEYS)


def test_token_in_the_other_base64_alphabet_is_refused() -> None:
    grants = (replace(GRANT, grant_id=bytes([n]) * 16) for n in range(256))
    tokens = (mint(grant, mirror=ANA, key=KEY) for grant in grants)
    token = next(token for token in tokens if "-" in token and "_" in token)
    for other in (token.replace("-", "+"), token.replace("_", "/")):
        with pytest.raises(MalformedGrantError):
            read(other, mirror=ANA, keys=KEYS)


def test_token_for_another_mirror_is_refused_even_under_the_same_key() -> None:
    with pytest.raises(MalformedGrantError):
        read(TOKEN, mirror=BOB, keys=KEYS)
    with pytest.raises(MalformedGrantError):
        read(TOKEN, mirror=BOB, keys={1: derive_key(SECRET, BOB, 1)})


def test_each_mirror_and_epoch_has_a_key_of_its_own() -> None:
    keys = {derive_key(SECRET, mirror, epoch) for mirror in (ANA, BOB) for epoch in (1, 2, 12)}
    assert len(keys) == 6
    assert derive_key(SECRET, MirrorName("ana1"), 2) != derive_key(SECRET, ANA, 12)


def test_token_of_an_unknown_epoch_is_refused() -> None:
    token = mint(granted(key_epoch=2), mirror=ANA, key=derive_key(SECRET, ANA, 2))
    with pytest.raises(MalformedGrantError):
        read(token, mirror=ANA, keys=KEYS)
    assert read(token, mirror=ANA, keys={**KEYS, 2: derive_key(SECRET, ANA, 2)}).key_epoch == 2


def test_token_under_the_key_that_stands_in_for_unknown_epochs_is_refused() -> None:
    with pytest.raises(MalformedGrantError):
        read(mint(granted(key_epoch=9), mirror=ANA, key=bytes(32)), mirror=ANA, keys=KEYS)


ADDRESSES = [
    pytest.param("203.0.113.9", "203.0.113.9", True, id="IPv4, the same"),
    pytest.param("203.0.113.9", "::ffff:203.0.113.9", True, id="IPv4, mapped"),
    pytest.param("::ffff:203.0.113.9", "203.0.113.9", True, id="mapped, IPv4"),
    pytest.param("203.0.113.9", "203.0.113.8", False, id="IPv4, the neighbour"),
    pytest.param("2001:db8:0:1::9", "2001:db8:0:1:ffff::1", True, id="IPv6, in the same /64"),
    pytest.param("2001:db8:0:1::9", "2001:db8:0:2::9", False, id="IPv6, the neighbouring /64"),
    pytest.param("fe80::1", "fe80::1%eth0", True, id="IPv6, with a zone"),
]


@pytest.mark.parametrize(("bound", "visitor", "holds"), ADDRESSES)
def test_grant_holds_for_its_visitor_alone(bound: str, visitor: str, holds: bool) -> None:
    grant = read(mint(granted(bound), mirror=ANA, key=KEY), mirror=ANA, keys=KEYS)
    if holds:
        check(grant, address=ip_address(visitor), now_s=START_BY_S, started=False)
    else:
        with pytest.raises(ForeignGrantError):
            check(grant, address=ip_address(visitor), now_s=START_BY_S, started=False)


BINDINGS = [
    pytest.param(Binding.PREFIX, "203.0.113.9", "203.0.113.200", True, id="IPv4, in the same /24"),
    pytest.param(Binding.PREFIX, "203.0.113.9", "203.0.112.9", False, id="IPv4, the neighbouring /24"),
    pytest.param(Binding.PREFIX, "2001:db8:0:1::9", "2001:db8:0:ff::1", True, id="IPv6, in the same /56"),
    pytest.param(Binding.PREFIX, "2001:db8:0:1::9", "2001:db8:0:100::9", False, id="IPv6, the neighbouring /56"),
    pytest.param(Binding.OFF, "203.0.113.9", "192.0.2.1", True, id="nobody's, IPv4"),
    pytest.param(Binding.OFF, "203.0.113.9", "2001:db8::9", True, id="nobody's, by the other family"),
]


@pytest.mark.parametrize(("binding", "bound", "visitor", "holds"), BINDINGS)
def test_channel_may_bind_its_links_more_loosely(binding: Binding, bound: str, visitor: str, holds: bool) -> None:
    grant = read(mint(granted(bound, binding=binding), mirror=ANA, key=KEY), mirror=ANA, keys=KEYS)
    if holds:
        check(grant, address=ip_address(visitor), now_s=START_BY_S, started=False)
    else:
        with pytest.raises(ForeignGrantError):
            check(grant, address=ip_address(visitor), now_s=START_BY_S, started=False)


# bound, who claims, his neighbour under the same claim, the first of the family who is outside it
CLAIMS = [
    pytest.param(
        Binding.STRICT, "203.0.113.9", "2001:db8::9", "2001:db8::ffff", "2001:db8:0:1::9", id="IPv4, an IPv6 /64"
    ),
    pytest.param(
        Binding.STRICT, "2001:db8::9", "203.0.113.9", "::ffff:203.0.113.9", "203.0.113.8", id="IPv6, an IPv4 address"
    ),
    pytest.param(
        Binding.PREFIX, "203.0.113.9", "2001:db8::9", "2001:db8:0:ff::1", "2001:db8:0:100::9", id="IPv4, an IPv6 /56"
    ),
    pytest.param(Binding.PREFIX, "2001:db8::9", "203.0.113.9", "203.0.113.200", "203.0.112.9", id="IPv6, an IPv4 /24"),
    pytest.param(
        Binding.STRICT, "::203.0.113.9", "203.0.113.9", "203.0.113.9", "203.0.113.8", id="IPv4-compatible is IPv6"
    ),
]


@pytest.mark.parametrize(("binding", "bound", "claimant", "neighbour", "second"), CLAIMS)
def test_other_family_may_claim_a_grant_once(
    binding: Binding, bound: str, claimant: str, neighbour: str, second: str
) -> None:
    grant = read(mint(granted(bound, binding=binding), mirror=ANA, key=KEY), mirror=ANA, keys=KEYS)
    with pytest.raises(OtherFamilyError):
        check(grant, address=ip_address(claimant), now_s=START_BY_S, started=False)
    claimed = claim_of(grant, ip_address(claimant))
    for address in (bound, claimant, neighbour):
        check(grant, address=ip_address(address), now_s=START_BY_S, started=False, claimed=claimed)
    with pytest.raises(ForeignGrantError) as refused:
        check(grant, address=ip_address(second), now_s=START_BY_S, started=False, claimed=claimed)
    assert not isinstance(refused.value, OtherFamilyError)


def test_claim_opens_nothing_to_a_stranger_of_the_first_family() -> None:
    claimed = claim_of(GRANT, ip_address("2001:db8::9"))
    with pytest.raises(ForeignGrantError) as refused:
        check(GRANT, address=ip_address("203.0.113.8"), now_s=START_BY_S, started=False, claimed=claimed)
    assert not isinstance(refused.value, OtherFamilyError)


def test_claimed_grant_ends_when_it_would_have() -> None:
    claimant = ip_address("2001:db8::9")
    claimed = claim_of(GRANT, claimant)
    with pytest.raises(ExpiredGrantError):
        check(GRANT, address=claimant, now_s=START_BY_S + CLOCK_SKEW_S + 1, started=False, claimed=claimed)


@given(st.sampled_from([Binding.STRICT, Binding.PREFIX]), st.ip_addresses(v=4), st.ip_addresses(v=6), st.booleans())
def test_claim_is_as_close_as_the_grant(binding: Binding, ipv4: IPAddress, ipv6: IPAddress, turned: bool) -> None:
    ipv6 = normalise(str(ipv6))
    if ipv6.version == 4:
        return
    first, other = (ipv6, ipv4) if turned else (ipv4, ipv6)
    assert claim_of(granted(str(first), binding=binding), other) == bind(other, binding)


@given(st.ip_addresses())
def test_grant_that_is_bound_to_nobody_holds_for_everybody(address: IPAddress) -> None:
    check(replace(GRANT, prefix_bits=0), address=address, now_s=START_BY_S, started=False)


@given(st.ip_addresses())
def test_grant_holds_for_the_address_it_was_bound_to(address: IPAddress) -> None:
    bound, prefix_bits = bind(address)
    check(replace(GRANT, address=bound, prefix_bits=prefix_bits), address=address, now_s=START_BY_S, started=False)


MOMENTS = [
    pytest.param(START_BY_S, False, True, id="in time"),
    pytest.param(START_BY_S + CLOCK_SKEW_S, False, True, id="late by what clocks may differ"),
    pytest.param(START_BY_S + CLOCK_SKEW_S + 1, False, False, id="too late to start"),
    pytest.param(START_BY_S + CLOCK_SKEW_S + 1, True, True, id="late, but started"),
    pytest.param(FINISH_BY_S + CLOCK_SKEW_S, True, True, id="resuming at the last moment"),
    pytest.param(FINISH_BY_S + CLOCK_SKEW_S + 1, True, False, id="too late to resume"),
    pytest.param(0, False, True, id="a clock far behind"),
]


@pytest.mark.parametrize(("now_s", "started", "holds"), MOMENTS)
def test_grant_holds_until_its_moment(now_s: float, started: bool, holds: bool) -> None:
    if holds:
        check(GRANT, address=ip_address("203.0.113.9"), now_s=now_s, started=started)
    else:
        with pytest.raises(ExpiredGrantError):
            check(GRANT, address=ip_address("203.0.113.9"), now_s=now_s, started=started)


def test_foreign_visitor_learns_nothing_of_the_moment() -> None:
    with pytest.raises(ForeignGrantError):
        check(GRANT, address=ip_address("192.0.2.1"), now_s=FINISH_BY_S * 2, started=False)
    assert issubclass(ForeignGrantError, GrantError)


@pytest.mark.parametrize("text", ["", "localhost", "1.2.3", "1.2.3.4:80", "[::1]", "0x7f000001", "010.0.0.1"])
def test_text_that_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="address"):
        normalise(text)


def test_mapped_address_becomes_ipv4() -> None:
    assert normalise("::ffff:192.0.2.1") == ip_address("192.0.2.1")


@given(secret=st.binary(min_size=32, max_size=32), mirror=st.from_regex(r"[a-z0-9][a-z0-9-]{0,30}", fullmatch=True))
def test_token_is_authenticated_by_hmac_as_it_is_written_down(secret: bytes, mirror: str) -> None:
    name = MirrorName(mirror)
    key = derive_key(secret, name, 1)
    raw = base64.urlsafe_b64decode(mint(granted(), mirror=name, key=key))
    body, mac = raw[:-16], raw[-16:]
    assert mac == hmac.digest(key, b"distributary-grant/1|" + name.encode() + b"|" + body, "sha256")[:16]
