"""A selector's configuration tells all that is wrong with it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from broker.config import BrokerConfig
from events.names import SelectorName
from selection.config import SelectorConfig

SECRET = b"s" * 32


def config() -> SelectorConfig:
    return SelectorConfig(
        name=SelectorName("s"),
        master_url="http://127.0.0.1:8081",
        broker=BrokerConfig(url="amqp://guest:guest@127.0.0.1"),
        secret=SECRET,
    )


def test_sound_configuration_has_no_problems() -> None:
    assert config().problems() == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        pytest.param("name", "No!", id="name outside the grammar"),
        pytest.param("secret", b"short", id="short secret"),
        pytest.param("master_url", "", id="no master"),
        pytest.param("master_url", "m.example", id="master without a scheme"),
        pytest.param("site_url", "ftp://m.example", id="site of another scheme"),
        pytest.param("listen_port", 70_000, id="no such port"),
        pytest.param("geoip_files", (Path("nowhere.mmdb"),), id="missing database"),
        pytest.param("places_file", Path("nowhere.txt"), id="missing table of places"),
        pytest.param("ticket_key", b"short", id="short ticket key"),
        pytest.param("site_access_url", "www.example.org/may", id="site's question without a scheme"),
        pytest.param("site_access_url", "https://www.example.org:x/", id="site's question at no port"),
        pytest.param("site_access_timeout_s", 0.0, id="site without time to answer"),
        pytest.param("site_access_timeout_s", 31.0, id="site that visitors wait for too long"),
        pytest.param("site_access_cache_s", 61.0, id="answers that count too long"),
        pytest.param("trusted_proxies", ("10.0.0.1/8",), id="no CIDR block"),
        pytest.param("load_threshold", 0.0, id="threshold of nothing"),
        pytest.param("load_threshold", 1.1, id="threshold above all"),
        pytest.param("silent_after_s", 0.0, id="always silent"),
        pytest.param("statistics_days", 0, id="no day of statistics"),
        pytest.param("near_km", -1.0, id="negative ring"),
        pytest.param("finish_within_s", 5, id="finish before start"),
        pytest.param("hops_max", 0, id="no hop"),
        pytest.param("decisions_percent", 101, id="more decisions than there are"),
    ],
)
def test_each_wrong_value_is_told_by_name(name: str, value: object) -> None:
    fields: dict[str, Any] = {name: value}
    (found,) = replace(config(), **fields).problems()
    assert found.startswith(f"{name}: ")


def test_secret_does_not_show() -> None:
    assert "ssss" not in repr(config())
    assert "guest" not in repr(config())
