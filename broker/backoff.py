"""How long to wait before the next try. Pure: the dice are an argument."""

from __future__ import annotations

from random import Random


def backoff_s(tries: int, *, first_s: float, max_s: float, rng: Random) -> float:
    """Give the wait after this many failures in a row (from 0): doubling, bounded, and anywhere in its upper half.

    Half of it is chance, so that all who lost the same broker do not come back in the same moment.
    """
    doublings = min(tries, 32)  # past that the bound holds anyway
    full_s = min(first_s * 2**doublings, max_s)
    return full_s * rng.uniform(0.5, 1.0)
