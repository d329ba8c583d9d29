"""What the master refuses, grouped by what the asker may do. Each has a stable ``code``, a message and a hint."""

from __future__ import annotations

from events.names import Digest
from events.pieces import Span


class RefusedError(Exception):
    """The master does not do that. ``code`` is stable and for programs; the message and ``hint`` are for people."""

    def __init__(self, code: str, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.code, self.message, self.hint = code, message, hint


class InvalidRequestError(RefusedError):
    """The request makes no sense as it is. Mend it; repeating it cannot help."""


class NotFoundError(RefusedError):
    """It names something that does not exist."""


class ForbiddenError(RefusedError):
    """The asker is known and has no leave."""


class ConflictError(RefusedError):
    """It cannot be done in the present state of things. Change that, then ask again."""


class LeaseNeededError(ConflictError):
    """A mirror asks the master for bytes that were not leased to it. It must ask for a lease first."""

    def __init__(self, sha256: Digest, *, span: Span | None = None) -> None:
        what = "needs a lease" if span is None else f"is leased from byte {span.start} up to {span.stop}, once"
        super().__init__(
            "lease_needed", f"{sha256.hex()} {what}", hint="POST /-/api/v1/mirrors/self/pieces gives leases"
        )
        self.sha256, self.span = sha256, span


class GoneError(RefusedError):
    """It was there once and is used up. Ask a person for a new one."""


class UnavailableError(RefusedError):
    """Something that the master needs is not there now. Ask again after a while; nothing was changed."""


class StoreError(UnavailableError):
    """The database cannot be used now: away, restarting, full. Nothing was changed; ask again after a while."""

    def __init__(self, problem: str) -> None:
        super().__init__("store_unavailable", f"the database cannot be used now: {problem}", hint="try again later")


class UnusableFileError(RefusedError):
    """A file on the master's disk cannot be published or served. Others can; the code says what is wrong with it."""
