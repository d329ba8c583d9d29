"""Options with human units, as click types."""

from __future__ import annotations

import re
from collections.abc import Collection
from enum import Enum
from typing import Final, cast
from urllib.parse import urlsplit

import click

from distributary.units import UnitError, parse_duration, parse_listen, parse_location, parse_size

_COUNTRY: Final = re.compile("[A-Z]{2}")


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


class Country(click.ParamType[str]):
    """A country's two letters (ISO 3166-1)."""

    name = "country"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Check it; a usage error tells how to write one, and where that is clear which."""
        text = str(value)
        if not _COUNTRY.fullmatch(text):
            wanted = text.strip().upper()
            meant = f"; did you mean {wanted}?" if _COUNTRY.fullmatch(wanted) else ""
            self.fail(f"{text!r} is no country: write its two capital letters, like NO or PT{meant}", param, ctx)
        return text


class SiteUrl(click.ParamType[str]):
    """What visitors reach: an http or https URL without query and fragment. A slash at its end is dropped."""

    name = "url"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Check it; a usage error tells how to write one."""
        text = str(value).rstrip("/")
        try:
            parts = urlsplit(text)
            parts.port  # noqa: B018 - reading it is the check
        except ValueError as error:
            self.fail(f"{text!r} is no address: {error}", param, ctx)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            self.fail(f"{text!r} is no address of a server: write it like http://files.example.org:8082", param, ctx)
        if parts.query or parts.fragment or parts.username is not None:
            self.fail(f"{text!r}: leave out user, query and fragment", param, ctx)
        return text


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


class WholeNumber(click.ParamType[int]):
    """A number above 0."""

    name = "number"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Read it."""
        text = str(value)
        if not text.isascii() or not text.isdigit() or int(text) < 1:
            self.fail(f"{text!r} is no number above 0", param, ctx)
        return int(text)


class Share(click.ParamType[float]):
    """A part of a whole, from 0 to 1."""

    name = "share"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Read it; a usage error tells how to write one."""
        try:
            share = float(str(value))
        except ValueError:
            share = -1.0
        if not 0 <= share <= 1:
            self.fail(f"{value!r} is no share; write it like 0.1", param, ctx)
        return share


class Listed(click.ParamType[tuple[str, ...]]):
    """Several words in one, with commas between; ``none`` is none of them."""

    name = "list"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        """Take it apart."""
        if isinstance(value, tuple):
            return cast("tuple[str, ...]", value)
        words = [word.strip() for word in str(value).split(",")]
        if words == ["none"]:
            return ()
        if not all(words):
            self.fail(f"{value!r}: write it like a,b, or none", param, ctx)
        return tuple(words)


class Codes(Listed):
    """Several codes of two letters, in either case: countries, or one of the ``known``."""

    name = "codes"

    def __init__(self, what: str, *, known: Collection[str] = ()) -> None:
        self._what = what
        self._known = known

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        """Take it apart; a usage error tells which codes there are."""
        codes = tuple(word.upper() for word in super().convert(value, param, ctx))
        like = f"use {', '.join(self._known)}" if self._known else "write two letters, like PT"
        for code in codes:
            if not (code in self._known if self._known else _COUNTRY.fullmatch(code)):
                self.fail(f"{code!r} is no {self._what}: {like}", param, ctx)
        return codes


class Words(click.ParamType[str]):
    """Text, which whoever it is for checks."""

    name = "text"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> str:  # noqa: ARG002 - click's own signature
        """Take it."""
        return str(value)


class Instead(Enum):
    """What stands in place of a limit's value."""

    NO_LIMIT = "none"
    AS_CONFIGURED = "config"


class Setting(click.ParamType[object]):
    """A limit that can be set, taken away (``none``; not those that must be there) or left to the configuration."""

    def __init__(self, kind: click.ParamType[object], *, limitless: bool = True) -> None:
        self._kind = kind
        self._limitless = limitless
        self.name = kind.name

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> object:
        """Read it; a usage error tells how to write one."""
        if value == Instead.AS_CONFIGURED.value:
            return Instead.AS_CONFIGURED
        if value == Instead.NO_LIMIT.value and self._limitless:
            return Instead.NO_LIMIT
        return self._kind.convert(value, param, ctx)
