"""The way to the mirror that runs on this machine: where it listens for its operator, and with which token.

Both stand in a file in the mirror's data folder, which its owner alone can read, as long as it runs.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from distributary.client import Api, JsonObject
from distributary.config.load import Settings
from distributary.errors import CommandError, UnavailableError, UsageError
from distributary.exits import ExitCode

FILE_NAME: Final = "control.json"  # as the mirror writes it
BASE: Final = "/-/control/v1"
ROLE: Final = "mirror"
FILE_BYTES_MAX: Final = 4096  # an address and a token


class _ControlFile(msgspec.Struct):
    url: str
    token: str


class MirrorControl:
    """The running mirror, as its operator speaks to it; ``path`` is the file that led to it.

    All of it raises ``CommandError``: the mirror refused, or does not run any more.
    """

    def __init__(self, api: Api, path: Path) -> None:
        self._api, self._path = api, path

    def state(self, *, verbose: bool = False) -> JsonObject:
        """Ask how it fares; ``verbose`` for visitors' whole addresses."""
        return self._ask(lambda: self._api.get(f"{BASE}/state", {"verbose": "1"} if verbose else None))

    def command(self, name: str, body: JsonObject | None = None) -> JsonObject:
        """Tell it what to do; give how it fares then."""
        return self._ask(lambda: self._api.post(f"{BASE}/{name}", body or {}))

    def _ask(self, question: Callable[[], JsonObject]) -> JsonObject:
        try:
            return question()
        except UnavailableError as error:
            if error.code != f"{ROLE}_unreachable":
                raise
            raise _not_running(self._path) from error  # it was killed, and its file stayed


def own_mirror(settings: Settings) -> MirrorControl:
    """Find the mirror that runs from this configuration.

    Raises:
        UsageError: no mirror is configured.
        CommandError: its file is another user's.
        UnavailableError: it does not run.
    """
    if settings.mirror is None:
        raise UsageError(
            "mirror_unconfigured",
            f"{settings.file or 'the configuration'} has no [mirror]",
            hint="run this in the mirror's folder, or name it with --config",
        )
    path = settings.mirror.data_dir / FILE_NAME
    found = _read(path)
    return MirrorControl(Api(found.url, role=ROLE, token=found.token, token_from=str(path)), path)


def _read(path: Path) -> _ControlFile:
    try:
        with path.open("rb") as file:
            return msgspec.json.decode(file.read(FILE_BYTES_MAX), type=_ControlFile)
    except FileNotFoundError as error:
        raise _not_running(path) from error
    except PermissionError as error:
        raise CommandError(
            "control_forbidden",
            f"{path} is not yours to read",
            exit_code=ExitCode.REFUSED,
            hint="run this as the user that runs the mirror",
        ) from error
    except (OSError, msgspec.DecodeError) as error:
        raise UnavailableError("control_unreadable", f"{path}: {error}", hint="start the mirror again") from error


def _not_running(path: Path) -> UnavailableError:
    return UnavailableError(
        "mirror_not_running",
        f"no mirror runs from {path.parent}",
        hint="start it with `distributary serve mirror`, or name another folder with --config",
    )
