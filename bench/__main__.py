"""The front door: ``python -m bench NAME``."""

from __future__ import annotations

import asyncio
import importlib
import pkgutil
import sys
from pathlib import Path
from typing import Final

from bench.verdict import Verdict

USAGE_ERROR: Final = 2
_NOT_BENCHMARKS: Final = {
    *(
        "__main__",
        "cpu",
        "crowd",
        "logged_fleet",
        "made_fleet",
        "made_log",
        "nginx",
        "said_log",
        "replay_archive",
        "selector",
        "simulation",
        "storm",
        "verdict",
        "visitor",
    ),
}


def names() -> list[str]:
    """List the benchmarks that there are."""
    folder = str(Path(__file__).parent)
    return sorted(module.name for module in pkgutil.iter_modules([folder]) if module.name not in _NOT_BENCHMARKS)


def main(arguments: list[str]) -> int:
    """Run one benchmark; return the exit code."""
    if len(arguments) != 1 or arguments[0] not in names():
        print(f"usage: python -m bench NAME, with NAME one of: {', '.join(names())}", file=sys.stderr)
        return USAGE_ERROR
    benchmark = importlib.import_module(f"bench.{arguments[0]}")
    verdicts: tuple[Verdict, ...] = asyncio.run(benchmark.measure())
    for verdict in verdicts:
        print(verdict.line())
    return 0 if all(verdict.holds for verdict in verdicts) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
