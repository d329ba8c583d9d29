"""Options that several commands on the log take."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar, cast

import click

from distributary.cli.events.moments import Moment, MomentError, parse_moment

BROKER: Final = "broker"
ARCHIVE: Final = "archive"

F = TypeVar("F", bound=Callable[..., Any])


class MomentType(click.ParamType[Moment]):
    """A time or place in the log."""

    name = "moment"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Moment:
        """Read it; a usage error tells how to write one."""
        if not isinstance(value, str):
            return cast("Moment", value)
        try:
            return parse_moment(value, now_ns=time.time_ns())
        except MomentError as error:
            self.fail(str(error), param, ctx)


def source_option(decorated: F) -> F:
    """Let the log be read from elsewhere."""
    option = click.option(
        "--source",
        "source",
        metavar="broker|archive|FOLDER",
        help="Where to read the log: the broker, the archive, or the folder of an export. Default: the broker, or "
        "the archive where it is configured and the broker is not there.",
    )
    return option(decorated)


def from_option(decorated: F) -> F:
    """Let reading begin at a time or place."""
    option = click.option(
        "--from", "begin", type=MomentType(), metavar="WHEN", help="From there on: 2h, 2026-11-22, g1:1234."
    )
    return option(decorated)


def until_option(decorated: F) -> F:
    """Let reading end at a time or place."""
    return click.option("--until", type=MomentType(), metavar="WHEN", help="Up to and with that.")(decorated)


def filter_options(decorated: F) -> F:
    """Let entries be chosen; each option may be given several times."""
    for names, metavar, text in (
        (("--source-name", "sources"), "NAME", "Said by this source: master, mirror/ana, selector/*."),
        (("--channel", "channels"), "NAME", "About this channel."),
        (("--file", "files"), "PATH", "About this file; a folder with a slash at its end; or a SHA-256."),
        (("--mirror", "mirrors"), "NAME", "About this mirror, or said by it."),
        (("--type", "types"), "TYPE", "Of this type: file.published, 'mirror.*'."),
    ):
        decorated = click.option(*names, multiple=True, metavar=metavar, help=text)(decorated)
    return decorated


def chosen(criteria: Mapping[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    """Give what ``filter_options`` were given, proved.

    Raises:
        UsageError: there is no event of such a type.
    """
    from distributary.errors import UsageError  # noqa: PLC0415 - help must not pay for it
    from events.schemas import TAGS  # noqa: PLC0415
    from history.filters import is_of_type  # noqa: PLC0415

    for type_ in criteria["types"]:
        if not any(is_of_type(tag, type_) for tag in TAGS):
            known = ", ".join(sorted({tag.partition("/")[0] for tag in TAGS}))
            raise UsageError("type_unknown", f"there are no events of type {type_!r}", hint=f"there are: {known}")
    return dict(criteria)
