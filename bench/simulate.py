"""How a file spreads over a made-up fleet by the tracker's own code, with the master alone beside it.

The master alone needs no simulation: each mirror's pieces leave it, four in a slot.
"""

from __future__ import annotations

from typing import Final

from bench.simulation import MASTER_UP, PIECES, Swarming, simulate
from bench.verdict import Verdict

MIRRORS: Final = (10, 50, 200, 1000)
SEED: Final = 1
COPIES_GOAL: Final = 2.5
LAST_GOAL_FILE_TIMES: Final = 1.3
LAST_GOAL_MIRRORS: Final = 50


async def measure() -> tuple[Verdict, ...]:
    """Simulate fleets of several sizes; judge the master's copies of all, and how soon the last of fifty is done."""
    print(f"{'mirrors':>8} {'copies from master':>19} {'half done':>10} {'last done':>10} {'master alone':>13}")
    swarmings = [_simulated(mirrors) for mirrors in MIRRORS]
    last = next(each.last_file_times for each in swarmings if each.mirrors == LAST_GOAL_MIRRORS)
    return (
        Verdict(
            name="copies that leave the master",
            figure=max(each.copies_from_master for each in swarmings),
            goal=COPIES_GOAL,
            unit="copies",
        ),
        Verdict(
            name=f"last of {LAST_GOAL_MIRRORS} mirrors done", figure=last, goal=LAST_GOAL_FILE_TIMES, unit="file times"
        ),
    )


def _simulated(mirrors: int) -> Swarming:
    swarming = simulate(mirrors, seed=SEED)
    alone = mirrors * PIECES / MASTER_UP / PIECES
    print(
        f"{mirrors:>8} {swarming.copies_from_master:>19.2f} {swarming.median_file_times:>10.2f} "
        f"{swarming.last_file_times:>10.2f} {alone:>13.2f}"
    )
    return swarming
