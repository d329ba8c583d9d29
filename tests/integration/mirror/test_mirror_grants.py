"""A grant is leave for one download: for whom, how long, how much, until it is taken back; its token is a secret."""

from __future__ import annotations

import asyncio
import base64
import json
import random
import socket
import sys
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, urlsplit

import aiohttp
import pytest
from msgspec.structs import replace
from yarl import URL

from events.codec import encode
from events.grants import Binding, Grant, bind, derive_key, mint
from events.names import InvalidNameError, MirrorName, parse_digest
from events.schemas import DownloadOutcome, GrantClaimed, GrantsRevoked
from master.revoking import RevokedError
from mirror.content.objects import Objects

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Stage

CONTENT: Final = random.Random(1).randbytes(1_000_000)  # noqa: S311 - any bytes will do, but the same ones
LARGE: Final = random.Random(2).randbytes(32_000_000)  # noqa: S311 - as above
BACK: Final = "http://site.example/dir/a.iso?not=ana"
FIRST_BYTE: Final = {"Range": "bytes=0-0"}


def from_(address: str, **more: str) -> dict[str, str]:
    """Come from an address, as the trusted proxy tells."""
    return {"X-Forwarded-For": address, **more}


async def status_of(http: aiohttp.ClientSession, link: str, headers: dict[str, str] | None = None) -> int:
    async with http.get(link, headers=headers, allow_redirects=False) as response:
        await response.read()
        return response.status


