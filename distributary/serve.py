"""Running roles: on uvloop, with a clean stop on SIGTERM and SIGINT, and a word when they are ready.

One role is one process; ``all`` runs master, selector and, where one is configured, the mirror in one. A selector that
is to be several processes is kept by one more (``distributary.processes``).
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
from typing import Final, TypeAlias, assert_never, cast

import structlog
import uvloop

from broker.port import AccessRefusedError
from distributary.config.load import Settings
from distributary.errors import CommandError, UnavailableError, UsageError
from distributary.exits import ExitCode
from distributary.site_folder import unwritable

STOP_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)
DESCRIPTORS_WANTED: Final = 32_768  # for all connections that a server takes, with a file each; shells give 1,024

JOIN_AGAIN: Final = "join again with a new invitation, into a new folder; the copies in the old one can go"

Announce: TypeAlias = Callable[[str, str], None]
"""Takes the role and the base URL it listens on, once it is ready."""

Run: TypeAlias = Callable[[Callable[[str], None]], Awaitable[None]]

log = structlog.stdlib.get_logger()


class Role(Enum):
    """What a process can be."""

    MASTER = "master"
    MIRROR = "mirror"
    SELECTOR = "selector"
    ALL = "all"


@dataclass(frozen=True, slots=True)
class Service:
    """One role, configured, ready to run. ``broker_from`` says where the broker's URL is written."""

    role: Role
    run: Run
    broker_from: str = ""


def serve(role: Role, settings: Settings, announce: Announce) -> None:
    """Run a role until a signal ends it.

    Raises:
        CommandError: the configuration is wrong, the address is taken, or the broker refuses us.
    """
    services = services_of(role, settings)
    raise_descriptor_limit()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run_until_signal(services, announce))


def raise_descriptor_limit() -> None:
    """Let this process open as many files and connections as it may have use for, as far as the system lets it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = DESCRIPTORS_WANTED if hard == resource.RLIM_INFINITY else min(DESCRIPTORS_WANTED, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def services_of(role: Role, settings: Settings) -> tuple[Service, ...]:
    """Configure the services of a role. Each is imported only where it is run."""
    match role:
        case Role.MASTER:
            return (_master(settings),)
        case Role.SELECTOR:
            return (_selector(settings),)
        case Role.MIRROR:
            return (_mirror(settings),)
        case Role.ALL:
            site = (_master(settings), _selector(settings))
            return site if settings.mirror is None else (*site, _mirror(settings, alone=False))
        case _:
            assert_never(role)


def _master(settings: Settings) -> Service:
    from distributary.config.services.master import master_config  # noqa: PLC0415 - a mirror must not pay for it
    from master.app import run  # noqa: PLC0415 - see above

    config = master_config(settings)
    return Service(Role.MASTER, lambda on_ready: run(config, on_ready=on_ready), _broker_from(settings))


def _selector(settings: Settings) -> Service:
    from distributary.config.services.selector import selector_config  # noqa: PLC0415 - see above
    from selection.app import run  # noqa: PLC0415 - see above

    config = selector_config(settings)
    if config.processes > 1:
        from distributary.processes import run_processes  # noqa: PLC0415 - see above

        return Service(Role.SELECTOR, lambda on_ready: run_processes(config, on_ready=on_ready), _broker_from(settings))
    return Service(Role.SELECTOR, lambda on_ready: run(config, on_ready=on_ready), _broker_from(settings))


def _mirror(settings: Settings, *, alone: bool = True) -> Service:
    """Configure the mirror. One that the master knows no more ends; ``alone``, its process does so with an error."""
    from distributary.config.services.mirror import mirror_config  # noqa: PLC0415 - see above
    from mirror.app import NotAMemberError, run  # noqa: PLC0415 - see above
    from mirror.content.objects import StoreLockedError  # noqa: PLC0415 - see above

    config = mirror_config(settings)

    async def run_it(on_ready: Callable[[str], None]) -> None:
        try:
            await run(config, on_ready=on_ready)
        except NotAMemberError as error:
            if not alone:
                log.critical("mirror.not_a_member", error=str(error))
                return
            raise CommandError("not_a_member", str(error), exit_code=ExitCode.REFUSED, hint=JOIN_AGAIN) from error
        except StoreLockedError as error:
            raise CommandError(
                "folder_taken", str(error), hint="stop that one, or name another mirror.data_dir for this one"
            ) from error

    credentials = "" if settings.mirror is None else f"{settings.mirror.credentials_file}, as joining gave it"
    return Service(Role.MIRROR, run_it, credentials)


def _broker_from(settings: Settings) -> str:
    """Say where the broker's URL is written."""
    key = "url" if settings.broker.url_file is None else "url_file"
    return f"broker.{key} ({settings.origins['broker', key]})"


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
        raise CommandError(
            "broker_refused",
            f"the broker refuses us: {refusal}",
            exit_code=ExitCode.REFUSED,
            hint=f"user and password are from {service.broker_from}" if service.broker_from else "",
        ) from error


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
