"""Administration: what is held, and its release."""

from __future__ import annotations

from aiohttp import web

from edge.tracing import trace_of
from events.names import ORIGIN_CHANNEL, parse_path, unheld_path
from master.errors import InvalidRequestError, NotFoundError
from master.holding import Holding
from master.holds import HeldFile, Hold, Tally, Turn
from master.web.bodies import ReleaseBody, answer, file_json, read_body, rfc3339

_DIGITS_MAX = 18  # of any 64 bit number


class HoldRoutes:
    """``/-/api/v1/holds`` and ``/-/api/v1/releases``."""

    def __init__(self, holding: Holding) -> None:
        self._holding = holding

    async def list(self, _request: web.Request) -> web.Response:
        """List all that is held."""
        shelves = await self._holding.all()
        return answer(
            {
                "holds": [
                    _hold_json(shelf.hold, shelf.tally) | {"files": [_file_json(each) for each in shelf.files]}
                    for shelf in shelves
                ]
            }
        )

    async def get(self, request: web.Request) -> web.Response:
        """Tell how far one hold is, or how it ended."""
        return answer(_hold_json(*await self._holding.get(_number(request.match_info["hold"]))))

    async def release(self, request: web.Request) -> web.Response:
        """Release files: named ones, those in named folders, or all."""
        body = await read_body(request, ReleaseBody)
        if (body.paths is None) == (not body.all):
            raise InvalidRequestError("release_invalid", "say either paths or all", hint='write {"paths": ["a.iso"]}')
        paths = None if body.paths is None else [parse_path(path) for path in body.paths]
        turns = await self._holding.release(paths, trace=trace_of(request))
        return answer({"released": [_turn_json(turn) for turn in turns]})


def _number(text: str) -> int:
    if not text.isdecimal() or len(text) > _DIGITS_MAX:
        raise NotFoundError("hold_unknown", f"no hold {text!r}", hint="a hold has a number")
    return int(text)


def _hold_json(hold: Hold, tally: Tally) -> dict[str, object]:
    condition = hold.condition
    return {
        "hold": hold.number,
        "state": hold.state.value,
        "wait": None if condition is None else str(condition),
        "needed": None if condition is None else condition.needed(len(tally.followers)),
        "followers": tally.followers,
        "complete": tally.complete,
        "held_at": rfc3339(hold.began_at_ns),
    }


def _file_json(held: HeldFile) -> dict[str, object]:
    return file_json(held.file) | {
        "path": unheld_path(held.file.path),
        "generation": held.generation,
        "channels": held.channels,
        "copies": held.copies,
    }


def _turn_json(turn: Turn) -> dict[str, object]:
    file, standing = turn.after.standing.file, turn.after.standing
    assert file is not None  # noqa: S101 - what was released stands
    return file_json(file) | {"channels": sorted(standing.channels - {ORIGIN_CHANNEL})}
