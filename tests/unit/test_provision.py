"""Provisioning: what is declared, proved, healed and taken away; and how the newest log is found."""

import re
from collections.abc import Sequence

import pytest

from broker import provision
from broker.discovery import GENERATIONS_AHEAD_MAX, newest_generation
from broker.memory import MemoryAdmin, MemorySite
from broker.port import DisconnectedError, TopologyError, UnansweredError
from broker.provision import (
    REFUSALS_MIN,
    LogBrokenError,
    Provisioned,
    Site,
    provision_mirror,
    provision_site,
    remove_mirror,
    retire_generation,
    stale_bindings,
)
from broker.retention import DAY_S, Retention, Retentions
from broker.topology import load_stream, log_stream
from events.names import ChannelName, MirrorName
from events.routing import Binding

ANA = MirrorName("ana")
ISO, DOCS = ChannelName("iso"), ChannelName("docs")


@pytest.fixture(autouse=True)
def _in_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provision, "REFUSAL_PAUSE_S", 0.0)


@pytest.fixture
def site() -> MemorySite:
    return MemorySite()


@pytest.fixture
def admin(site: MemorySite) -> MemoryAdmin:
    return MemoryAdmin(site)


async def test_provisioning_a_site_twice_changes_nothing(admin: MemoryAdmin, site: MemorySite) -> None:
    assert await provision_site(admin, 1) == Site(generation=1, is_new=True, is_limited=True)
    before = {name: set(bindings) for name, bindings in site.bindings.items()}
    assert await provision_site(admin, 1, opened=True) == Site(generation=1, is_new=False, is_limited=True)
    assert site.bindings == before


async def test_a_log_that_was_opened_and_is_gone_is_not_made_again(admin: MemoryAdmin, site: MemorySite) -> None:
    with pytest.raises(LogBrokenError) as caught:
        await provision_site(admin, 3, opened=True)
    assert caught.value.next_generation == 4
    assert log_stream(3) not in site.queues


LESS = Retentions(log=Retention(age_s=7 * DAY_S, size_bytes=10**9), load=Retention(age_s=DAY_S, size_bytes=10**9))


async def test_a_log_that_is_there_is_limited_anew_by_a_policy_and_goes_on(
    admin: MemoryAdmin, site: MemorySite
) -> None:
    await provision_site(admin, 1)
    logged = site.queues[log_stream(1)]
    assert await provision_site(admin, 1, LESS, opened=True) == Site(generation=1, is_new=False, is_limited=True)
    assert site.queues[log_stream(1)] is logged
    policy = site.policies["distributary-log"]
    assert policy.definition == {"max-age": "604800s", "max-length-bytes": 10**9}
    assert re.search(policy.pattern, log_stream(12))
    assert not re.search(policy.pattern, load_stream(12))
    assert not re.search(policy.pattern, "mirror.log.g1")


async def test_without_policies_new_limits_wait_for_the_next_log(site: MemorySite) -> None:
    admin = MemoryAdmin(site, keeps_accounts=False)
    assert (await provision_site(admin, 1)).is_limited
    assert not (await provision_site(admin, 1, LESS, opened=True)).is_limited
    assert site.queues[log_stream(1)].arguments["x-max-age"] == "2592000s"
    assert (await provision_site(admin, 2, LESS)).is_limited
    assert site.queues[log_stream(2)].arguments["x-max-age"] == "604800s"
    assert site.queues[log_stream(2)].arguments["x-max-length-bytes"] == 10**9


class Faulty(MemoryAdmin):
    """Answers a question about a queue with the next of its faults, while there are any."""

    def __init__(self, site: MemorySite, queue: str, faults: Sequence[Exception]) -> None:
        super().__init__(site)
        self.queue, self.faults = queue, list(faults)

    async def prove(self, queue: str) -> None:
        if queue == self.queue and self.faults:
            raise self.faults.pop()
        await super().prove(queue)


@pytest.mark.parametrize("opened", [True, False])
async def test_a_ruined_log_calls_for_the_next_generation(admin: MemoryAdmin, site: MemorySite, opened: bool) -> None:
    await provision_site(admin, 1)
    site.broken.add(log_stream(1))
    with pytest.raises(LogBrokenError) as caught:
        await provision_site(admin, 1, opened=opened)
    assert (await provision_site(admin, caught.value.next_generation)).is_new


async def test_a_log_that_is_silent_is_asked_again_and_not_given_up(site: MemorySite) -> None:
    await provision_site(MemoryAdmin(site), 1)
    silent = Faulty(site, log_stream(1), [UnansweredError("silent")] * REFUSALS_MIN)
    for _ in range(REFUSALS_MIN):
        with pytest.raises(DisconnectedError):
            await provision_site(silent, 1, opened=True)
    assert (await provision_site(silent, 1, opened=True)).generation == 1


