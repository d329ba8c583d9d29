"""A selector follows the log through its generations, and waits for one that tells all."""

from __future__ import annotations

from typing import TYPE_CHECKING

from broker.provision import provision_site
from broker.topology import log_stream

if TYPE_CHECKING:
    from conftest import Selector, Site


async def test_selector_that_has_not_caught_up_says_what_it_awaits_and_sends_nobody_to_a_404(
    memory_site: Site,
) -> None:
    await memory_site.said.published("a.iso")
    await memory_site.admin.delete_queue(log_stream(1))
    async with memory_site.unready_selector() as selector:

        async def told() -> bool:
            answer = await selector.ask("/-/readyz")
            return not answer["ready"] and "there is no log" in str(answer["checks"])

        await selector.until(told)
        assert (await selector.visit("/-/livez")).status == 200
        assert (await selector.visit("/-/readyz")).status == 503
        for page in ("/a.iso", "/-/api/v1/files", "/-/api/v1/mirrors", "/-/api/v1/where?path=a.iso"):
            answer = await selector.visit(page)
            assert (answer.status, answer.headers["Retry-After"]) == (503, "5")
        assert not selector.ready.done()


async def test_new_generation_of_the_log_is_followed_and_what_is_said_again_holds(site: Site) -> None:
    await site.said.published("a.iso")
    await site.said.serving("ana", "a.iso")
    async with site.selector() as selector:
        await selector.until_chosen("a.iso", "ana")
        await provision_site(site.admin, 2)
        since = site.said.next_number
        await site.said.log_opened(2)
        await selector.until(lambda: follows(selector, 2))
        assert not (await selector.ask("/-/api/v1/status"))["log"]["caught_up"]
        assert (await selector.visit("/a.iso")).status == 302  # the last view holds until the master has said its own
        await site.admin.delete_queue(log_stream(1))
        await site.said.published("a.iso")
        await site.said.serving("ana", "a.iso")
        await site.said.restated(2, since=since)
        await selector.until(lambda: caught_up(selector))
        await selector.until_chosen("a.iso", "ana")


async def follows(selector: Selector, generation: int) -> bool:
    return (await selector.ask("/-/api/v1/status"))["log"]["generation"] == generation


async def caught_up(selector: Selector) -> bool:
    return (await selector.ask("/-/api/v1/status"))["log"]["caught_up"]


async def answers(selector: Selector, path: str, status: int) -> bool:
    return (await selector.visit(path)).status == status


async def test_withdrawal_that_was_lost_with_its_log_is_learnt_from_the_restatement(memory_site: Site) -> None:
    said = memory_site.said
    await said.published("a.iso")
    await said.published("b.iso")
    async with memory_site.selector() as selector:
        assert (await selector.visit("/a.iso")).status == 302
        await memory_site.admin.delete_queue(log_stream(1))
        said.withdraws_unheard("a.iso")
        await provision_site(memory_site.admin, 2)
        since = said.next_number
        await said.log_opened(2)
        await said.published("b.iso")
        await said.restated(2, since=since)
        await selector.until(lambda: answers(selector, "/a.iso", 404))
        assert (await selector.visit("/b.iso")).status == 302


async def test_selector_is_not_ready_before_a_new_log_tells_the_whole_catalogue(memory_site: Site) -> None:
    said = memory_site.said
    await memory_site.admin.delete_queue(log_stream(1))
    await provision_site(memory_site.admin, 2)
    since = said.next_number
    await said.log_opened(2)
    async with memory_site.unready_selector() as selector:

        async def awaits_the_master() -> bool:
            return "awaiting the master" in str(await selector.ask("/-/readyz"))

        await selector.until(awaits_the_master)
        await said.published("a.iso")
        assert not selector.ready.done()
        await said.restated(2, since=since)
        await selector.ready
        assert (await selector.visit("/a.iso")).status == 302


async def test_lost_log_is_looked_for_until_there_is_one_again(memory_site: Site) -> None:
    await memory_site.said.published("a.iso")
    async with memory_site.selector() as selector:
        await memory_site.admin.delete_queue(log_stream(1))

        async def noticed() -> bool:
            health = await selector.ask("/-/readyz")
            return health["ready"] and health["degraded"]

        await selector.until(noticed)
        assert (await selector.visit("/a.iso")).status == 302
        await provision_site(memory_site.admin, 2)
        await memory_site.said.log_opened(2)
        await memory_site.said.published("b.iso")
        await selector.until(lambda: answers(selector, "/b.iso", 302))
        assert (await selector.visit("/a.iso")).status == 302
