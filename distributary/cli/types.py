"""Options with human units, as click types."""

from __future__ import annotations

import click

from distributary.units import UnitError, parse_duration, parse_listen, parse_location, parse_size


class Size(click.ParamType[int]):
    """A size like ``50GB``, in bytes."""

    name = "size"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Read it; a usage error tells how to write one."""
        if isinstance(value, int):
            return value
        try:
            return parse_size(str(value))
        except UnitError as error:
            self.fail(str(error), param, ctx)


class Duration(click.ParamType[float]):
    """A duration like ``36h``, in seconds."""

    name = "duration"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Read it; a usage error tells how to write one."""
        if isinstance(value, float):
            return value
        try:
            return parse_duration(str(value))
        except UnitError as error:
            self.fail(str(error), param, ctx)


class Place(click.ParamType[str]):
    """``latitude,longitude``, kept as text once it was proved."""

    name = "place"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Check it; a usage error tells how to write one."""
        try:
            parse_location(str(value))
        except UnitError as error:
            self.fail(str(error), param, ctx)
        return str(value)


class ListenAddress(click.ParamType[str]):
    """``host:port``, kept as text once it was proved."""

    name = "address"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Check it; a usage error tells how to write one."""
        try:
            parse_listen(str(value))
        except UnitError as error:
            self.fail(str(error), param, ctx)
        return str(value)