async def test_a_token_with_any_bit_flipped_opens_nothing(stage: Stage) -> None:
    async with stage.running():
        link = stage.link(stage.grant(await stage.publish_ready("dir/a.iso", CONTENT)))
        token = link.split("/d/")[1].split("/")[0]
        raw = base64.urlsafe_b64decode(token)
        connector = aiohttp.TCPConnector(limit=8)
        async with aiohttp.ClientSession(connector=connector) as visitor:

            async def flipped(bit: int) -> int:
                altered = bytearray(raw)
                altered[bit // 8] ^= 1 << bit % 8
                return await status_of(visitor, link.replace(token, base64.urlsafe_b64encode(altered).decode()))

            assert {await flipped(bit) for bit in range(8 * len(raw))} == {404}
            assert await status_of(visitor, link, FIRST_BYTE) == 206


async def test_a_token_under_another_key_or_for_another_mirror_or_for_peers_opens_nothing(
    stage: Stage, http: aiohttp.ClientSession
) -> None:
    async with stage.running():
        grant = stage.grant(await stage.publish_ready("dir/a.iso", CONTENT))
        links = [
            stage.link(replace(grant, key_epoch=2), key=derive_key(b"s" * 32, MirrorName("ana"), 2)),
            stage.link(replace(grant, key_epoch=0), key=bytes(32)),
            stage.link(grant, mirror=MirrorName("bob")),
            stage.link(replace(grant, peer=True)),
        ]
        assert [await status_of(http, link) for link in links] == [404] * 4


async def test_the_other_address_family_claims_a_grant_once(stage: Stage, http: aiohttp.ClientSession) -> None:
    stage.reconfigure(trusted_proxies=("127.0.0.0/8",))
    async with stage.running():
        grant = stage.grant(await stage.publish_ready("dir/a.iso", CONTENT), address="203.0.113.9")
        link = stage.link(grant)
        addresses = [f"2001:db8:0:{number}::1" for number in range(1, 9)]
        found = await asyncio.gather(*(status_of(http, link, from_(each, **FIRST_BYTE)) for each in addresses))
        assert sorted(found) == [206] + [403] * 7, "the first of them, even when all come at once"
        winner = addresses[found.index(206)]
        assert await status_of(http, link, from_(winner.replace("::1", "::2"), **FIRST_BYTE)) == 206, "his whole /64"
        assert await status_of(http, link, from_("203.0.113.9", **FIRST_BYTE)) == 206, "and who it was given to"
        assert await status_of(http, link, from_("203.0.113.10", **FIRST_BYTE)) == 403
        (claimed,) = await stage.log.until(GrantClaimed)
        assert (claimed.grant_id, claimed.address) == (grant.grant_id, winner)


async def test_a_grant_that_ended_is_not_claimed(stage: Stage, http: aiohttp.ClientSession) -> None:
    async with stage.running():
        grant = stage.grant(await stage.publish_ready("dir/a.iso", CONTENT), address="2001:db8::1", start_in_s=-60)
        async with http.get(stage.link(grant), allow_redirects=False) as response:
            assert response.headers["Location"] == BACK
        await stage.status(http)
        assert stage.log.of(GrantClaimed) == []


@pytest.mark.parametrize(
    ("binding", "visitor", "status"),
    [
        pytest.param(Binding.PREFIX, "203.0.113.200", 206, id="a neighbour, where a prefix is enough"),
        pytest.param(Binding.PREFIX, "203.0.114.9", 403, id="somebody else, where a prefix is enough"),
        pytest.param(Binding.OFF, "198.51.100.1", 206, id="anybody, where no address counts"),
        pytest.param(Binding.OFF, "2001:db8::1", 206, id="anybody of the other family, where no address counts"),
    ],
)
async def test_the_channels_policy_decides_whose_address_will_do(
    stage: Stage, http: aiohttp.ClientSession, binding: Binding, visitor: str, status: int
) -> None:
    stage.reconfigure(trusted_proxies=("127.0.0.0/8",))
    async with stage.running():
        bound = bind(ip_address("203.0.113.9"), binding)
        grant = stage.grant(await stage.publish_ready("dir/a.iso", CONTENT))
        grant = replace(grant, address=bound.address, prefix_bits=bound.prefix_bits)
        assert await status_of(http, stage.link(grant), from_(visitor, **FIRST_BYTE)) == status


async def test_many_ranges_take_no_more_than_the_budget(stage: Stage, http: aiohttp.ClientSession) -> None:
    async with stage.running():
        link = stage.link(stage.grant(await stage.publish_ready("dir/a.iso", CONTENT)))
        taken = 0
        for _ in range(30):
            async with http.get(link, headers={"Range": "bytes=100000-199999"}, allow_redirects=False) as response:
                if response.status == 302:
                    break
                taken += len(await response.read())
        assert taken == 2 * len(CONTENT)


async def test_a_download_goes_on_after_the_time_to_start_and_leads_back_after_the_time_to_finish(
    stage: Stage, http: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with stage.running():
        event = await stage.publish_ready("dir/a.iso", CONTENT)
        begun = stage.grant(event, start_in_s=-1000)
        over = replace(begun, grant_id=bytes(16), finish_by_s=begun.start_by_s)
        late = replace(begun, grant_id=b"l" * 16)
        monkeypatch.setattr("events.grants.CLOCK_SKEW_S", 2000)  # the clock that all of it begins by
        for grant in (begun, over):
            assert await status_of(http, stage.link(grant), {"Range": "bytes=0-99"}) == 206
        monkeypatch.undo()
        rest = {"Range": "bytes=100-", "If-Range": f'"{event.sha256.hex()}"'}
        found = [await status_of(http, stage.link(grant), rest) for grant in (begun, over, late)]
        assert found == [206, 302, 302]


def revoked(grant: Grant, **which: object) -> GrantsRevoked:
    """Take back the grants that agree with ``which``; without it, this one."""
    return GrantsRevoked(
        revocation=1,
        start_by_s_max=grant.start_by_s,
        until_s=grant.finish_by_s,
        reason="a copyright claim",
        **(which or {"grant_id": grant.grant_id}),  # pyright: ignore[reportArgumentType] - the tests name fields
    )


async def test_a_revoked_download_is_cut_and_its_slot_is_free_at_once(
    stage: Stage, http: aiohttp.ClientSession
) -> None:
    stage.reconfigure(slots=1)
    async with stage.running():
        event = await stage.publish_ready("dir/a.iso", LARGE)
        grant = stage.grant(event)
        async with http.get(stage.link(grant)) as response:
            await response.content.readexactly(1000)
            await stage.say(revoked(grant))
            (aborted,) = await stage.log.until_told(DownloadOutcome.ABORTED)  # before a fast reader has it all
            with pytest.raises(aiohttp.ClientPayloadError):
                await response.read()
        assert (aborted.grant_id, aborted.reason) == (grant.grant_id, "a copyright claim")
        async with http.get(stage.link(grant)) as response:
            assert response.status == 403
            told = RevokedError()
            assert (await response.json())["error"] == {
                "code": told.code,
                "message": told.message,
                "hint": told.hint,
            }, "the master's own words, which keep the reason from visitors"
        assert await status_of(http, stage.link(stage.grant(event)), FIRST_BYTE) == 206, "the only slot is free"
    async with stage.running():
        assert await status_of(http, stage.link(grant)) == 403, "also after a restart"


@pytest.mark.parametrize("by", ["sha256", "network", "mirror"])
async def test_grants_are_revoked_by_content_network_and_mirror_and_later_ones_hold(
    stage: Stage, http: aiohttp.ClientSession, by: str
) -> None:
    async with stage.running():
        event = await stage.publish_ready("dir/a.iso", CONTENT)
        grant, later = stage.grant(event, start_in_s=30), stage.grant(event, start_in_s=60)
        which = {"sha256": event.sha256, "network": "127.0.0.0/8", "mirror": MirrorName("ana")}
        await stage.say(revoked(grant, **{by: which[by]}))
        async with asyncio.timeout(20):
            while await status_of(http, stage.link(grant), FIRST_BYTE) != 403:
                pass
        assert await status_of(http, stage.link(later), FIRST_BYTE) == 206


def _bytes_received(visitor: socket.socket) -> int:
    return int.from_bytes(visitor.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)[128:136], sys.byteorder)


@pytest.mark.parametrize("taken_bytes", [0, 300_000, 5_000_000, 20_000_000])
async def test_a_download_that_is_broken_off_is_counted_as_the_visitors_tcp_took_it(
    stage: Stage, taken_bytes: int
) -> None:
    async with stage.running():
        event = await stage.publish_ready("dir/a.iso", LARGE)
        parts = urlsplit(stage.link(stage.grant(event)))
        loop = asyncio.get_running_loop()
        with socket.socket() as visitor:
            visitor.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)  # lest the rest fit into the buffers
            visitor.setblocking(False)
            await loop.sock_connect(visitor, (parts.hostname, parts.port))
            await loop.sock_sendall(visitor, f"GET {parts.path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            left = max(taken_bytes, 1)
            while left > 0:
                left -= len(await loop.sock_recv(visitor, min(left, 1 << 20)))
            visitor.shutdown(socket.SHUT_RDWR)  # from here on its TCP takes nothing, and still tells what it took
            aborted = await stage.log.until_told(DownloadOutcome.ABORTED)
            received = _bytes_received(visitor)
        assert sum(one.sent_bytes for one in aborted) == pytest.approx(received, abs=1_000_000)


async def test_slots_return_to_zero_after_whatever_visitors_do(
    stage: Stage, http: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mirror.serving.slots.SLOT_KEPT_S", 0.05)
    stage.reconfigure(slots=10, monthly_bytes=300_000_000)
    dice = random.Random(7)  # noqa: S311 - not for secrets
    async with stage.running():
        event = await stage.publish_ready("dir/a.iso", LARGE)

        async def visit(take: int, manner: str) -> None:
            link, headers = stage.link(stage.grant(event)), {"Range": f"bytes={take}-"}
            try:
                async with asyncio.timeout(0.1 if manner == "is cancelled" else 20):
                    method = "HEAD" if manner == "looks" else "GET"
                    async with http.request(method, link, headers=headers, allow_redirects=False) as response:
                        if response.status == 206 and manner == "leaves":
                            await response.content.readexactly(min(take, 1000))
                        elif response.status == 206 and manner == "stays":
                            await response.read()
            except TimeoutError:
                assert manner == "is cancelled"

        manners = ("leaves", "stays", "looks", "is cancelled", "opens")
        visits = [visit(dice.randrange(len(LARGE) - 1), dice.choice(manners)) for _ in range(80)]
        await asyncio.gather(*visits)
        async with asyncio.timeout(20):
            while True:
                serves = (await stage.status(http))["serves"]
                if not (serves["active"] or serves["kept"] or serves["connections"]):
                    break
        month = (await stage.status(http))["month"]
        assert month["used_bytes"] + month["left_bytes"] == 300_000_000, "nothing stays promised"


def odd_names(dice: random.Random, count: int) -> list[str]:
    """Make names as somebody would who wants to get out of the store."""
    bits = ["..", "/", "%2e%2e", "%2f", "\\", "%00", "\0", "//", "obj", "tmp", "state.db", "control.json", "a" * 64]
    bits += [
        "0123456789abcdef" * 4,
        "%c0%ae",
        "\u2024\u2024",
        "\u202e",
        "~",
        ".",
        "A" * 64,
        "x" * 300,
        "/etc/passwd",
        "-",
        "d",
    ]
    return ["".join(dice.choices(bits, k=dice.randint(1, 5))) for _ in range(count)]


@pytest.mark.faults
def test_a_million_odd_names_never_leave_the_store(tmp_path: Path) -> None:
    objects, root = Objects(tmp_path), str(tmp_path / "obj") + "/"
    taken = 0
    for name in odd_names(random.Random(3), 1_000_000):  # noqa: S311 - not for secrets
        try:
            path = str(objects.path(parse_digest(name)))
        except InvalidNameError:
            continue
        taken += 1
        assert path.startswith(root)
        assert ".." not in path
        assert len(path) == len(root) + 6 + 64
    assert taken > 0, "some of them are digests"


async def test_thousands_of_odd_paths_get_nothing_over_http(stage: Stage) -> None:
    async with stage.running(), aiohttp.ClientSession() as visitor:
        event = await stage.publish_ready("dir/a.iso", CONTENT)
        token = mint(stage.grant(event), mirror=stage.config.name, key=stage.config.credentials.grant_keys[1])
        for number, name in enumerate(odd_names(random.Random(4), 2000)):  # noqa: S311 - not for secrets
            prefix = ("/d/", "/d/x/", "/-/peer/", f"/d/{token}/", "/", "/-/")[number % 6]
            url = URL(stage.url + prefix + quote(name, safe="/%\\~"), encoded=True)
            async with visitor.get(url, headers=FIRST_BYTE, allow_redirects=False) as response:
                if response.status == 206:
                    assert prefix.endswith(f"{token}/"), url
                    assert response.headers["ETag"] == f'"{event.sha256.hex()}"'
                else:
                    assert 400 <= response.status < 500, url


async def test_tokens_are_in_nothing_that_is_said_written_or_shown(
    stage: Stage, http: aiohttp.ClientSession, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    said: list[bytes] = []
    async with stage.running():
        event = await stage.publish_ready("dir/a.iso", CONTENT)
        good, revoked_one = stage.grant(event), stage.grant(event)
        await stage.say(revoked(revoked_one))
        links = [stage.link(good), stage.link(revoked_one), stage.link(stage.grant(event, start_in_s=-60))]
        links += [stage.link(stage.grant(event, address="203.0.113.9")), stage.link(good, mirror=MirrorName("bob"))]
        links += [stage.link(good) + "?not=bob", stage.link(good).replace("/d/", "/e/"), stage.link(good) + "/more"]
        for link in links:
            async with http.get(link, headers={"Referer": link}, allow_redirects=False) as response:
                assert response.status >= 300 or await response.read() == CONTENT
                assert response.status < 300 or response.headers.get("Referrer-Policy", "no-referrer") == "no-referrer"
                said += [b"" if response.status < 300 else await response.read(), repr(response.raw_headers).encode()]
        stage.object_path(event.sha256).unlink()
        await status_of(http, links[0])
        await stage.log.until_told(DownloadOutcome.FINISHED)
        said.append(json.dumps(await stage.status(http)).encode())
        async with http.get(f"{stage.url}/-/status") as response:
            said.append(await response.read())
        for page in ("readyz", "livez"):
            async with http.get(f"{stage.url}/-/{page}") as response:
                said.append(await response.read())
    said += [encode(envelope) for envelope in stage.log.envelopes + stage.load.envelopes]
    said += [each.read_bytes() for each in stage.config.data_folder.rglob("*") if each.is_file()]
    said += ["".join(capfd.readouterr()).encode(), caplog.text.encode()]
    for link in links:
        token = link.split("/d/" if "/d/" in link else "/e/")[1].split("/")[0]
        for form in (token.encode(), base64.urlsafe_b64decode(token)[-16:]):
            assert not [part[:200] for part in said if form in part]
