"""How the archiver fares: ``/-/livez``, ``/-/readyz``, and to the operator on this machine ``/-/api/v1/status``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from http import HTTPStatus
from typing import Final

from aiohttp import web

from broker.port import Broker
from edge.errors import ApiError
from edge.health import Check, add_health
from edge.localness import is_local
from edge.server import new_app
from events.schemas.fields import NS_PER_S
from history.archive.archiver import Archiver
from history.archive.lag import Lag, LagLevel
from history.archive.store.addresses import cut_up_to
from history.archive.store.database import Database
from history.archive.store.engine import ArchiveError
from history.archive.store.projecting import progress
from history.archive.upkeep import Upkeep

STATUS_PATH: Final = "/-/api/v1/status"
GAP_SHOWN_FOR_S: Final = 7 * 24 * 3600.0  # long enough for whoever looks once a week; it stays in the table
HOUR_S: Final = 3600


class Desk:
    """Answers for one archiver."""

    def __init__(
        self,
        broker: Broker,
        database: Database,
        archiver: Archiver,
        upkeep: Upkeep,
        *,
        name: str,
        clock_s: Callable[[], float],
    ) -> None:
        self._broker = broker
        self._database = database
        self._archiver = archiver
        self._upkeep = upkeep
        self._name = name
        self._clock_s = clock_s

    def app(self) -> web.Application:
        """Make the application."""
        app = new_app()
        add_health(app, lambda: tuple(self.checks()))
        app.router.add_get(STATUS_PATH, self._status)
        return app

    def checks(self) -> Iterator[Check]:
        """Tell what is well and what is not. Only what it cannot archive without is vital."""
        health = self._broker.health
        yield Check(
            name="broker", ok=health.connected, detail=health.last_error if not health.connected else "connected"
        )
        trouble = self._archiver.trouble
        yield Check(name="log", ok=not trouble, detail=trouble or self._place())
        lag = self._upkeep.judge_now()
        yield Check(name="lag", ok=lag.level is LagLevel.FINE, detail=lag_sentence(lag), vital=False)
        recent = [gap for gap in self._upkeep.gaps if self._age_s(gap.noticed_at_ns) < GAP_SHOWN_FOR_S]
        yield Check(name="whole", ok=not recent, detail=recent[0].sentence if recent else "no gap of late", vital=False)

    async def _status(self, request: web.Request) -> web.Response:
        if not is_local(request):
            raise ApiError(
                "not_local",
                "an archiver's status is for who asks on its own machine",
                "`distributary archive status` asks the database; /-/readyz is for everybody",
                status=HTTPStatus.FORBIDDEN,
            )
        standing, lag = self._archiver.standing, self._upkeep.judge_now()
        try:
            made, cut_to = await progress(self._database), await cut_up_to(self._database)
        except ArchiveError as error:
            return web.json_response({"database": self._name, "trouble": str(error)})
        return web.json_response(
            {
                "events": standing.number,
                "database": self._name,
                "log": {
                    "generation": standing.generation,
                    "offset": standing.offset,
                    "trouble": self._archiver.trouble,
                },
                "lag": {
                    "behind_s": round(lag.figures.behind_s, 1),
                    "kept_s": round(lag.kept_s),
                    "bytes_per_s": round(lag.figures.bytes_per_s, 1),
                    "level": lag.level.value,
                },
                "gaps": [{"kind": gap.kind.value, "text": gap.sentence} for gap in self._upkeep.gaps],
                "projections": {each.value: place.number for each, place in made.items()},
                "addresses_cut_to": cut_to,
            },
            headers={"Cache-Control": "no-store"},
        )

    def _place(self) -> str:
        standing = self._archiver.standing
        return f"{standing.number} events, up to generation {standing.generation}, offset {standing.offset}"

    def _age_s(self, time_ns: int) -> float:
        return self._clock_s() - time_ns / NS_PER_S


def lag_sentence(lag: Lag) -> str:
    """Say how far behind the archiver may be, and what that means: ``up to 40 s behind; the stream keeps 30 days``."""
    behind_s, kept_h = lag.figures.behind_s, lag.kept_s / HOUR_S
    said = f"at most {behind_s:.0f} s behind" if behind_s < HOUR_S else f"up to {behind_s / HOUR_S:.1f} h behind"
    said += f"; the stream keeps {kept_h:.1f} h at this rate"
    return said if lag.level is LagLevel.FINE else f"{said}: entries will be lost, see why it does not archive"
