"""What of a mirror stands in the answer to everybody who is sent there, as bytes. Pure."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from events.grants import Binding, Minter, minter_of
from events.names import ORIGIN, ChannelName, MirrorName
from selection.answering.granting import Keys
from selection.answering.links import downloads_at
from selection.view.file import PublishedFile
from selection.view.fleet import FleetView
from selection.view.roster import Mirror

_MASTER: Final = -1


class Station(Struct, frozen=True, gc=False):
    """A mirror, or the master.

    Attributes:
        name: its name.
        downloads: how the address of each download there begins, up to the token.
        served_by: the field that names it; none for the master.
        key_epoch: the epoch of the key that tokens for it are minted under.
        minter: who mints them.
        bindings: how closely links to its copies are bound, by the channels of the file.
    """

    name: MirrorName
    downloads: bytes
    served_by: bytes
    key_epoch: int
    minter: Minter
    bindings: dict[tuple[ChannelName, ...], Binding]


class Stations:
    """The stations that visitors were sent to, until more changes of a mirror than its load and its copies."""

    def __init__(self, view: FleetView, keys: Keys, master_url: str) -> None:
        self._view, self._keys, self._master_url = view, keys, master_url
        self._roster, self._policies = view.parts.roster, view.parts.policies
        self._known: dict[int, Station] = {}
        self._roster_version, self._policies_version = self._roster.version, self._policies.version

    def of(self, mirror: Mirror | None) -> Station:
        """Give the station of a mirror that was chosen; None: the master's."""
        if self._roster_version != self._roster.version or self._policies_version != self._policies.version:
            self._known = {}
            self._roster_version, self._policies_version = self._roster.version, self._policies.version
        number = _MASTER if mirror is None else mirror.number
        station = self._known.get(number)
        if station is None:
            station = self._known[number] = self._make(mirror)
        return station

    def binding(self, station: Station, file: PublishedFile) -> Binding:
        """Tell how closely a link to a station's copy is bound, of a station that was given just now."""
        binding = station.bindings.get(file.channels)
        if binding is None:
            binding = station.bindings[file.channels] = self._view.binding(file, station.name)
        return binding

    def _make(self, mirror: Mirror | None) -> Station:
        if mirror is None:
            return self._station(ORIGIN, self._master_url, b"")
        return self._station(mirror.name, url_of(mirror), f"X-MirrorBrain-Mirror: {mirror.name}\r\n".encode("ascii"))

    def _station(self, name: MirrorName, base_url: str, served_by: bytes) -> Station:
        key_epoch = self._view.key_epoch(name)
        minter = minter_of(name, self._keys.of(name, key_epoch))
        return Station(name, downloads_at(base_url).encode("ascii"), served_by, key_epoch, minter, {})


def url_of(mirror: Mirror) -> str:
    """Give the URL of a mirror that was chosen."""
    profile = mirror.profile
    assert profile is not None  # noqa: S101 - who was chosen said where he is
    return profile.url
