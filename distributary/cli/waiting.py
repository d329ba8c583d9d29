"""Waiting until what was held is released. The master releases it; whoever waits only sees it happen."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from distributary.answers import number, text, words
from distributary.cli.hold import progress_of
from distributary.cli.output import WARNING, Output
from distributary.client import Api, JsonObject
from distributary.errors import CommandError, DeadlineError, UnavailableError

ASK_EVERY_S: Final = 0.5  # mirrors take seconds at least; a release is seen soon after it
REST: Final = 4  # times as long as an answer took: counting who has all of a large tree is work
_LOOK: Final = "`distributary hold ls` tells how far it is, `distributary release` does not wait"
_WAITING: Final = frozenset({"open", "held"})


def wait_for_release(
    master: Api, hold: int, output: Output, *, deadline_s: float, sleep: Callable[[float], None] = time.sleep
) -> None:
    """Wait until a hold is released, telling how far mirrors are. ``deadline_s`` is on the monotonic clock.

    Raises:
        DeadlineError: it is not yet.
        CommandError: it ended otherwise.
    """
    try:
        ended = _watch(master, hold, output, deadline_s, sleep)
    except KeyboardInterrupt:
        output.note(f"\nThe master goes on without us; {_LOOK}.")
        raise
    if text(ended, "state") != "released":
        raise CommandError(
            "hold_ended",
            f"hold {hold} ended without a release: its files were withdrawn, or something newer was published",
            hint="`distributary ls` and `distributary hold ls` tell what is there now",
        )
    if output.json:
        output.line({"type": "released", "hold": hold})
    else:
        output.text(f"released   hold {hold}")


def _watch(master: Api, hold: int, output: Output, deadline_s: float, sleep: Callable[[float], None]) -> JsonObject:
    told: object = None
    while True:
        asked_s = time.monotonic()
        try:
            answer = master.get(f"/-/api/v1/holds/{hold}")
        except UnavailableError as error:
            if told != error.code:
                output.note(f"{error.message}; it goes on when it is back", style=WARNING)
            told = error.code
        else:
            if text(answer, "state") not in _WAITING:
                return answer
            if told != (now := (words(answer, "complete"), words(answer, "followers"))):
                _tell(answer, output)
            told = now
        left_s = deadline_s - time.monotonic()
        if left_s <= 0:
            raise DeadlineError(
                "hold_unreleased", f"hold {hold} is not released yet", hint=f"the master goes on; {_LOOK}"
            )
        sleep(min(max(ASK_EVERY_S, REST * (time.monotonic() - asked_s)), left_s))


def _tell(answer: JsonObject, output: Output) -> None:
    if output.json:
        output.line({"type": "waiting", **answer})
        return
    output.note(f"waiting until {progress_of(answer)}")
    if number(answer, "needed") > len(words(answer, "followers")):
        output.note("so many do not follow its channels: as it is, nothing releases it by itself", style=WARNING)
