"""Joining a fleet as a mirror: read the invitation, offer a profile, keep the credentials. Blocking."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from distributary.client import Api, JsonObject
from distributary.config.secrets import write_private
from distributary.config.sources import FILE_NAME
from distributary.errors import CommandError, UsageError
from distributary.exits import ExitCode
from distributary.site_folder import toml_text, unwritable
from distributary.units import parse_location
from events.errors import InvalidNameError, MalformedInvitationError
from events.invitation import Invitation, read_invitation

CONFIG_NAME: Final = FILE_NAME  # so that the folder is all that `serve mirror` needs to be told
CREDENTIALS_NAME: Final = "credentials.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """What a mirror's operator offers. ``url`` is what visitors reach; ``monthly_bytes`` None is no limit."""

    url: str
    listen: str
    slots: int
    monthly_bytes: int | None = None
    disk_bytes: int | None = None
    location: str | None = None
    country: str = ""


def read_token(token: str, *, now_s: float | None = None) -> Invitation:
    """Read an invitation before anything is sent anywhere.

    Raises:
        UsageError: mistyped or cut.
        CommandError: expired.
    """
    try:
        invitation = read_invitation(token)
    except (MalformedInvitationError, InvalidNameError) as error:
        raise UsageError("invitation_malformed", str(error)) from error
    if invitation.expires_at_s < (time.time() if now_s is None else now_s):
        raise CommandError(
            "invitation_expired",
            f"the invitation for {invitation.name} has expired",
            exit_code=ExitCode.REFUSED,
            hint=f"ask the site for a new one: `distributary mirror invite {invitation.name}`",
        )
    return invitation


def check_folder(folder: Path) -> None:
    """Refuse to join over an existing mirror or site: its credentials or configuration would be lost.

    Raises:
        UsageError: the folder holds one, or is no folder that we may look into.
    """
    for name in (CREDENTIALS_NAME, CONFIG_NAME):
        try:
            is_there = (folder / name).exists()
        except OSError as error:
            raise unwritable(folder, error) from error
        if is_there:
            raise UsageError(
                "folder_taken",
                f"{folder / name} is there already: this folder belongs to a mirror or a site",
                hint="name another folder with --dir",
            )


def join(invitation: Invitation, offer: Offer, folder: Path) -> JsonObject:
    """Take up the invitation and write the mirror's folder; give the credentials.

    The folder is made first: an invitation works once, and credentials that cannot be kept are lost.

    Raises:
        CommandError: the master refused, or cannot be reached.
    """
    is_new = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_private(folder / CONFIG_NAME, _config(offer))
    except OSError as error:
        raise unwritable(folder, error) from error
    try:
        answer = Api(invitation.url, role="master").post("/-/api/v1/join", _request(invitation, offer))
    except BaseException:
        _clear(folder, is_new=is_new)
        raise
    credentials = answer.get("credentials", answer)
    write_private(folder / CREDENTIALS_NAME, json.dumps(credentials, indent=2) + "\n")
    return answer


def _clear(folder: Path, *, is_new: bool) -> None:
    """Take back what was written for a mirror that did not join."""
    (folder / CONFIG_NAME).unlink(missing_ok=True)
    if is_new:
        folder.rmdir()


def _request(invitation: Invitation, offer: Offer) -> JsonObject:
    profile: JsonObject = {
        "url": offer.url,
        "slots": offer.slots,
        "monthly_bytes": offer.monthly_bytes,
        "location": None,
    }
    if offer.location is not None:
        latitude, longitude = parse_location(offer.location)
        profile["location"] = {"latitude": latitude, "longitude": longitude, "country": offer.country}
    return {"secret": invitation.secret, "name": invitation.name, "profile": profile}


def _config(offer: Offer) -> str:
    lines = [
        "# A Distributary mirror. Every key with its meaning: docs/configuration.md",
        "[mirror]",
        f"listen = {toml_text(offer.listen)}",
        f"url = {toml_text(offer.url)}",
        f"slots = {offer.slots}",
        'data_dir = "data"',
        f"credentials_file = {toml_text(CREDENTIALS_NAME)}",
    ]
    if offer.monthly_bytes is not None:
        lines.append(f"monthly = {offer.monthly_bytes}")
    if offer.disk_bytes is not None:
        lines.append(f"disk = {offer.disk_bytes}")
    if offer.location is not None:
        lines.append(f"location = {toml_text(offer.location)}")
    if offer.country:
        lines.append(f"country = {toml_text(offer.country)}")
    return "\n".join(lines) + "\n"
