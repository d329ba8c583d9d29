"""The HTTP interfaces of master and selector (``docs/http-api.md``) as the command line uses them.

Blocking, on the standard library alone: a command asks once and prints, and its start-up must stay cheap. Answers are
returned as they came; ``CommandError`` carries the server's own code, message and hint, and the fitting exit code.
"""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from typing import Final, TypeAlias, cast
from urllib.parse import quote, urlencode, urlsplit

from distributary.errors import CommandError, UnavailableError, UsageError
from distributary.exits import ExitCode

JsonObject: TypeAlias = dict[str, object]
Query: TypeAlias = Mapping[str, str] | Sequence[tuple[str, str]]

TIMEOUT_S: Final = 30.0  # a loaded master answers in well under one; a hanging one must not hang the shell
STREAM_TIMEOUT_S: Final = 300.0  # between two lines: hashing reports its progress far more often
ANSWER_BYTES_MAX: Final = 256_000_000  # a catalogue of half a million files; more is not an answer for a terminal

_EXIT_BY_STATUS: Final = {
    400: ExitCode.USAGE,
    401: ExitCode.REFUSED,
    403: ExitCode.REFUSED,
    404: ExitCode.NOT_FOUND,
    410: ExitCode.REFUSED,
    422: ExitCode.USAGE,
    502: ExitCode.UNAVAILABLE,
    503: ExitCode.UNAVAILABLE,
    504: ExitCode.UNAVAILABLE,
}


class ApiError(CommandError):
    """The server refused; ``status`` is HTTP's."""

    def __init__(self, status: int, code: str, message: str, *, hint: str = "") -> None:
        super().__init__(code, message, exit_code=_EXIT_BY_STATUS.get(status, ExitCode.FAILED), hint=hint)
        self.status = status


