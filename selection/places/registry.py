"""The country of an address as the regional registries allotted it: the default, which needs no file and no account.

The package ``iptocc`` carries their tables (MIT or Apache-2.0; data of AFRINIC, APNIC, ARIN, LACNIC and RIPE NCC by way
of nro.net, CC BY 4.0), 1.2 MB of memory and a tenth of a microsecond for each question. It knows where an address was
allotted and not where it is used: right for about 95 % of IPv4.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import Final

from iptocc import country_code

from events.grants import IPAddress
from selection.places.countries import country_of
from selection.places.findings import NOTHING, Finding

_EUROPE: Final = "EU"  # RIPE NCC allots some networks to no country in particular


class Registry:
    """The registries' tables. They allot in blocks no smaller than those that places are kept by."""

    def __init__(self) -> None:
        self._known: dict[str | None, Finding] = {None: NOTHING}

    @property
    def name(self) -> str:
        """The package with its version, which is its date."""
        return f"iptocc {version('iptocc')}"

    def find(self, address: IPAddress) -> tuple[Finding, int]:
        """Give the country that an address was allotted to."""
        code = country_code(str(address))
        finding = self._known.get(code)
        if finding is None:
            finding = self._known[code] = _finding(code or "")
        return finding, 0


def _finding(code: str) -> Finding:
    return Finding(country=code if country_of(code) else "", continent=_EUROPE if code == _EUROPE else "")
