"""How long the streams may be told to keep what is in them."""

from __future__ import annotations

import pytest

from broker.retention import DAY_S, Retention, Retentions
from broker.topology import site_topology

LOG, LOAD = Retentions().log, Retentions().load
LOAD_SHORT = Retention(age_s=3600, size_bytes=LOAD.size_bytes)


def test_what_nobody_configured_is_right() -> None:
    assert Retentions().problems() == []


@pytest.mark.parametrize(
    ("retentions", "named"),
    [
        (Retentions(log=Retention(age_s=DAY_S - 1, size_bytes=LOG.size_bytes), load=LOAD_SHORT), "log_age"),
        (Retentions(log=Retention(age_s=LOG.age_s, size_bytes=199_999_999)), "log_size"),
        (Retentions(load=Retention(age_s=3599, size_bytes=LOAD.size_bytes)), "load_age"),
        (Retentions(load=Retention(age_s=LOAD.age_s, size_bytes=99_999_999)), "load_size"),
        (Retentions(load=Retention(age_s=LOG.age_s + 1, size_bytes=LOAD.size_bytes)), "load_age"),
    ],
)
def test_what_segments_cannot_hold_or_readers_need_is_refused_by_its_name(retentions: Retentions, named: str) -> None:
    (problem,) = retentions.problems()
    assert problem.startswith(f"{named} must ")


def test_all_problems_are_told_at_once() -> None:
    nothing = Retention(age_s=0, size_bytes=0)
    assert len(Retentions(log=nothing, load=nothing).problems()) == 4


def test_a_new_stream_is_declared_with_the_limits_that_a_policy_gives_to_old_ones() -> None:
    topology = site_topology(3, Retentions(log=Retention(age_s=2 * DAY_S, size_bytes=300_000_000)))
    log, load = topology.queues
    assert log.arguments == {
        "x-queue-type": "stream",
        "x-max-age": "172800s",
        "x-max-length-bytes": 300_000_000,
        "x-stream-max-segment-size-bytes": 20_000_000,
    }
    assert [policy.definition for policy in topology.policies] == [
        {"max-age": queue.arguments["x-max-age"], "max-length-bytes": queue.arguments["x-max-length-bytes"]}
        for queue in (log, load)
    ]
