"""Asks the site whether a visitor may have a file: one request to its own URL, as nginx's ``auth_request`` does.

    GET <site_access_url>
    X-Original-URI: /<path, percent-encoded once>?<the visitor's query>
    X-Forwarded-For: <the visitor's address>
    Cookie, Authorization: as the visitor sent them

The path is written anew and not as the visitor spelt it, so that the site decides about the file that he would get.
Answers count for seconds (``selection.access.replies``), those who ask for the same at once share one question, and
there is a limit on the time and the number of questions. It fails closed: no answer is no.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Final, Self
from urllib.parse import quote

import aiohttp
import structlog
from aiohttp import hdrs

from edge.clients import new_session
from edge.visitors import FORWARDED_FOR
from events.grants import Claim, bind
from events.names import FilePath
from selection.access.asker import Asker
from selection.access.replies import Replies, verdict_of
from selection.access.verdicts import SITE_SILENT, Verdict

QUESTIONS_MAX: Final = 200  # at 20 ms an answer and 8 connections, what is answered in half a second
QUESTIONS_PER_VISITOR_MAX: Final = 20  # an office behind one address; who asks more leaves room for the others
COMPLAIN_EVERY_S: Final = 10.0  # a site that is down is asked by every visitor; one line with the reason says all
ORIGINAL_URI: Final = "X-Original-URI"

log = structlog.stdlib.get_logger()


class SiteAsker:
    """Asks the site about visitors. Enter it before the first question; leaving ends those that run."""

    def __init__(
        self, url: str, *, limit_s: float, kept_s: float, clock_s: Callable[[], float] = time.monotonic
    ) -> None:
        self._url = url
        self._limit_s = limit_s
        self._clock_s = clock_s
        self._replies = Replies(kept_s=kept_s)
        self._questions: dict[bytes, asyncio.Task[Verdict]] = {}
        self._running: Counter[Claim] = Counter()
        self._silent_until_s = float("-inf")
        self._stack = AsyncExitStack()
        self._http: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        """Open the connections."""
        self._http = await self._stack.enter_async_context(new_session())
        return self

    async def __aexit__(self, *_exc: object) -> None:
        """End the questions that run, and close."""
        running = tuple(self._questions.values())
        for question in running:
            question.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        await self._stack.aclose()

    async def ask(self, path: FilePath, asker: Asker) -> Verdict:
        """Give the site's verdict about a visitor, asked now or seconds ago."""
        uri = "/" + quote(path) + (f"?{asker.query}" if asker.query else "")
        identity = asker.identity(uri)
        verdict = self._replies.find(identity, now_s=self._clock_s())
        if verdict is not None:
            return verdict
        question = self._questions.get(identity)
        if question is None:
            visitor = bind(asker.address)
            if len(self._questions) >= QUESTIONS_MAX or self._running[visitor] >= QUESTIONS_PER_VISITOR_MAX:
                self._complain("too many questions wait for an answer")
                return SITE_SILENT
            self._running[visitor] += 1
            question = asyncio.create_task(self._learn(identity, uri, asker), name="ask-site")
            question.add_done_callback(lambda _: self._forget(identity, visitor))
            self._questions[identity] = question
        # Shielded: one visitor who leaves takes no answer from the others who wait for it.
        return await asyncio.shield(question)

    async def _learn(self, identity: bytes, uri: str, asker: Asker) -> Verdict:
        verdict = await self._question(uri, asker)
        self._replies.keep(identity, verdict, now_s=self._clock_s())
        return verdict

    def _forget(self, identity: bytes, visitor: Claim) -> None:
        """Make room: a question has ended, or never begun."""
        del self._questions[identity]
        self._running[visitor] -= 1
        if not self._running[visitor]:
            del self._running[visitor]

    async def _question(self, uri: str, asker: Asker) -> Verdict:
        assert self._http is not None  # noqa: S101 - the asker was entered
        try:
            async with (
                asyncio.timeout(self._limit_s),
                self._http.get(self._url, headers=_headers(uri, asker), allow_redirects=False) as answer,
            ):
                verdict = verdict_of(answer.status, answer.headers)
                if verdict is SITE_SILENT:
                    self._complain(f"it answered {answer.status}")
                return verdict
        except TimeoutError:
            self._complain(f"no answer in {self._limit_s:g} s")
        except (aiohttp.ClientError, OSError, ValueError) as error:
            self._complain(f"{type(error).__name__}: {error}")
        return SITE_SILENT

    def _complain(self, reason: str) -> None:
        now_s = self._clock_s()
        if now_s >= self._silent_until_s:
            self._silent_until_s = now_s + COMPLAIN_EVERY_S
            log.warning("access.site_silent", reason=reason)


def _headers(uri: str, asker: Asker) -> dict[str, str]:
    """Write what the site is told; a field that was not sent is not sent on."""
    passed_on = {hdrs.COOKIE: asker.cookie, hdrs.AUTHORIZATION: asker.authorization}
    return {
        ORIGINAL_URI: uri,
        FORWARDED_FOR: str(asker.address),
        **{name: value for name, value in passed_on.items() if value},
    }
