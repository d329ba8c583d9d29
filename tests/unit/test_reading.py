"""Whose words are believed: accounts and the reading of deliveries."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.accounts import mirror_of_user, mirror_user
from broker.port import Delivery
from broker.reading import read_envelope
from broker.relay import message_of
from events.envelope import MASTER_SOURCE, Envelope, load_source, mirror_source, selector_source
from events.errors import ForgedEventError, UnknownEventTypeError, UnreadableEventError
from events.names import MirrorName, SelectorName
from events.schemas import Event, LoadReported, LogOpened, MirrorWentOffline, SelectorCameOnline

ANA, BOB = MirrorName("ana"), MirrorName("bob")
VHOST = "dist.example"
OFFLINE = MirrorWentOffline(mirror=ANA, reason="")
LOAD = LoadReported(mirror=ANA, slots=1, active=0, reserved=0, transmit_bytes_per_second=0)


def envelope(event: Event, source: str) -> Envelope:
    return Envelope(source=source, epoch=1, sequence=1, time_ns=0, traceparent="", event=event)


def delivered(
    written: Envelope, *, user_id: str, routing_key: str | None = None, body: bytes | None = None
) -> Delivery:
    message = message_of(written)
    return Delivery(
        exchange=message.exchange,
        routing_key=routing_key or message.routing_key,
        message_id=message.message_id,
        type=message.type,
        user_id=user_id,
        body=body or message.body,
    )


@pytest.mark.parametrize(
    ("event", "source", "user_id"),
    [
        pytest.param(OFFLINE, mirror_source(ANA), "dist.example.ana", id="a mirror for itself"),
        pytest.param(LOAD, load_source(ANA), "dist.example.ana", id="a mirror's telemetry"),
        pytest.param(OFFLINE, mirror_source(ANA), "guest", id="all roles share the site's user"),
        pytest.param(OFFLINE, mirror_source(ANA), "other.site.ana", id="a user of no mirror of this site"),
        pytest.param(LogOpened(generation=1), MASTER_SOURCE, "guest", id="the master"),
        pytest.param(
            SelectorCameOnline(selector=SelectorName("s")), selector_source(SelectorName("s")), "guest", id="a selector"
        ),
    ],
)
def test_who_may_say_it_is_believed(event: Event, source: str, user_id: str) -> None:
    written = envelope(event, source)
    assert read_envelope(delivered(written, user_id=user_id), vhost=VHOST) == written


@pytest.mark.parametrize(
    ("event", "source", "user_id"),
    [
        pytest.param(OFFLINE, mirror_source(ANA), "dist.example.bob", id="a mirror for another"),
        pytest.param(LOAD, load_source(ANA), "dist.example.bob", id="another's telemetry"),
        pytest.param(LogOpened(generation=1), MASTER_SOURCE, "dist.example.ana", id="a mirror as master"),
        pytest.param(OFFLINE, mirror_source(ANA), "", id="nobody says who wrote it"),
        pytest.param(OFFLINE, mirror_source(BOB), "dist.example.bob", id="a source that does not fit the event"),
    ],
)
def test_who_may_not_say_it_is_a_forger(event: Event, source: str, user_id: str) -> None:
    with pytest.raises(ForgedEventError):
        read_envelope(delivered(envelope(event, source), user_id=user_id), vhost=VHOST)


def test_an_event_at_another_address_is_forged() -> None:
    written = envelope(OFFLINE, mirror_source(ANA))
    misplaced = delivered(written, user_id="dist.example.bob", routing_key="mirror.bob.offline")
    with pytest.raises(ForgedEventError):
        read_envelope(misplaced, vhost=VHOST)


def test_bytes_that_are_no_event_are_unreadable() -> None:
    with pytest.raises(UnreadableEventError):
        read_envelope(delivered(envelope(OFFLINE, mirror_source(ANA)), user_id="guest", body=b"\xc1"), vhost=VHOST)


@pytest.mark.parametrize("user_id", ["guest", "dist.example.ana", "dist.example.bob", ""])
def test_who_knows_what_the_bytes_say_believes_no_other_speaker_by_that(user_id: str) -> None:
    written = envelope(OFFLINE, mirror_source(ANA))
    delivery = delivered(written, user_id=user_id, body=b"not looked at")
    if user_id in ("guest", "dist.example.ana"):
        assert read_envelope(delivery, vhost=VHOST, said=written) is written
    else:
        with pytest.raises(ForgedEventError):
            read_envelope(delivery, vhost=VHOST, said=written)


def test_who_knows_what_the_bytes_say_believes_them_at_their_own_address_alone() -> None:
    written = envelope(OFFLINE, mirror_source(ANA))
    with pytest.raises(ForgedEventError):
        read_envelope(delivered(written, user_id="guest", routing_key="mirror.bob.offline"), vhost=VHOST, said=written)


def test_an_event_of_a_newer_version_is_told_from_rubbish() -> None:
    written = delivered(envelope(OFFLINE, mirror_source(ANA)), user_id="guest")
    newer = delivered(
        envelope(OFFLINE, mirror_source(ANA)),
        user_id="guest",
        body=written.body.replace(b"mirror.offline/1", b"mirror.offline/9"),
    )
    with pytest.raises(UnknownEventTypeError) as caught:
        read_envelope(newer, vhost=VHOST)
    assert caught.value.tag == "mirror.offline/9"


names = st.from_regex(r"[a-z0-9][a-z0-9-]{0,30}", fullmatch=True).filter(lambda name: name != "origin")


@given(st.text(max_size=20), names)
def test_a_mirrors_user_name_is_read_back_under_any_virtual_host(vhost: str, name: str) -> None:
    assert mirror_of_user(mirror_user(vhost, MirrorName(name)), vhost=vhost) == name


@pytest.mark.parametrize("user", ["ana", "other.ana", "dist.example.", "dist.example.A", "dist.example.origin", ""])
def test_other_users_are_no_mirror_of_this_site(user: str) -> None:
    assert mirror_of_user(user, vhost=VHOST) is None
