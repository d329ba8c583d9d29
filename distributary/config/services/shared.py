"""What the services' configurations have in common: the broker, and that they check themselves."""

from __future__ import annotations

from typing import Protocol, TypeVar

from broker.config import BrokerConfig
from distributary.config.load import ConfigError, Settings
from distributary.config.secrets import read_broker_url


class Checked(Protocol):
    """A configuration that knows its own rules."""

    def problems(self) -> list[str]:
        """Give all that is wrong, one sentence each."""
        ...


C = TypeVar("C", bound=Checked)


def broker_config(settings: Settings, *, name: str) -> BrokerConfig:
    """Configure a role's way to the broker; ``name`` is what RabbitMQ shows for the connection."""
    return BrokerConfig(
        url=read_broker_url(settings),
        management_url=settings.broker.management_url,
        name=f"distributary {name}",
    )


def checked(config: C, settings: Settings, section: str) -> C:
    """Let a configuration check itself.

    Raises:
        ConfigError: with all that it found.
    """
    if problems := config.problems():
        raise ConfigError([f"{settings.file or 'defaults'}: [{section}] {problem}" for problem in problems])
    return config
