"""Which trace a mirror holds to have led to what."""

from __future__ import annotations

import hashlib

from events.names import ChannelName, Digest, FilePath
from events.schemas import FilePublished
from events.trace import RANDOM_BYTES, TraceContext, root
from mirror.state.plan import Action, Catalogue, Drop, Fetch, Journal, Resync, Snapshot, plan
from mirror.state.traces import Traces

ISO = ChannelName("iso")


def trace(number: int) -> TraceContext:
    return root(number.to_bytes(RANDOM_BYTES, "big"))


def sha(text: str) -> Digest:
    return Digest(hashlib.sha256(text.encode()).digest())


def published(sequence: int, content: str) -> FilePublished:
    return FilePublished(
        channel=ISO,
        channel_sequence=sequence,
        path=FilePath("a"),
        generation=sequence,
        size_bytes=1,
        sha256=sha(content),
        media_type="application/zip",
    )


def traces_of(actions: list[Action]) -> dict[Digest, TraceContext | None]:
    found: dict[Digest, TraceContext | None] = {}
    for action in actions:
        match action:
            case Fetch():
                found[action.entry.sha256] = action.trace
            case Drop():
                found[action.sha256] = action.trace
            case Resync():
                pass
    return found


def holding_old() -> Catalogue:
    catalogue = Catalogue()
    catalogue.follow(ISO, Journal())
    catalogue.apply(published(1, "old"), Journal(), trace=trace(1))
    return catalogue


def test_a_new_generation_led_to_the_fetch_of_the_new_content_and_to_the_loss_of_the_old() -> None:
    catalogue, journal = holding_old(), Journal()
    catalogue.apply(published(2, "new"), journal, trace=trace(2))
    assert traces_of(plan(catalogue, journal, held={sha("old")})) == {sha("old"): trace(2), sha("new"): trace(2)}


def test_a_revoked_subscription_led_to_the_loss_of_what_only_it_held() -> None:
    catalogue, journal = holding_old(), Journal()
    catalogue.unfollow(ISO, journal, trace=trace(2))
    assert traces_of(plan(catalogue, journal, held={sha("old")})) == {sha("old"): trace(2)}


def test_what_a_snapshot_tells_has_no_trace() -> None:
    catalogue, journal = holding_old(), Journal()
    catalogue.replace(Snapshot(channel=ISO, epoch=1, sequence=3, entries=()), journal)
    assert traces_of(plan(catalogue, journal, held={sha("old")})) == {sha("old"): None}


def test_a_repeated_fact_leads_to_nothing() -> None:
    catalogue, journal = holding_old(), Journal()
    catalogue.apply(published(1, "old"), journal, trace=trace(2))
    assert journal.traces == {}


def test_the_trace_noted_longest_ago_gives_way() -> None:
    traces = Traces[str](count_max=2)
    for number, key in enumerate(["a", "b", "a", "c"]):
        traces.note(key, trace(number + 1))
    assert [traces.of(key) for key in "abc"] == [trace(3), None, trace(4)]


def test_what_nobody_knows_replaces_what_was_known() -> None:
    traces = Traces[str]()
    traces.note("a", trace(1))
    traces.note("a", None)
    assert traces.of("a") is None


def test_what_is_forgotten_is_gone() -> None:
    traces = Traces[str]()
    traces.note("a", trace(1))
    traces.forget("a")
    traces.forget("a")
    assert traces.of("a") is None
