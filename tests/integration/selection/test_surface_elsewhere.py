"""Who asks as if he were elsewhere is sent near there, and is no other than he is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from events.envelope import MASTER_SOURCE
from events.names import MirrorName
from events.schemas import DownloadsGranted, MirrorRuled, Reach

if TYPE_CHECKING:
    from conftest import Selector, Site

GERMAN: Final = "141.20.1.1"
PORTUGUESE: Final = "193.136.1.1"
ELSEWHERE: Final = ["country=pt", f"fromip={PORTUGUESE}", "country=pt&mirror=ana"]


async def sends_to(selector: Selector, address: str, mirror: str) -> bool:
    answer = await selector.visit("/a.iso", method="HEAD", headers={"X-Forwarded-For": address})
    return answer.headers.get("Location", "").startswith(f"http://{mirror}.example/")


async def test_mirror_for_one_country_takes_nobody_who_only_says_that_he_is_there(memory_site: Site) -> None:
    await memory_site.said.published("a.iso")
    await memory_site.said.serving("ana", "a.iso")
    await memory_site.said.say(
        MASTER_SOURCE, MirrorRuled(mirror=MirrorName("ana"), reach=Reach(countries_only=("PT",)))
    )
    async with memory_site.logged(DownloadsGranted) as said:
        async with memory_site.selector() as selector:
            await selector.until(lambda: sends_to(selector, PORTUGUESE, "ana"))
            await selector.until(lambda: sends_to(selector, GERMAN, "master"))
            for query in ELSEWHERE:
                assert await selector.sent_to(f"/a.iso?{query}", GERMAN) == "master"
                listed = await selector.visit(f"/a.iso?mirrorlist&{query}", headers={"X-Forwarded-For": GERMAN})
                assert "ana.example/d/" not in await listed.text()

            async def is_said() -> bool:
                return bool(said)

            await selector.until(is_said)
        (granted,) = (one for each in said for one in each.grants)
        assert (granted.address, granted.country) == (GERMAN, "DE")
