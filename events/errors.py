"""What can be wrong with a name, an event or a grant, grouped by what the catcher may do."""

from __future__ import annotations


class LanguageError(ValueError):
    """Something does not follow the published language. Trying again cannot help."""


class InvalidNameError(LanguageError):
    """A name, path or digest breaks its grammar. Tell the person who wrote it; the message says how to mend it."""

    def __init__(self, kind: str, value: object, problem: str) -> None:
        super().__init__(f"{kind} {value!r}: {problem}")
        self.kind, self.value, self.problem = kind, value, problem


class UnspeakableEventError(LanguageError):
    """We were about to say what no reader would accept. A fault of the speaker's own; nothing was written."""


class UnreadableEventError(LanguageError):
    """The bytes are not an event of a known schema. Report once and go on; reading again cannot help."""


class UnknownEventTypeError(UnreadableEventError):
    """A well-formed envelope with an event type that this version does not know. Count it and skip it."""

    def __init__(self, tag: str) -> None:
        super().__init__(f"unknown event type {tag!r}: a newer version may know it")
        self.tag = tag


class ForgedEventError(LanguageError):
    """Speaker, routing key and body do not agree on who speaks. Drop the event and raise the alarm."""


class MalformedInvitationError(LanguageError):
    """Not an invitation: cut, mistyped or something else. Ask the person to copy it again."""


class GrantError(LanguageError):
    """A token gives no leave. The subclass says whether the visitor may be sent back to ask again."""


class MalformedGrantError(GrantError):
    """Not a token that we ever wrote, or one that was altered. Answer 404 and say nothing more."""


class ForeignGrantError(GrantError):
    """A good token, used from an address that it is not bound to. Answer 403."""


class OtherFamilyError(GrantError):
    """A good token, used from an address of the other family than it is bound to. Its visitor may claim it, once."""


class ExpiredGrantError(GrantError):
    """A good token, too late. Send the visitor back to the master, which may grant anew."""
