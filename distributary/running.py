"""Running services until a signal: a clean stop on SIGTERM and SIGINT, and errors that an operator can mend.

What services there are is none of its business (``distributary.serve`` knows), so a child process of a selector runs
its one service by the same code.
"""

from __future__ import annotations

import asyncio
import errno
import resource
import signal
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Final, TypeAlias, cast

import structlog

from broker.port import AccessRefusedError, ForeignLogError, ManagementRefusedError
from distributary.errors import CommandError, UnavailableError, UsageError
from distributary.exits import ExitCode
from distributary.site_folder import unwritable

STOP_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)
DESCRIPTORS_WANTED: Final = 32_768  # for all connections that a server takes, with a file each; shells give 1,024

Announce: TypeAlias = Callable[[str, str], None]
"""Takes the role and the base URL it listens on, once it is ready."""

Run: TypeAlias = Callable[[Callable[[str], None]], Awaitable[None]]

log = structlog.stdlib.get_logger()


class Role(Enum):
    """What a process can be."""

    MASTER = "master"
    MIRROR = "mirror"
    SELECTOR = "selector"
    ARCHIVER = "archiver"
    ALL = "all"


@dataclass(frozen=True, slots=True)
class Service:
    """One role, configured, ready to run. ``broker_from`` says where the broker's URL is written."""

    role: Role
    run: Run
    broker_from: str = ""


def raise_descriptor_limit() -> None:
    """Let this process open as many files and connections as it may have use for, as far as the system lets it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = DESCRIPTORS_WANTED if hard == resource.RLIM_INFINITY else min(DESCRIPTORS_WANTED, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


async def run_until_signal(services: Sequence[Service], announce: Announce) -> None:
    """Run the services until SIGTERM or SIGINT; when one fails, end all and raise its error."""
    loop, whole = asyncio.get_running_loop(), asyncio.current_task()
    stopping = False

    def stop() -> None:
        nonlocal stopping
        if not stopping and whole is not None:
            stopping = True
            log.info("serve.stopping")
            whole.cancel()

    for number in STOP_SIGNALS:
        loop.add_signal_handler(number, stop)
    try:
        await _run_all(services, announce)
    except asyncio.CancelledError:
        if not stopping:
            raise
    finally:
        for number in STOP_SIGNALS:
            loop.remove_signal_handler(number)


async def _run_all(services: Sequence[Service], announce: Announce) -> None:
    try:
        async with asyncio.TaskGroup() as tasks:
            for service in services:
                tasks.create_task(_run_one(service, announce), name=service.role.value)
    except BaseExceptionGroup as group:
        raise _as_command_error(_first(group)) from group


async def _run_one(service: Service, announce: Announce) -> None:
    try:
        await service.run(lambda url: announce(service.role.value, url))
    except Exception as error:
        refusal = _first(error)
        if not isinstance(refusal, AccessRefusedError):
            raise
        raise _refused_by_broker(refusal, service) from error


def _refused_by_broker(refusal: AccessRefusedError, service: Service) -> CommandError:
    source = service.broker_from
    if isinstance(refusal, ForeignLogError):
        where = f" ({source})" if source else ""
        hint = (
            f"give this site a virtual host of its own{where}; or delete the one that is there, if its site is no more"
        )
        return CommandError("log_foreign", str(refusal), exit_code=ExitCode.REFUSED, hint=hint)
    hint = f"user and password are from {source}" if source else ""
    if isinstance(refusal, ManagementRefusedError):
        hint = "its user and password are in broker.management_url (or $DISTRIBUTARY_MANAGEMENT_URL)"
    return CommandError("broker_refused", f"the broker refuses us: {refusal}", exit_code=ExitCode.REFUSED, hint=hint)


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = cast("BaseExceptionGroup[BaseException]", error).exceptions[0]
    return error


def _as_command_error(error: BaseException) -> BaseException:
    """Turn what an operator can mend into an error with an exit code; a defect stays what it is."""
    match error:
        case CommandError():
            return error
        case OSError():
            return _refused_by_system(error)
        case _:
            log.error("serve.failed", exc_info=error)
            return CommandError("serve_failed", f"{type(error).__name__}: {error}", hint="the log has the details")


def _refused_by_system(error: OSError) -> CommandError:
    """Tell a folder that cannot be written from an address that cannot be listened on."""
    if isinstance(error.filename, str | Path):
        return unwritable(Path(error.filename), error)
    match error.errno:
        case errno.EADDRINUSE:
            return UnavailableError("system_refused", str(error), hint="is another process on that address already?")
        case errno.EADDRNOTAVAIL:
            return UsageError("system_refused", str(error), hint="`listen` must name an address of this machine")
        case errno.EACCES | errno.EPERM:
            return UsageError("system_refused", str(error), hint="ports below 1024 are for root; listen on another")
        case _:
            return UnavailableError("system_refused", str(error))