async def test_a_log_is_given_up_only_when_it_is_refused_again_and_again(site: MemorySite) -> None:
    await provision_site(MemoryAdmin(site), 1)
    refusals = [TopologyError("inaccessible")] * REFUSALS_MIN
    assert (await provision_site(Faulty(site, log_stream(1), refusals[1:]), 1, opened=True)).generation == 1
    with pytest.raises(LogBrokenError):
        await provision_site(Faulty(site, log_stream(1), refusals), 1, opened=True)


async def test_a_ruined_load_stream_is_made_anew_and_costs_the_log_nothing(
    admin: MemoryAdmin, site: MemorySite
) -> None:
    await provision_site(admin, 1)
    logged = site.queues[log_stream(1)]
    site.broken.add(load_stream(1))
    assert (await provision_site(admin, 1, opened=True)).generation == 1
    assert site.queues[log_stream(1)] is logged
    assert site.stream(load_stream(1)).length == 0


async def test_a_retired_log_takes_no_more_and_stays_to_be_read_to_its_end(
    admin: MemoryAdmin, site: MemorySite
) -> None:
    await provision_site(admin, 1)
    await retire_generation(admin, 1)
    assert await admin.exists(log_stream(1))
    assert not site.bindings[log_stream(1)]
    assert not site.bindings[load_stream(1)]


async def test_a_mirrors_queue_follows_its_channels_and_no_others(admin: MemoryAdmin, site: MemorySite) -> None:
    await provision_site(admin, 1)
    assert await provision_mirror(admin, ANA, (ISO, DOCS)) is Provisioned.NEW
    assert await provision_mirror(admin, ANA, (DOCS,), previous_channels=(ISO, DOCS)) is Provisioned.KEPT
    patterns = {bound.pattern for bound in site.bindings["mirror.ana"]}
    assert "file.docs.#" in patterns
    assert "file.iso.#" not in patterns


async def test_a_ruined_mirror_queue_is_made_anew_with_its_bindings(admin: MemoryAdmin, site: MemorySite) -> None:
    await provision_site(admin, 1)
    await provision_mirror(admin, ANA, (ISO,))
    bindings = set(site.bindings["mirror.ana"])
    site.broken.add("mirror.ana")
    assert await provision_mirror(admin, ANA, (ISO,)) is Provisioned.HEALED
    assert site.bindings["mirror.ana"] == bindings
    assert await provision_mirror(admin, ANA, (ISO,)) is Provisioned.KEPT


async def test_a_queue_with_other_arguments_is_made_anew(admin: MemoryAdmin, site: MemorySite) -> None:
    await provision_site(admin, 1)
    await provision_mirror(admin, ANA, (ISO,))
    site.queues["mirror.ana"].arguments["x-max-length"] = 1
    assert await provision_mirror(admin, ANA, (ISO,)) is Provisioned.HEALED


async def test_an_account_is_made_where_accounts_are_kept(site: MemorySite) -> None:
    await provision_site(MemoryAdmin(site), 1)
    await provision_mirror(MemoryAdmin(site, keeps_accounts=False), ANA, (ISO,), password="p")
    assert site.accounts == {}
    await provision_mirror(MemoryAdmin(site), ANA, (ISO,), password="p")
    assert list(site.accounts) == ["memory.ana"]


async def test_a_mirror_that_leaves_takes_its_queue_and_account_along(admin: MemoryAdmin, site: MemorySite) -> None:
    await provision_site(admin, 1)
    await provision_mirror(admin, ANA, (ISO,), password="p")
    await remove_mirror(admin, ANA)
    await remove_mirror(admin, ANA)
    assert "mirror.ana" not in site.queues
    assert site.accounts == {}


def test_only_bindings_of_channels_no_longer_followed_are_stale() -> None:
    assert stale_bindings(ANA, (DOCS,), (ISO, DOCS)) == [Binding("files", "file.iso.#")]
    assert stale_bindings(ANA, (ISO, DOCS), (ISO,)) == []


async def test_no_log_is_found_before_the_master_opened_one(admin: MemoryAdmin) -> None:
    assert await newest_generation(admin) is None


async def test_the_newest_sound_log_is_found_behind_ruined_and_missing_ones(
    admin: MemoryAdmin, site: MemorySite
) -> None:
    for generation in (1, 2, 5, 6):
        await provision_site(admin, generation)
    site.broken.update({log_stream(2), log_stream(6)})
    await retire_generation(admin, 1)
    assert await newest_generation(admin) == 5
    assert await newest_generation(admin, known=4) == 5


async def test_a_log_too_far_ahead_is_found_by_who_knows_where_to_begin(admin: MemoryAdmin) -> None:
    generation = GENERATIONS_AHEAD_MAX + 2
    await provision_site(admin, generation)
    assert await newest_generation(admin) is None
    assert await newest_generation(admin, known=generation - 1) == generation


async def test_a_generation_that_cannot_be_deleted_is_left_behind(site: MemorySite) -> None:
    class Stubborn(MemoryAdmin):
        async def delete_queue(self, queue: str) -> None:
            raise TopologyError(queue)

    await provision_site(MemoryAdmin(site), 1)
    site.broken.add(log_stream(1))
    await retire_generation(Stubborn(site), 1)
    assert log_stream(1) in site.queues
