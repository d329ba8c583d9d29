"""How roles are run: readiness, a clean stop by signal, and what becomes of failures."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable

import pytest

from broker.port import AccessRefusedError
from distributary.errors import CommandError
from distributary.exits import ExitCode
from distributary.serve import Role, Service, run_until_signal

OnReady = Callable[[str], None]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
async def test_signal_stops_every_service_in_good_order(number: signal.Signals) -> None:
    ended: list[str] = []
    ready: list[tuple[str, str]] = []

    async def run(name: str, on_ready: OnReady) -> None:
        on_ready(f"http://{name}")
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(name)

    def announce(role: str, url: str) -> None:
        ready.append((role, url))
        if len(ready) == 2:
            os.kill(os.getpid(), number)

    services = (
        Service(Role.MASTER, lambda on_ready: run("m", on_ready)),
        Service(Role.SELECTOR, lambda on_ready: run("s", on_ready)),
    )
    await run_until_signal(services, announce)
    assert ready == [("master", "http://m"), ("selector", "http://s")]
    assert sorted(ended) == ["m", "s"]


@pytest.mark.parametrize(
    ("error", "exit_code"),
    [
        pytest.param(AccessRefusedError("wrong password"), ExitCode.REFUSED, id="the broker refuses"),
        pytest.param(OSError(98, "Address already in use"), ExitCode.UNAVAILABLE, id="the address is taken"),
        pytest.param(ZeroDivisionError("a defect"), ExitCode.FAILED, id="a defect"),
        pytest.param(ExceptionGroup("", [AccessRefusedError("no")]), ExitCode.REFUSED, id="inside a group"),
    ],
)
async def test_failing_service_ends_the_others_with_its_exit_code(error: Exception, exit_code: ExitCode) -> None:
    ended = asyncio.Event()

    async def fail(_: OnReady) -> None:
        raise error

    async def go_on(_: OnReady) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    with pytest.raises(CommandError) as failed:
        await run_until_signal((Service(Role.MASTER, go_on), Service(Role.SELECTOR, fail)), lambda _role, _url: None)
    assert failed.value.exit_code == exit_code
    assert ended.is_set()


async def test_cancelling_from_outside_is_no_clean_stop() -> None:
    async def wait(_: OnReady) -> None:
        await asyncio.Event().wait()

    task = asyncio.create_task(run_until_signal((Service(Role.MASTER, wait),), lambda _role, _url: None))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
