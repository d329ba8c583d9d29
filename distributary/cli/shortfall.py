"""What mirrors are to hold and do not, in words; from the selector's lists of mirrors and files. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from distributary.answers import inside, number, text, words
from distributary.client import JsonObject


def held_of_wanted(mirror: JsonObject) -> str:
    """Say how many of the contents that a mirror is to hold it holds: ``2 of 4``."""
    if not isinstance(mirror.get("wanted"), int):
        return text(mirror, "copies")
    wanted = number(mirror, "wanted")
    return f"{wanted - number(mirror, 'missing')} of {wanted}"


def reason_sentence(mirror: JsonObject) -> str:
    """Say why a mirror is not ready, with until when or what led to it: ``its operator has paused it (until …)``."""
    detail = f" ({text(mirror, 'detail')})" if text(mirror, "detail") else ""
    return f"{text(mirror, 'reason')}{detail}" if text(mirror, "reason") else ""


def declined_sentence(mirror: JsonObject) -> str:
    """Say what a mirror could not fetch, and why; nothing where it lacks nothing that it tried."""
    declined = inside(mirror, "declined")
    if not declined:
        return ""
    others = number(declined, "files") - 1
    files = text(declined, "path") + (f" and {others} more" if others else "")
    detail = f" ({text(declined, 'detail')})" if text(declined, "detail") else ""
    return f"could not fetch {files}: {text(declined, 'text')}{detail}"


def shortfalls(files: Iterable[JsonObject], mirrors: Sequence[JsonObject]) -> list[str]:
    """Say what is published for the mirrors and cannot be had from them, one sentence each."""
    problems = [
        f"mirror {text(each, 'mirror')} holds {held_of_wanted(each)}: {sentence}"
        for each in mirrors
        if (sentence := declined_sentence(each))
    ]
    followed = {channel for each in mirrors for channel in words(each, "channels")}
    ready = {text(each, "mirror") for each in mirrors if text(each, "state") == "ready"}
    homeless = [
        text(file, "path")
        for file in files
        if followed & set(words(file, "channels")) and not ready & set(words(file, "mirrors"))
    ]
    if homeless:
        others = f" and {len(homeless) - 1} more" if len(homeless) > 1 else ""
        problems.append(f"no ready mirror holds {homeless[0]}{others}")
    return problems
