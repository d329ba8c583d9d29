"""Secrets by reference: the files that the configuration names. Written 0600, read whole, never shown."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Final

from distributary.config.load import DEFAULT_ORIGIN, Settings
from distributary.errors import UsageError

SECRET_BYTES: Final = 32  # as long as the HMAC-SHA256 keys that are derived from it
SECRET_FILE_BYTES_MAX: Final = 4096  # whoever names a disk image by mistake is told at once
_OWNER_ONLY: Final = 0o600


def read_site_secret(settings: Settings) -> bytes:
    """Read the secret that grant keys are derived from, written as hexadecimal digits.

    Raises:
        UsageError: the file is not there, or holds something else.
    """
    return _read_key(settings.site.secret_file, "site.secret_file", settings)


def read_ticket_key(settings: Settings) -> bytes:
    """Read the secret that tickets are signed with, written as hexadecimal digits.

    Raises:
        UsageError: the file is not there, or holds something else.
    """
    return _read_key(settings.site.ticket_secret_file, "site.ticket_secret_file", settings)


def find_ticket_key(settings: Settings) -> bytes | None:
    """Read the same where it is; None where the site has none and names none.

    Raises:
        UsageError: the file that the site names is not there, or what is there holds something else.
    """
    is_named = settings.origins["site", "ticket_secret_file"] != DEFAULT_ORIGIN
    if not is_named and not settings.site.ticket_secret_file.exists():
        return None
    return read_ticket_key(settings)


def read_admin_token(settings: Settings) -> str:
    """Read the administrator's token.

    Raises:
        UsageError: the file is not there, or empty.
    """
    token = _read(settings.site.admin_token_file, "site.admin_token_file", settings)
    if not token:
        raise UsageError("secret_invalid", f"{settings.site.admin_token_file}: empty")
    return token


def read_broker_url(settings: Settings) -> str:
    """Give the broker's URL, from ``broker.url_file`` where one is named."""
    if settings.broker.url_file is None:
        return str(settings.broker.url)
    return _read(settings.broker.url_file, "broker.url_file", settings)


def new_secret() -> str:
    """Make a secret, as hexadecimal digits."""
    return secrets.token_hex(SECRET_BYTES)


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner may read, from its first byte on, and replace it in one step."""
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _OWNER_ONLY)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def _read_key(path: Path, setting: str, settings: Settings) -> bytes:
    try:
        key = bytes.fromhex(_read(path, setting, settings))
    except ValueError:
        key = b""
    if len(key) < SECRET_BYTES:
        raise UsageError("secret_invalid", f"{path}: write at least {2 * SECRET_BYTES} hexadecimal digits")
    return key


def _read(path: Path, setting: str, settings: Settings) -> str:
    origin = settings.origins.get(_place(setting), "default")
    try:
        with path.open(encoding="utf-8") as file:
            return file.read(SECRET_FILE_BYTES_MAX).strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not text"
        raise UsageError(
            "secret_unreadable",
            f"{path}: {reason} ({setting}, from {origin})",
            hint="`distributary init` writes a site's secrets; --config names the configuration that they belong to",
        ) from error


def _place(setting: str) -> tuple[str, str]:
    section, _, key = setting.partition(".")
    return section, key
