"""What all commands share: the common options on every command, lazily loaded groups, errors as exit codes."""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import IO, Any, Final, NoReturn

import click

from distributary.cli.colour import Colour
from distributary.cli.invocation import Invocation
from distributary.cli.printable import printable_lines
from distributary.errors import CommandError
from distributary.exits import ExitCode

HELP_OPTIONS: Final = {"help_option_names": ["-h", "--help"]}


class Command(click.Command):
    """A command that also takes the common options, so that they may stand anywhere on the line."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - click's own signature
        super().__init__(*args, **kwargs)
        self.params.extend(common_options())
        self.context_settings = {**HELP_OPTIONS, **self.context_settings}


class LazyGroup(click.Group):
    """A group whose commands are imported when they are called. ``lazy`` maps a name to ``module`` and short help.

    The short help stands here so that the list of commands is printed without importing any.
    """

    command_class = Command

    def __init__(self, *args: Any, lazy: dict[str, tuple[str, str]] | None = None, **kwargs: Any) -> None:  # noqa: ANN401 - click's own signature
        super().__init__(*args, **kwargs)
        self.lazy = lazy or {}
        self.params.extend(common_options())
        self.context_settings = {**HELP_OPTIONS, **self.context_settings}

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Name the commands in the order of the table, which is the order of use."""
        return [*self.lazy, *(name for name in super().list_commands(ctx) if name not in self.lazy)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command that is asked for, and no other."""
        if cmd_name not in self.lazy:
            return super().get_command(ctx, cmd_name)
        return import_module(f"distributary.cli.{self.lazy[cmd_name][0]}").command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Print the list of commands from the table."""
        if not self.lazy:
            super().format_commands(ctx, formatter)
            return
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in self.lazy.items()])

    def main(  # pyright: ignore[reportIncompatibleMethodOverride] - click overloads it by standalone_mode; we always stand alone
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        **extra: Any,  # noqa: ANN401 - click's own signature
    ) -> NoReturn:
        """Run and exit; every way to fail has its code and, with ``--json``, is one object on stderr."""
        arguments = list(sys.argv[1:] if args is None else args)
        extra.pop("standalone_mode", None)
        sys.exit(
            run_guarded(
                lambda: super(LazyGroup, self).main(arguments, prog_name, standalone_mode=False, **extra),
                as_json="--json" in arguments,
            )
        )


def common_options() -> list[click.Option]:
    """Make the options that every command takes."""
    return [
        click.Option(
            ["--config"],
            type=click.Path(path_type=Path),
            metavar="FILE",
            expose_value=False,
            callback=_keep("config"),
            help="Configuration file, or the folder with distributary.toml.",
        ),
        click.Option(
            ["--set", "overrides"],
            multiple=True,
            metavar="SECTION.KEY=VALUE",
            expose_value=False,
            callback=_keep_overrides,
            help="Set one setting; beats environment and file.",
        ),
        click.Option(
            ["--json"], is_flag=True, expose_value=False, callback=_keep("json"), help="Machine-readable output."
        ),
        click.Option(
            ["--color", "colour"],
            type=click.Choice([each.value for each in Colour]),
            expose_value=False,
            callback=_keep_colour,
            help="Colours; default: on a terminal.",
        ),
    ]


def _keep(name: str) -> Callable[[click.Context, click.Parameter, object], None]:
    def callback(ctx: click.Context, _: click.Parameter, value: object) -> None:
        if value:
            setattr(ctx.ensure_object(Invocation), name, value)

    return callback


def _keep_overrides(ctx: click.Context, _: click.Parameter, value: Sequence[str]) -> None:
    ctx.ensure_object(Invocation).overrides.extend(value)


def _keep_colour(ctx: click.Context, _: click.Parameter, value: str | None) -> None:
    if value:
        ctx.ensure_object(Invocation).colour = Colour(value)


def run_guarded(run: Callable[[], object], *, as_json: bool) -> int:
    """Run a command; give its exit code. Errors are printed to stderr, as text or as one JSON object."""
    try:
        exit_code = _run(run, as_json=as_json)
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read our output has enough (`| head`): nothing to complain about, but not all was written.
        _abandon(sys.stdout)
        return ExitCode.FAILED
    except OSError as error:
        # A full disk under stdout, for one; what a command itself reads and writes it reports as a CommandError.
        _abandon(sys.stdout)
        _print_error("system_refused", error.strerror or str(error), "", as_json=as_json)
        return ExitCode.FAILED
    return exit_code


def _run(run: Callable[[], object], *, as_json: bool) -> int:
    try:
        result = run()
    except CommandError as error:
        _print_error(error.code, error.message, error.hint, as_json=as_json, details=error.details)
        return error.exit_code
    except click.UsageError as error:
        usage = "" if error.ctx is None else error.ctx.get_usage()
        _print_error("usage", error.format_message(), usage, as_json=as_json)
        return ExitCode.USAGE
    except click.ClickException as error:
        _print_error("failed", error.format_message(), "", as_json=as_json)
        return ExitCode.FAILED
    except (KeyboardInterrupt, click.Abort):
        _print_error("interrupted", "interrupted", "", as_json=as_json)
        return ExitCode.INTERRUPTED
    return result if isinstance(result, int) else ExitCode.OK


def _abandon(stream: IO[str]) -> None:
    """Send what a stream still holds nowhere: Python would fail on it once more when it flushes at exit."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, stream.fileno())
    except io.UnsupportedOperation:
        pass  # a test's stream in memory
    finally:
        os.close(nowhere)


def _print_error(
    code: str, message: str, hint: str, *, as_json: bool, details: Mapping[str, object] | None = None
) -> None:
    if as_json:
        click.echo(json.dumps({"error": {"code": code, "message": message, "hint": hint, **(details or {})}}), err=True)
        return
    click.echo(f"error: {printable_lines(message)}", err=True)
    if hint:
        click.echo(printable_lines(f"hint:  {hint}" if code != "usage" else hint), err=True)
