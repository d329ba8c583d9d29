"""New limits reach streams that are there: RabbitMQ's policies beat what a stream was declared with, both ways."""

from __future__ import annotations

import asyncio
import base64
import json
import time
import urllib.request
from typing import Any, Final
from urllib.parse import quote, urlsplit

import pytest

from broker.config import BrokerConfig
from broker.provision import provision_site
from broker.rabbitmq import RabbitAdmin
from broker.retention import DAY_S, Retention, Retentions
from broker.site import Vhost
from broker.topology import load_stream, log_stream

pytestmark = [pytest.mark.rabbitmq, pytest.mark.timeout(200)]

SMALL: Final = Retention(age_s=DAY_S, size_bytes=200_000_000)
LARGE: Final = Retention(age_s=90 * DAY_S, size_bytes=90_000_000_000)
WITHIN_S: Final = 60.0  # the management API tells of a policy a few seconds later


@pytest.mark.parametrize(("before", "now"), [(SMALL, LARGE), (LARGE, SMALL)])
async def test_limits_of_streams_that_are_there_are_changed_both_ways(
    vhost: Vhost, before: Retention, now: Retention
) -> None:
    load = Retention(age_s=DAY_S, size_bytes=100_000_000)
    async with RabbitAdmin(BrokerConfig(url=vhost.amqp_url, management_url=vhost.management_url)) as admin:
        await provision_site(admin, 1, Retentions(log=before, load=load))
        site = await provision_site(admin, 1, Retentions(log=now, load=load), opened=True)
        assert site.is_limited
    expected: dict[str, str | int] = {"max-age": f"{now.age_s}s", "max-length-bytes": now.size_bytes}
    await asyncio.to_thread(wait_limited, vhost, log_stream(1), expected)
    declared: dict[str, str | int] = {"max-age": f"{load.age_s}s", "max-length-bytes": load.size_bytes}
    await asyncio.to_thread(wait_limited, vhost, load_stream(1), declared)


async def test_without_the_management_api_it_is_told_that_old_limits_are_kept(vhost: Vhost) -> None:
    async with RabbitAdmin(BrokerConfig(url=vhost.amqp_url)) as admin:
        assert (await provision_site(admin, 1, Retentions(log=SMALL))).is_limited
        assert (await provision_site(admin, 1, Retentions(log=SMALL), opened=True)).is_limited
        assert not (await provision_site(admin, 1, Retentions(log=LARGE), opened=True)).is_limited


def wait_limited(vhost: Vhost, stream: str, expected: dict[str, str | int]) -> None:
    deadline_s = time.monotonic() + WITHIN_S
    while (found := asked(vhost, stream).get("effective_policy_definition")) != expected:
        assert time.monotonic() < deadline_s, found
        time.sleep(0.1)


def asked(vhost: Vhost, stream: str) -> dict[str, Any]:
    """Ask the management API about a stream."""
    parts = urlsplit(vhost.management_url)
    login = base64.b64encode(f"{parts.username}:{parts.password}".encode()).decode()
    url = f"http://{parts.hostname}:{parts.port}/api/queues/{quote(vhost.name, safe='')}/{stream}"
    request = urllib.request.Request(url, headers={"Authorization": f"Basic {login}"})
    with urllib.request.urlopen(request, timeout=WITHIN_S) as answer:  # noqa: S310 - the same
        return json.load(answer)
