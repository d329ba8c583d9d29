"""The tracker among made-up mirrors, seeded: what leaves the master, and how soon the last mirror is done."""

from __future__ import annotations

import pytest

from bench.simulation import Swarming, simulate

SEEDS = (1, 2, 3)


def told(swarming: Swarming) -> str:
    return (
        f"{swarming.mirrors} mirrors: {swarming.copies_from_master:.2f} copies left the master, half of the mirrors "
        f"were done after {swarming.median_file_times:.2f} file times, the last after {swarming.last_file_times:.2f}"
    )


@pytest.mark.parametrize("seed", SEEDS)
def test_fifty_mirrors_are_done_after_little_more_than_one_file_time(seed: int) -> None:
    swarming = simulate(50, seed=seed)
    print(told(swarming))  # noqa: T201 - shown by pytest -rP
    assert len(swarming.done_slots) == 50
    assert swarming.copies_from_master <= 2.0
    assert swarming.last_file_times <= 1.3


@pytest.mark.parametrize("mirrors", [200, 1000])
def test_many_mirrors_take_no_more_from_the_master_and_hardly_longer(mirrors: int) -> None:
    swarming = simulate(mirrors, seed=1)
    print(told(swarming))  # noqa: T201 - shown by pytest -rP
    assert len(swarming.done_slots) == mirrors
    assert swarming.copies_from_master <= 2.0
    assert swarming.last_file_times <= 1.5


def test_without_peers_everything_leaves_the_master() -> None:
    swarming = simulate(20, seed=1, peers=False, seeds_max=20)
    assert swarming.copies_from_master == 20.0
    assert swarming.last_file_times >= 5.0  # 20 copies at four pieces a slot


def test_the_same_seed_gives_the_same_swarm() -> None:
    assert simulate(20, seed=7) == simulate(20, seed=7)
    assert simulate(20, seed=7) != simulate(20, seed=8)
