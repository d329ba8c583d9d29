"""Where a broker is, and the virtual hosts in it.

For whoever sets a stage: the tests' fixtures and the demo. It speaks to RabbitMQ's management API and blocks, so call
it from a thread where an event loop turns. The roles do not use it; they get an AMQP URL and see ``broker.port``.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Any, Final
from urllib.parse import SplitResult, quote, unquote, urlsplit, urlunsplit

from broker.port import BrokerError

API_TIMEOUT_S: Final = 30.0  # a busy two-core machine has taken 10 s to make a virtual host


class SiteError(BrokerError):
    """The management API did not do what was asked. ``status`` is HTTP's; 0 when it could not be reached at all."""

    def __init__(self, request: str, *, status: int, detail: str) -> None:
        super().__init__(f"{request}: {status or 'no answer'} {detail}")
        self.request, self.status, self.detail = request, status, detail


@dataclass(frozen=True, slots=True, kw_only=True)
class Vhost:
    """One virtual host of a broker, as its administrator sees it."""

    name: str
    amqp_url: str
    management_url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerSite:
    """A broker with its management API; both URLs carry the administrator's user and password."""

    amqp_url: str
    management_url: str

    def node_name(self) -> str:
        """Ask the broker who it is.

        Raises:
            SiteError: the management API does not answer (yet), or refuses us.
        """
        return str(self._call("GET", "/api/overview")["node"])

    def vhost(self, name: str) -> Vhost:
        """Address a virtual host, whether or not it is there."""
        amqp_url = urlunsplit(urlsplit(self.amqp_url)._replace(path="/" + quote(name, safe="")))
        return Vhost(name=name, amqp_url=amqp_url, management_url=self.management_url)

    def create_vhost(self, name: str) -> Vhost:
        """Make a virtual host in which the administrator may do everything.

        Raises:
            SiteError: the broker did not make it.
        """
        everything = {"configure": ".*", "write": ".*", "read": ".*"}
        self._call("PUT", f"/api/vhosts/{quote(name, safe='')}", {})
        self._call("PUT", f"/api/permissions/{quote(name, safe='')}/{quote(self._user, safe='')}", everything)
        return self.vhost(name)

    def delete_vhost(self, name: str) -> None:
        """Delete a virtual host, if it is there, with all in it and the accounts made for it (``<vhost>.<mirror>``).

        Raises:
            SiteError: the broker did not delete it.
        """
        try:
            self._delete(f"/api/vhosts/{quote(name, safe='')}")
        finally:
            for account in self._call("GET", "/api/users?columns=name"):
                if account["name"].startswith(f"{name}."):
                    self.delete_user(account["name"])

    def delete_user(self, name: str) -> None:
        """Delete a user of the broker, if there is one; its connections are closed.

        Raises:
            SiteError: the broker did not delete it.
        """
        self._delete(f"/api/users/{quote(name, safe='')}")

    @property
    def _api(self) -> SplitResult:
        return urlsplit(self.management_url)

    @property
    def _user(self) -> str:
        return unquote(self._api.username or "guest")

    def _delete(self, path: str) -> None:
        try:
            self._call("DELETE", path)
        except SiteError as error:
            if error.status != HTTPStatus.NOT_FOUND:
                raise

    def _call(self, method: str, path: str, body: object = None) -> Any:  # noqa: ANN401 - JSON is what it is
        request = f"{method} {path}"
        try:
            status, text = self._exchange(method, path, body)
        except (OSError, HTTPException) as error:
            raise SiteError(request, status=0, detail=repr(error)) from error
        if status >= HTTPStatus.BAD_REQUEST:
            raise SiteError(request, status=status, detail=text.decode(errors="replace"))
        return json.loads(text or b"null")

    def _exchange(self, method: str, path: str, body: object) -> tuple[int, bytes]:
        password = unquote(self._api.password or "guest")
        credentials = base64.b64encode(f"{self._user}:{password}".encode()).decode()
        headers = {"Authorization": f"Basic {credentials}", "Content-Type": "application/json"}
        kind = HTTPSConnection if self._api.scheme == "https" else HTTPConnection
        connection = kind(self._api.hostname or "", self._api.port, timeout=API_TIMEOUT_S)
        try:
            connection.request(method, self._api.path.rstrip("/") + path, json.dumps(body), headers)
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()
