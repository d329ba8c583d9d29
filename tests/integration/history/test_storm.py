"""Three mirrors, two selectors and a master under load while all of them, and the broker, are killed at random moments.

``make bench NAME=audit`` does the same for five minutes and looks at twenty moments.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bench.storm import Plan, Storm

if TYPE_CHECKING:
    from broker.node import PrivateNode

pytestmark = [pytest.mark.rabbitmq, pytest.mark.processes, pytest.mark.faults, pytest.mark.timeout(900)]


def test_views_and_decisions_are_as_the_log_tells_whoever_is_killed(private_node: PrivateNode, tmp_path: Path) -> None:
    seed = int(os.environ.get("DISTRIBUTARY_FAULT_SEED", "0")) or secrets.randbits(32)
    plan = Plan(seconds=30.0, moments=4, kill_every_s=3.0, visits_per_second=20.0, broker_kills=1, seed=seed)
    with Storm(private_node, tmp_path, plan) as storm:
        found = storm.rage()
    told = "\n".join([f"DISTRIBUTARY_FAULT_SEED={seed}", *found.lines()])
    assert (found.wrong, found.audit.damage) == ([], None), told
    assert found.looks == 2 * plan.moments, told
    assert found.audit.reproduced > 0, told
