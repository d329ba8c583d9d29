"""The broker's configuration: what it reads from a URL, what it complains of, what it never shows."""

import pytest

from broker.config import BrokerConfig

SECRET_URL = "amqp://us%40er:s3%2Fcret@broker.example:5672/my%2Fsite"


def test_user_password_and_virtual_host_are_read_from_the_url() -> None:
    config = BrokerConfig(url=SECRET_URL)
    assert (config.user, config.password, config.vhost) == ("us@er", "s3/cret", "my/site")


@pytest.mark.parametrize("url", ["amqp://broker.example", "amqp://broker.example/"])
def test_a_url_without_them_means_rabbitmqs_defaults(url: str) -> None:
    config = BrokerConfig(url=url)
    assert (config.user, config.password, config.vhost) == ("guest", "guest", "/")


def test_the_password_is_shown_nowhere() -> None:
    config = BrokerConfig(url=SECRET_URL, management_url="http://admin:s3%2Fcret@broker.example:15672")
    shown = f"{config!r} {config} {config.safe_url}"
    assert "s3" not in shown
    assert config.safe_url == "amqp://us%40er:***@broker.example:5672/my%2Fsite"


def test_a_sound_configuration_has_no_problems() -> None:
    assert BrokerConfig(url=SECRET_URL, management_url="https://broker.example").problems() == []


def test_all_problems_are_told_at_once_and_without_the_password() -> None:
    config = BrokerConfig(url="http://user:s3cret@", management_url="broker:x", heartbeat_s=0, publish_timeout_s=0)
    problems = config.problems()
    assert [problem.split(" ", 3)[:3] for problem in problems] == [
        ["the", "broker's", "URL"],
        ["the", "broker's", "URL"],
        ["the", "management", "API's"],
        ["the", "management", "API's"],
        ["heartbeat_s", "must", "be"],
        ["publish_timeout_s", "must", "be"],
    ]
    assert "s3cret" not in " ".join(problems)


def test_a_port_that_is_no_number_is_told() -> None:
    assert BrokerConfig(url="amqp://user:pass@host:port/").problems() == [
        "the broker's URL is no URL; write it like amqp://user:password@host:port"
    ]
