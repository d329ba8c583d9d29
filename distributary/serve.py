"""The services of each role, run on uvloop until a signal ends them.

One role is one process; ``all`` runs master, selector and, where they are configured, archiver and mirror in one. A
selector that is to be several processes is kept by one more (``distributary.processes``).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, assert_never

import structlog
import uvloop

from distributary.config.load import Settings
from distributary.errors import CommandError, UnavailableError
from distributary.exits import ExitCode
from distributary.running import Announce, Role, Service, raise_descriptor_limit, run_until_signal

JOIN_AGAIN: Final = "join again with a new invitation, into a new folder; the copies in the old one can go"

log = structlog.stdlib.get_logger()


def serve(role: Role, settings: Settings, announce: Announce) -> None:
    """Run a role until a signal ends it.

    Raises:
        CommandError: the configuration is wrong, the address is taken, or the broker refuses us.
    """
    services = services_of(role, settings)
    raise_descriptor_limit()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run_until_signal(services, announce))


def services_of(role: Role, settings: Settings) -> tuple[Service, ...]:
    """Configure the services of a role. Each is imported only where it is run."""
    match role:
        case Role.MASTER:
            return (_master(settings),)
        case Role.SELECTOR:
            return (_selector(settings),)
        case Role.MIRROR:
            return (_mirror(settings),)
        case Role.ARCHIVER:
            return (_archiver(settings),)
        case Role.ALL:
            archiver = () if settings.archive is None else (_archiver(settings),)
            mirror = () if settings.mirror is None else (_mirror(settings, alone=False),)
            return (_master(settings), _selector(settings), *archiver, *mirror)
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


def _archiver(settings: Settings) -> Service:
    from distributary.config.services.archive import archive_config  # noqa: PLC0415 - see above
    from history.archive.app import run  # noqa: PLC0415 - see above
    from history.archive.store.engine import ArchiveError  # noqa: PLC0415 - see above

    config = archive_config(settings)

    async def run_it(on_ready: Callable[[str], None]) -> None:
        try:
            await run(config, on_ready=on_ready)
        except ArchiveError as error:
            hint = "archive.data_dir and archive.database_url say where it is"
            raise UnavailableError("archive_unavailable", str(error), hint=hint) from error

    return Service(Role.ARCHIVER, run_it, _broker_from(settings))


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
