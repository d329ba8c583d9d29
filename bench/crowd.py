"""A crowd of visitors: ``wrk`` with a script that asks for random files from random addresses.

Most who come to a site come from networks that others came from just before: carriers, universities, clouds. How visits
are spread over networks is a long tail everywhere that it was counted. Here it is the plainest that keeps what matters:
each visitor has any of a million addresses, which lie in ``NETWORKS`` blocks of 256. So hardly anybody comes twice, and
nearly all come from where somebody else was before. ``are_strangers``: from anywhere at all, each from a network that
nobody came from yet, which no site has for long.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

TIMEOUT_S: Final = 120.0
NETWORKS: Final = 4096  # a million addresses
_NETWORKS_SEED: Final = 24  # the same networks in each round
_UNITS_MS: Final = {"us": 1e-3, "ms": 1.0, "s": 1e3}
_RATE: Final = re.compile(r"Requests/sec:\s+([0-9.]+)")
_BROKEN: Final = re.compile(r"Socket errors: (?!connect 0, read 0, write 0)")  # who waits for long is only late
_PERCENTILE: Final = re.compile(r"^\s+(50|99)%\s+([0-9.]+)(us|ms|s)\s*$", re.MULTILINE)

_SCRIPT: Final = """\
local byte, networks, strangers = math.random, {{}}, {strangers}
local function network() return byte(1, 223) .. "." .. byte(0, 255) .. "." .. byte(0, 255) .. "." end
function init()
  math.randomseed({networks_seed})
  for n = 1, {networks} do networks[n] = network() end
  math.randomseed({seed})
end
function request()
  return "GET /pool/main/" .. byte(0, {files} - 1) .. ".bin HTTP/1.1\\r\\nHost: dl.example.org\\r\\n"
    .. "User-Agent: Wget/1.21.3\\r\\nAccept: */*\\r\\nAccept-Encoding: identity\\r\\n"
    .. "X-Forwarded-For: " .. (strangers and network() or networks[byte({networks})]) .. byte(0, 255)
    .. "\\r\\n{close}\\r\\n"
end
{delay}
"""
_DELAY: Final = "function delay() return math.floor(-math.log(1 - math.random()) * {mean_ms}) end"


class WrkMissingError(Exception):
    """There is no wrk; on Debian: apt-get install wrk."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Crowd:
    """Visitors on so many connections; ``pause_ms`` is what each waits between two requests, on the average."""

    files: int
    connections: int = 32
    is_new_each_time: bool = False
    are_strangers: bool = False
    pause_ms: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Visits:
    """What a crowd saw."""

    per_second: float
    p50_ms: float
    p99_ms: float


def visit(crowd: Crowd, port: int, folder: Path, *, seed: int, seconds: int) -> Visits:
    """Let a crowd come for some time.

    Raises:
        WrkMissingError: see there.
        RuntimeError: not all were sent on.
    """
    program = shutil.which("wrk")
    if program is None:
        raise WrkMissingError("there is no wrk; on Debian: apt-get install wrk")
    script = folder / "crowd.lua"
    script.write_text(
        _SCRIPT.format(
            seed=seed,
            files=crowd.files,
            networks=NETWORKS,
            networks_seed=_NETWORKS_SEED,
            strangers=str(crowd.are_strangers).lower(),
            close="Connection: close\\r\\n" if crowd.is_new_each_time else "",
            delay=_DELAY.format(mean_ms=crowd.pause_ms) if crowd.pause_ms else "",
        )
    )
    told = subprocess.run(  # noqa: S603 - Debian's wrk
        [
            program,
            *("-t1", f"-c{crowd.connections}", f"-d{seconds}s", "--latency", "-s", str(script)),
            f"http://127.0.0.1:{port}",
        ],
        capture_output=True,
        text=True,
        check=True,
        timeout=TIMEOUT_S,
    ).stdout
    if "Non-2xx" in told or _BROKEN.search(told):
        raise RuntimeError(told)
    return _read(told)


def _read(told: str) -> Visits:
    rate = _RATE.search(told)
    if rate is None:
        raise RuntimeError(told)
    percentiles = {percent: float(number) * _UNITS_MS[unit] for percent, number, unit in _PERCENTILE.findall(told)}
    return Visits(per_second=float(rate[1]), p50_ms=percentiles["50"], p99_ms=percentiles["99"])
