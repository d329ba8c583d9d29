"""Where the log is read from: the broker, the archive or an export, opened as ``--source`` says."""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from collections.abc import AsyncGenerator, Generator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Final

from broker.config import BrokerConfig
from broker.port import AccessRefusedError, Broker
from broker.rabbitmq import RabbitBroker
from distributary import logs
from distributary.cli.events.options import ARCHIVE, BROKER
from distributary.cli.events.proving import DamagedExportError
from distributary.cli.invocation import Invocation
from distributary.cli.output import WARNING
from distributary.config.services.shared import broker_config
from distributary.errors import CommandError, UnavailableError, UsageError
from distributary.exits import ExitCode
from history.export.faults import FaultFoundError
from history.export.folder import ExportError, segments_in
from history.export.source import ExportSource
from history.export.verification import verify
from history.sources.broker_log import BrokerLog
from history.sources.port import Source, SourceError, SourceRefusedError

CONNECT_TIMEOUT_S: Final = 10.0  # a broker that is there takes us in well under one

# They log each try to connect again; the command says once that the broker is away, or why it gave up.
_TELLING_ADAPTERS: Final = ("broker.rabbitmq.session", "broker.rabbitmq.follower")


@asynccontextmanager
async def opened_log(invocation: Invocation, source: str | None) -> AsyncGenerator[Source]:
    """Open the log while the block is entered; what cannot be read there ends the command.

    Raises:
        CommandError: it cannot be opened or read; with what to do.
    """
    async with AsyncExitStack() as stack:
        stack.enter_context(as_command_errors())
        if source is None:
            yield await _broker_or_archive(stack, invocation)
        elif source == BROKER:
            yield broker_log(*await stack.enter_async_context(opened_broker(invocation)))
        elif source == ARCHIVE:
            yield await stack.enter_async_context(_opened_archive(invocation))
        else:
            yield opened_export(Path(source))


async def _broker_or_archive(stack: AsyncExitStack, invocation: Invocation) -> Source:
    """Open the broker's log, or the archive where there is one and the broker is not there."""
    try:
        return broker_log(*await stack.enter_async_context(opened_broker(invocation)))
    except UnavailableError as error:
        if invocation.settings.archive is None:
            raise
        invocation.output.note(f"{error.message}; reading the archive", style=WARNING)
    return await stack.enter_async_context(_opened_archive(invocation))


def _opened_archive(invocation: Invocation) -> AbstractAsyncContextManager[Source]:
    from distributary.config.services.archive import archive_config  # noqa: PLC0415 - SQLAlchemy takes a second
    from history.archive.source import open_archive  # noqa: PLC0415

    report_troubles(invocation)
    config = archive_config(invocation.settings)
    return open_archive(config.store_url, vhost=config.broker.vhost)


@asynccontextmanager
async def opened_broker(invocation: Invocation) -> AsyncGenerator[tuple[Broker, BrokerConfig]]:
    """Connect as the site's own user while the block is entered.

    Raises:
        CommandError: the broker is not there, or refuses us.
    """
    report_troubles(invocation)
    config = broker_config(invocation.settings, name="events")
    broker = RabbitBroker(config)
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            await broker.__aenter__()
    except TimeoutError:
        raise UnavailableError(
            "broker_unreachable",
            f"no broker answers at {config.safe_url}: {broker.health.last_error or 'nothing came back'}",
            hint="start it, or name another source: --source archive, or the folder of an export",
        ) from None
    except AccessRefusedError as error:
        raise CommandError(
            "broker_refused",
            f"{config.safe_url}: {error}",
            exit_code=ExitCode.REFUSED,
            hint="broker.url (or its url_file) is to be the site's own user's: run this in the site's folder",
        ) from error
    try:
        yield broker, config
    finally:
        await broker.__aexit__(None, None, None)


def broker_log(broker: Broker, config: BrokerConfig) -> BrokerLog:
    """Give the log that a broker holds."""
    return BrokerLog(broker, vhost=config.vhost, name=config.safe_url, clock_s=time.time)


@contextmanager
def as_command_errors() -> Generator[None]:
    """End the command with the fitting code where the log cannot be read."""
    try:
        yield
    except SourceRefusedError as error:
        raise CommandError("log_refused", str(error), exit_code=ExitCode.REFUSED) from error
    except SourceError as error:
        if isinstance(error.__cause__, FaultFoundError):
            raise CommandError(
                "log_damaged",
                str(error),
                exit_code=ExitCode.VERIFICATION_FAILED,
                hint="nothing behind it is proved: use another copy of the export",
            ) from error
        raise UnavailableError("log_unreadable", str(error)) from error


def report_troubles(invocation: Invocation) -> None:
    """Send what goes wrong meanwhile, and nothing else, to stderr."""
    console = not invocation.json
    logs.configure(role="events", console=console, colours=console and invocation.wants_colour(sys.stderr))
    logging.getLogger().setLevel(logging.WARNING)
    for adapter in _TELLING_ADAPTERS:
        logging.getLogger(adapter).setLevel(logging.ERROR)


def opened_export(folder: Path) -> ExportSource:
    """Open the export in a folder.

    Raises:
        CommandError: there is no such folder, no export in it, or one whose first line is damaged.
    """
    if not folder.is_dir():
        raise UsageError(
            "source_unknown",
            f"--source {str(folder)!r} is no folder",
            hint="name broker, archive, or the folder that `events export` wrote",
        )
    try:
        is_export = bool(segments_in(folder))
    except ExportError as error:
        raise CommandError("export_unreadable", str(error)) from error
    if not is_export:
        raise CommandError(
            "export_missing",
            f"{folder} holds no export",
            exit_code=ExitCode.NOT_FOUND,
            hint="name the folder that `events export` wrote",
        )
    try:
        return ExportSource(folder)
    except SourceError as error:
        if fault := verify(folder).fault:  # it ends at the first line
            raise DamagedExportError(str(folder), fault) from error
        raise
