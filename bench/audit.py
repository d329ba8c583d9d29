"""A fleet of three mirrors under load for five minutes with random kills: is all of it as its log tells it?

At twenty random moments each selector's view is held against the log, and in the end each recorded decision is made
again from it (see ``bench.storm``). ``DISTRIBUTARY_FAULT_SEED`` brings a storm again.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import tempfile
from pathlib import Path
from typing import Final

from bench.storm import Aftermath, Plan, Storm
from bench.verdict import Verdict
from broker.node import PrivateNode

SECONDS: Final = 300.0
MOMENTS: Final = 20
KILL_EVERY_S: Final = 6.0
VISITS_PER_SECOND: Final = 40.0  # what two cores have left beside a broker, seven processes and their visitors
BROKER_KILLS: Final = 3
SEED_VARIABLE: Final = "DISTRIBUTARY_FAULT_SEED"


async def measure() -> tuple[Verdict, ...]:
    """Let the storm come; none of its figures may be one or more."""
    seed = int(os.environ.get(SEED_VARIABLE, "0")) or secrets.randbits(32)
    print(f"{SEED_VARIABLE}={seed}")
    plan = Plan(
        seconds=SECONDS,
        moments=MOMENTS,
        kill_every_s=KILL_EVERY_S,
        visits_per_second=VISITS_PER_SECOND,
        broker_kills=BROKER_KILLS,
        seed=seed,
    )
    found = await asyncio.to_thread(_storm, plan)
    for line in found.lines():
        print(line)
    audit = found.audit
    damages = sum(count for kind, count in audit.findings.counts.items() if kind.is_damage)
    return (
        Verdict(name="views that are not as the log has it", figure=len(found.wrong), goal=1, unit=f"of {found.looks}"),
        Verdict(name="findings that show damage", figure=damages, goal=1, unit=f"in {audit.entries} entries"),
        Verdict(name="decisions in doubt", figure=audit.doubted.total(), goal=1, unit=f"beside {audit.reproduced}"),
    )


def _storm(plan: Plan) -> Aftermath:
    with (
        tempfile.TemporaryDirectory(prefix="distributary-storm-") as folder,
        PrivateNode(Path(folder) / "node") as node,
        Storm(node, Path(folder), plan) as storm,
    ):
        return storm.rage()
