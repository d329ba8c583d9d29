"""What of a mirror stands in the answer to everybody who is sent there, as bytes. Pure."""

from __future__ import annotations

from typing import Final, NamedTuple

from events.grants import Minter, minter_of
from events.names import ORIGIN, MirrorName
from selection.answering.granting import Keys
from selection.answering.links import downloads_at
from selection.view.fleet import FleetView
from selection.view.roster import Mirror

_MASTER: Final = -1


class Station(NamedTuple):
    """A mirror, or the master.

    Attributes:
        name: its name.
        downloads: how the address of each download there begins, up to the token.
        served_by: the field that names it; none for the master.
        key_epoch: the epoch of the key that tokens for it are minted under.
        minter: who mints them.
    """

    name: MirrorName
    downloads: bytes
    served_by: bytes
    key_epoch: int
    minter: Minter


class Stations:
    """The stations that visitors were sent to, until anything of a mirror changes but its load and its copies."""

    def __init__(self, view: FleetView, keys: Keys, master_url: str) -> None:
        self._view, self._keys, self._master_url = view, keys, master_url
        self._known: dict[int, Station] = {}
        self._version = view.roster_version

    def of(self, mirror: Mirror | None) -> Station:
        """Give the station of a mirror that was chosen; None: the master's."""
        if self._version != self._view.roster_version:
            self._known, self._version = {}, self._view.roster_version
        number = _MASTER if mirror is None else mirror.number
        station = self._known.get(number)
        if station is None:
            station = self._known[number] = self._make(mirror)
        return station

    def _make(self, mirror: Mirror | None) -> Station:
        if mirror is None:
            return self._station(ORIGIN, self._master_url, b"")
        return self._station(mirror.name, url_of(mirror), f"X-MirrorBrain-Mirror: {mirror.name}\r\n".encode("ascii"))

    def _station(self, name: MirrorName, base_url: str, served_by: bytes) -> Station:
        key_epoch = self._view.key_epoch(name)
        minter = minter_of(name, self._keys.of(name, key_epoch))
        return Station(name, downloads_at(base_url).encode("ascii"), served_by, key_epoch, minter)


def url_of(mirror: Mirror) -> str:
    """Give the URL of a mirror that was chosen."""
    profile = mirror.profile
    assert profile is not None  # noqa: S101 - who was chosen said where he is
    return profile.url
