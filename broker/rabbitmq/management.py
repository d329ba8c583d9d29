"""RabbitMQ's management HTTP API, as far as accounts and the site's own ground in the node need it."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from types import TracebackType
from typing import Final, Self
from urllib.parse import quote, unquote, urlsplit, urlunsplit

import aiohttp

from broker.config import BrokerConfig
from broker.port import BrokerError, DisconnectedError, ManagementRefusedError
from broker.topology import Account, Policy
from events.routing import EXCHANGES

REQUEST_TIMEOUT_S: Final = 30.0  # 6 ms as a rule; a busy two-core machine has taken 10 s
REFUSALS: Final = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN})
EVERYTHING: Final = {"configure": ".*", "write": ".*", "read": ".*"}  # what the site's own user may do in its own vhost


class ManagementError(BrokerError):
    """The management API did not do what was asked. ``status`` is HTTP's; the message says what it answered."""

    def __init__(self, request: str, status: int, detail: str) -> None:
        super().__init__(f"{request}: {status} {detail}")
        self.request, self.status, self.detail = request, status, detail


class Management:
    """One virtual host, who may use it and the accounts in it. ``async with Management(config)``."""

    def __init__(self, config: BrokerConfig) -> None:
        parts = urlsplit(config.management_url or "")
        self._base = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2])).rstrip("/")
        self._user = unquote(parts.username) if parts.username else config.user
        self._password = unquote(parts.password) if parts.password else config.password
        self._vhost = quote(config.vhost, safe="")
        self._site_user, self._site_password = quote(config.user, safe=""), config.password
        self._http: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        """Open; nothing is asked yet."""
        self._http = aiohttp.ClientSession(
            headers={"Authorization": aiohttp.encode_basic_auth(self._user, self._password)},
            timeout=aiohttp.ClientTimeout(total=REQUEST_TIMEOUT_S),
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close."""
        if self._http is not None:
            await self._http.close()

    async def ensure_ground(self) -> list[str]:
        """Make what the site stands on, where the node lacks it; tell what was made.

        That is the virtual host, the site's own user with the password that the site has for it, and his leave there.
        What is there is left alone: a user with another password is not ours to change.

        Raises:
            AccessRefusedError: only an administrator of the node may do that.
        """
        user, leave = f"users/{self._site_user}", f"permissions/{self._vhost}/{self._site_user}"
        wanted: dict[str, dict[str, str]] = {
            f"vhosts/{self._vhost}": {},
            user: {"password": self._site_password, "tags": ""},
            leave: EVERYTHING,
        }
        missing = [path for path in wanted if not await self._found("GET", path)]
        for path in missing:
            await self._call("PUT", path, wanted[path])
        return missing

    async def ensure_policy(self, policy: Policy) -> None:
        """Create or change a policy for queues and streams; RabbitMQ applies it to those that are there, too."""
        body = {"pattern": policy.pattern, "definition": policy.definition, "apply-to": "queues"}
        await self._call("PUT", f"policies/{self._vhost}/{policy.name}", body)

    async def ensure_account(self, user: str, password: str, account: Account) -> None:
        """Create or change a user. Topic permissions, which narrow, come first: at no moment may it do more."""
        name = quote(user, safe="")
        await self._call("PUT", f"users/{name}", {"password": password, "tags": account.tags})
        for exchange in EXCHANGES:
            await self._call("PUT", f"topic-permissions/{self._vhost}/{name}", _topic_permission(account, exchange))
        rights = {"configure": account.configure, "write": account.write, "read": account.read}
        await self._call("PUT", f"permissions/{self._vhost}/{name}", rights)
        if account.connections_max is not None:
            await self._call("PUT", f"user-limits/{name}/max-connections", {"value": account.connections_max})

    async def remove_account(self, user: str) -> None:
        """Delete a user, if it is there; RabbitMQ closes its connections."""
        await self._found("DELETE", f"users/{quote(user, safe='')}")

    async def _found(self, method: str, path: str) -> bool:
        """Ask about one thing; tell whether it was there."""
        try:
            await self._call(method, path, None)
        except ManagementError as error:
            if error.status != HTTPStatus.NOT_FOUND:
                raise
            return False
        return True

    async def _call(self, method: str, path: str, body: Mapping[str, object] | None) -> None:
        if self._http is None:
            raise DisconnectedError("the management API is not open")
        request = f"{method} /api/{path}"
        try:
            async with self._http.request(method, f"{self._base}/api/{path}", json=body) as response:
                status, detail = response.status, await response.text()
        except (aiohttp.ClientError, TimeoutError) as error:
            raise DisconnectedError(f"{request}: {error!r}") from error
        if status in REFUSALS:
            raise ManagementRefusedError(f"{request}: {detail}")
        if status >= HTTPStatus.BAD_REQUEST:
            raise ManagementError(request, status, detail)


def _topic_permission(account: Account, exchange: str) -> dict[str, str]:
    """Give an exchange's topic permission; one that the account does not name is closed, not open as RabbitMQ's are."""
    return {
        "exchange": exchange,
        "write": account.topics_write.get(exchange, "^$"),
        "read": account.topics_read.get(exchange, "^$"),
    }
