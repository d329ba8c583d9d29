"""A mirror's configuration is refused as a whole, with every problem named."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from events.names import MirrorName
from mirror.config import FetchLimits, MirrorConfig, MirrorCredentials

GOOD = MirrorConfig(
    name=MirrorName("ana"),
    data_folder=Path("ana"),
    credentials=MirrorCredentials(
        mirror=MirrorName("ana"),
        broker_url="amqp://ana:secret-password@broker/site",
        token="secret-token",
        grant_keys={1: bytes(32)},
        master_url="https://master.example",
        site_url="https://site.example",
    ),
)


def test_a_good_configuration_has_no_problems() -> None:
    assert GOOD.problems() == []


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        pytest.param({"slots": 0}, "slots", id="no slots"),
        pytest.param({"fetches_max": 0}, "fetches_max", id="no fetches"),
        pytest.param({"monthly_bytes": -1}, "monthly_bytes", id="negative quota"),
        pytest.param({"disk_bytes_max": -1}, "disk_bytes_max", id="negative disk"),
        pytest.param({"listen_port": 70_000}, "listen_port", id="port out of range"),
        pytest.param({"report_every_s": 0.0}, "report_every_s", id="no heartbeat"),
        pytest.param({"url": "https://a.example/"}, "url", id="slash at the end"),
        pytest.param({"url": "ftp://a.example"}, "url", id="other scheme"),
        pytest.param({"url": "https://u:p@a.example"}, "url", id="user in the URL"),
        pytest.param({"name": MirrorName("bob")}, "name", id="other mirror's credentials"),
        pytest.param({"trusted_proxies": ("10.0.0.1/8",)}, "trusted_proxies", id="bits after the prefix"),
        pytest.param({"limits": FetchLimits(retry_first_s=9, retry_max_s=1)}, "limits", id="retries out of order"),
    ],
)
def test_each_problem_names_its_field(changes: dict[str, object], field: str) -> None:
    (problem,) = replace(GOOD, **changes).problems()  # pyright: ignore[reportArgumentType] - the cases name fields
    assert problem.startswith(field)


def test_all_problems_are_named_at_once() -> None:
    assert len(replace(GOOD, slots=0, listen_port=-1, credentials=replace(GOOD.credentials, token="")).problems()) == 3


def test_secrets_are_not_shown() -> None:
    assert "secret" not in repr(GOOD)
