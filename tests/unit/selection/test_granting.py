"""Leave for one download: bound to one mirror, one content and one visitor, under the right key."""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING

import pytest

from events.errors import ForeignGrantError, MalformedGrantError
from events.grants import Binding, Grant, bind, check, derive_key, read
from events.names import ORIGIN, MirrorName
from events.revocation import revokes
from events.schemas import GrantsRevoked
from events.schemas.fields import TIMESTAMP_S_MAX
from events.terms import last_start_by_s
from events.trace import root, root_of
from selection.answering.granting import Keys, Terms, grant_for, notices_of, token_for
from selection.answering.visit import Visit, guest_of
from selection.places.place import Place
from selection.policy.visitor import Visitor
from selection.view.file import PublishedFile

if TYPE_CHECKING:
    from conftest import Story

ANA = MirrorName("ana")
TERMS = Terms(start_by_s=60, finish_within_s=3600, finish_bytes_per_second=50_000)
SECRET = b"s" * 32


def granted(
    file: PublishedFile,
    address: str = "203.0.113.9",
    *,
    now_s: float = 1000.0,
    binding: Binding = Binding.STRICT,
    key_epoch: int = 1,
    revoked_start_by_s: int = 0,
) -> Grant:
    return grant_for(
        file,
        bind(ip_address(address), binding),
        TERMS,
        now_s=now_s,
        grant_id=b"g" * 16,
        key_epoch=key_epoch,
        revoked_start_by_s=revoked_start_by_s,
    )


@pytest.mark.parametrize("mirror", [ANA, ORIGIN])
def test_token_is_for_one_mirror_one_content_and_one_visitor(story: Story, mirror: MirrorName) -> None:
    file = story.shown("a.iso", size_bytes=100_000_000)
    grant = granted(file, "203.0.113.9", now_s=1000.9)
    token = token_for(grant, mirror, Keys(SECRET))
    proven = read(token, mirror=mirror, keys={1: derive_key(SECRET, mirror, 1)})
    assert proven == grant
    assert (proven.start_by_s, proven.finish_by_s) == (1060, 1060 + 3600 + 2000)
    assert proven.sha256 == file.sha256
    check(proven, address=ip_address("203.0.113.9"), now_s=1050, started=False)


def test_token_is_minted_under_the_key_of_its_epoch(story: Story) -> None:
    file, keys = story.shown("a.iso"), Keys(SECRET)
    for key_epoch in (2, 1, 2):
        token = token_for(granted(file, key_epoch=key_epoch), ANA, keys)
        own = {key_epoch: derive_key(SECRET, ANA, key_epoch)}
        assert read(token, mirror=ANA, keys=own).key_epoch == key_epoch
        with pytest.raises(MalformedGrantError):
            read(token, mirror=ANA, keys={3 - key_epoch: derive_key(SECRET, ANA, 3 - key_epoch)})


@pytest.mark.parametrize("seconds_later", [0.0, 1.9, 30.0])
def test_link_that_is_given_after_a_revocation_is_not_taken_back_by_it(story: Story, seconds_later: float) -> None:
    file, now_s = story.shown("a.iso"), 1_000_000.0
    revoked = GrantsRevoked(
        revocation=1, start_by_s_max=last_start_by_s(now_s), until_s=2_000_000, reason="", sha256=file.sha256
    )
    assert revokes(revoked, granted(file, now_s=now_s), mirror=ANA)
    fresh = granted(file, now_s=now_s + seconds_later, revoked_start_by_s=revoked.start_by_s_max)
    assert not revokes(revoked, fresh, mirror=ANA)


def test_grant_is_bound_as_closely_as_it_is_asked_to_be(story: Story) -> None:
    file, neighbour, stranger = story.shown("a.iso"), ip_address("203.0.113.200"), ip_address("192.0.2.1")
    strict, prefix, off = (granted(file, binding=binding) for binding in Binding)
    check(prefix, address=neighbour, now_s=1050, started=False)
    check(off, address=stranger, now_s=1050, started=False)
    for grant, address in ((strict, neighbour), (prefix, stranger)):
        with pytest.raises(ForeignGrantError):
            check(grant, address=address, now_s=1050, started=False)


def test_enormous_file_is_granted_as_long_as_a_token_can_say(story: Story) -> None:
    file = story.shown("a.iso", size_bytes=2**62)
    grant = granted(file, "2001:db8::1")
    assert grant.finish_by_s == TIMESTAMP_S_MAX
    token_for(grant, ANA, Keys(SECRET))


def test_notice_says_who_was_given_leave_and_in_which_trace(story: Story) -> None:
    file, guest = story.shown("a.iso"), guest_of(Visitor(ip_address("203.0.113.9"), Place(country="PT")))
    traceparent = root(bytes(range(1, 25))).traceparent
    visit = Visit(file, guest, (), grant_id=b"g" * 16, at_ns=7, now_s=7e-9, heard_s=0.0)
    notice, untraced = notices_of([(visit, 1060, 4660, traceparent), (visit, 1060, 4660, "")])
    assert (notice.grant_id, notice.path, notice.sha256) == (b"g" * 16, "a.iso", file.sha256)
    assert (notice.generation, notice.size_bytes) == (file.generation, file.size_bytes)
    assert (notice.address, notice.country, notice.granted_at_ns) == ("203.0.113.9", "PT", 7)
    assert (notice.start_by_s, notice.finish_by_s) == (1060, 4660)
    assert notice.traceparent == traceparent
    assert untraced.traceparent == root_of(b"g" * 16)
