"""Where a mirror lets itself be led by the address that another one announced."""

from __future__ import annotations

import socket
from ipaddress import ip_network

import aiohttp
import pytest

from events.grants import normalise
from mirror.fetching.guard import ForbiddenUrlError, check_peer_url, is_allowed, peer_session

FORBIDDEN = {
    "127.0.0.1": "loopback",
    "127.255.255.254": "loopback, too",
    "0.0.0.0": "this host",  # noqa: S104 - it is to be refused
    "10.0.0.1": "private",
    "172.16.0.1": "private",
    "192.168.1.1": "private",
    "100.64.0.1": "carrier-grade NAT",
    "169.254.169.254": "cloud metadata",
    "192.0.0.170": "the IETF's own",
    "192.0.2.1": "for documents",
    "198.18.0.1": "benchmarks",
    "192.88.99.1": "6to4 relay",
    "224.0.0.1": "multicast",
    "239.255.255.250": "multicast",
    "240.0.0.1": "reserved",
    "255.255.255.255": "broadcast",
    "::": "unspecified",
    "::1": "loopback",
    "::127.0.0.1": "IPv4-compatible",
    "::ffff:127.0.0.1": "mapped loopback",
    "::ffff:10.0.0.1": "mapped private",
    "64:ff9b::7f00:1": "NAT64 of loopback",
    "64:ff9b::808:808": "NAT64 of anything",
    "64:ff9b:1::1": "NAT64 of a local network",
    "100::1": "discard",
    "2001::1": "Teredo",
    "2001:20::1": "ORCHID",
    "2001:db8::1": "for documents",
    "2002:7f00:1::": "6to4 of loopback",
    "2002:808:808::1": "6to4 of anything",
    "3fff::1": "for documents",
    "5f00::1": "segment routing",
    "fc00::1": "unique local",
    "fd12:3456::1": "unique local",
    "fe80::1": "link-local",
    "fec0::1": "site-local",
    "ff02::1": "multicast",
    "ff0e::1": "global multicast",
}


@pytest.mark.parametrize("address", FORBIDDEN, ids=[f"{text} {name}" for text, name in FORBIDDEN.items()])
def test_an_address_that_is_not_of_the_public_internet_is_refused(address: str) -> None:
    assert not is_allowed(normalise(address), ())


@pytest.mark.parametrize("address", ["8.8.8.8", "::ffff:8.8.8.8", "2606:4700::1111", "2a00:1450:4003::1"])
def test_a_public_address_is_allowed(address: str) -> None:
    assert is_allowed(normalise(address), ())


def test_what_the_operator_allows_is_allowed_and_nothing_beside_it() -> None:
    allowed = [ip_network("10.1.0.0/16"), ip_network("fd00::/8")]
    assert is_allowed(normalise("10.1.2.3"), allowed)
    assert is_allowed(normalise("::ffff:10.1.2.3"), allowed)
    assert is_allowed(normalise("fd00::1"), allowed)
    assert not is_allowed(normalise("10.2.0.1"), allowed)
    assert not is_allowed(normalise("127.0.0.1"), allowed)


@pytest.mark.parametrize(
    "url",
    [
        "ftp://ana.example/",
        "file:///etc/passwd",
        "unix:///run/x.sock",
        "gopher://ana.example/",
        "//ana.example/",
        "ana.example",
        "",
        "http://",
        "http://user@ana.example/",
        "http://user:password@ana.example/",
        "http://:@ana.example/",
        "http://ana.example:25/",
        "http://ana.example:22/",
        "https://ana.example:1023/",
        "http://ana.example:0/",
        "http://ana.example:99999/",
        "http://[::1/",
    ],
)
def test_an_address_that_is_no_mirrors_is_refused_before_it_is_looked_up(url: str) -> None:
    with pytest.raises(ForbiddenUrlError):
        check_peer_url(url)


@pytest.mark.parametrize(
    "url",
    ["http://ana.example", "https://ana.example/base", "http://ana.example:8080", "https://[2606:4700::1111]:1024/"],
)
def test_an_address_of_a_mirror_passes(url: str) -> None:
    check_peer_url(url)


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.1", "0x7f000001", "2130706433", "0177.0.0.1", "[::ffff:127.0.0.1]", "[::1]", "localhost"]
)
async def test_no_way_of_writing_loopback_leads_there(host: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setblocking(False)
        url = f"http://{host}:{listening.getsockname()[1]}/"
        async with peer_session((), read_timeout_s=5) as session:
            with pytest.raises((aiohttp.ClientConnectorError, aiohttp.InvalidURL)):
                await session.get(url)
        with pytest.raises(BlockingIOError):
            listening.accept()