class Api:
    """One role's HTTP interface at ``url``, asked in the name of ``role`` ("master", "selector").

    ``token_from`` says where the token is written, for whoever must mend a wrong one.
    """

    def __init__(self, url: str, *, role: str, token: str | None = None, token_from: str = "") -> None:
        self._parts = urlsplit(url)
        if self._parts.scheme not in {"http", "https"} or not self._parts.hostname:
            raise UsageError("url_invalid", f"{url!r} is no address of a {role}", hint="write it like http://host:port")
        self.url, self.role = url, role
        self._token, self._token_from = token, token_from

    def get(self, path: str, query: Query | None = None) -> JsonObject:
        """Ask; give the answer's JSON object."""
        return self._ask("GET", path, query, None)

    def get_bytes(self, path: str) -> bytes:
        """Ask for what is no JSON; give it whole."""
        with closing(self._connect(STREAM_TIMEOUT_S)) as connection:
            answer = self._send(connection, "GET", path, None, None)
            try:
                return answer.read()
            except (OSError, http.client.HTTPException) as error:
                raise UnavailableError("answer_broken", f"the {self.role}'s answer broke off: {error}") from error

    def get_all(self, path: str, name: str) -> list[JsonObject]:
        """Ask for a list that comes in pages; give all of it."""
        found: list[JsonObject] = []
        query: dict[str, str] = {}
        while True:
            answer = self.get(path, query)
            found += cast("list[JsonObject]", answer.get(name, []))
            if not isinstance(after := answer.get("next"), str):
                return found
            query = {"after": after}

    def post(self, path: str, body: object, query: Mapping[str, str] | None = None) -> JsonObject:
        """Post a JSON body."""
        return self._ask("POST", path, query, body)

    def put(self, path: str, body: object = None) -> JsonObject:
        """Put a JSON body."""
        return self._ask("PUT", path, None, body)

    def patch(self, path: str, body: object) -> JsonObject:
        """Change what a JSON body names."""
        return self._ask("PATCH", path, None, body)

    def delete(self, path: str, query: Mapping[str, str] | None = None) -> JsonObject:
        """Delete."""
        return self._ask("DELETE", path, query, None)

    def readiness(self) -> JsonObject:
        """Ask ``/-/readyz``. A role that says 503 with its checks has answered, too."""
        with closing(self._connect(TIMEOUT_S)) as connection:
            answer = self._exchange(connection, "GET", "/-/readyz", None)
            if answer.status not in {http.client.OK, http.client.SERVICE_UNAVAILABLE}:
                raise self._refusal(answer)
            return self._read(answer)

    def stream(self, path: str, body: object) -> Iterator[JsonObject]:
        """Post a JSON body and give each line of the NDJSON answer as it comes."""
        with closing(self._connect(STREAM_TIMEOUT_S)) as connection:
            answer = self._send(connection, "POST", path, None, body)
            try:
                for line in answer:
                    if line.strip():
                        yield cast("JsonObject", json.loads(line))
            except (OSError, http.client.HTTPException, ValueError) as error:
                raise UnavailableError(
                    "answer_broken",
                    f"the {self.role}'s answer broke off: {error}",
                    hint="what was reported before is done; run the command again, unchanged files cost nothing",
                ) from error

    def _ask(self, method: str, path: str, query: Query | None, body: object) -> JsonObject:
        with closing(self._connect(TIMEOUT_S)) as connection:
            answer = self._send(connection, method, path, query, body)
            return self._read(answer)

    def _connect(self, timeout_s: float) -> http.client.HTTPConnection:
        kind = http.client.HTTPSConnection if self._parts.scheme == "https" else http.client.HTTPConnection
        return kind(cast("str", self._parts.hostname), self._parts.port, timeout=timeout_s)

    def _send(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        path: str,
        query: Query | None,
        body: object,
    ) -> http.client.HTTPResponse:
        answer = self._exchange(connection, method, path + (f"?{urlencode(query)}" if query else ""), body)
        if answer.status >= http.client.BAD_REQUEST:
            raise self._refusal(answer)
        return answer

    def _exchange(
        self, connection: http.client.HTTPConnection, method: str, target: str, body: object
    ) -> http.client.HTTPResponse:
        content = None if body is None else json.dumps(body).encode()
        try:
            connection.request(
                method, self._parts.path.rstrip("/") + target, body=content, headers=self._headers(content)
            )
            return connection.getresponse()
        except (OSError, http.client.HTTPException) as error:
            raise self._unreachable(error) from error

    def _headers(self, content: bytes | None) -> dict[str, str]:
        headers = {"Accept": "application/json"}
        if content is not None:
            headers["Content-Type"] = "application/json"
        if self._token is not None:
            headers["Authorization"] = f"Bearer {self._token}"
        return headers

    def _read(self, answer: http.client.HTTPResponse) -> JsonObject:
        try:
            content = answer.read(ANSWER_BYTES_MAX)
            decoded: object = json.loads(content) if content else {}
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise UnavailableError("answer_broken", f"the {self.role}'s answer is not JSON: {error}") from error
        if not isinstance(decoded, dict):
            raise UnavailableError("answer_broken", f"the {self.role}'s answer is not an object")
        return cast("JsonObject", decoded)

    def _refusal(self, answer: http.client.HTTPResponse) -> ApiError:
        try:
            error = cast("dict[str, dict[str, str]]", json.loads(answer.read(ANSWER_BYTES_MAX)))["error"]
            hint = error.get("hint") or ""
            if error["code"] == "token_wrong" and self._token_from:
                hint = f"the token is from {self._token_from}; is that the one of the {self.role} at {self.url}?"
            return ApiError(answer.status, error["code"], error["message"], hint=hint)
        except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError):
            return ApiError(answer.status, f"http_{answer.status}", f"the {self.role} answered {answer.status}")

    def _unreachable(self, error: Exception) -> UnavailableError:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        return UnavailableError(
            f"{self.role}_unreachable",
            f"the {self.role} at {self.url} cannot be reached: {reason}",
            hint=f"is it running (`distributary serve {self.role}`), and is the address right "
            f"(`distributary config show`)?",
        )


def segment(text: str) -> str:
    """Write text as one segment of a URL's path."""
    return quote(text, safe="")
