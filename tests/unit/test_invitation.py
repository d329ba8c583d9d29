"""Invitations survive copying by people."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from events.errors import InvalidNameError, MalformedInvitationError
from events.invitation import PREFIX, Invitation, read_invitation, write_invitation
from events.names import MirrorName

ANA = Invitation(
    url="https://files.example", name=MirrorName("ana"), secret="s3cret-s3cret", expires_at_s=1_800_000_000
)
TOKEN = write_invitation(ANA)


def test_an_invitation_reads_back_as_written() -> None:
    assert TOKEN.startswith(PREFIX)
    assert read_invitation(TOKEN) == ANA


def test_line_breaks_of_a_mail_do_not_matter() -> None:
    assert read_invitation(f"  {TOKEN[:30]}\r\n {TOKEN[30:]}\n") == ANA


@given(position=st.integers(len(PREFIX), len(TOKEN) - 2), letter=st.sampled_from("ABab01-_"))
def test_one_wrong_letter_is_told_as_a_slip(position: int, letter: str) -> None:
    mistyped = TOKEN[:position] + letter + TOKEN[position + 1 :]
    if mistyped == TOKEN:
        return
    with pytest.raises(MalformedInvitationError, match="mistyped"):
        read_invitation(mistyped)


@given(length=st.integers(0, len(TOKEN) - 1))
def test_a_cut_invitation_is_told_as_cut(length: int) -> None:
    with pytest.raises(MalformedInvitationError):
        read_invitation(TOKEN[:length])


@given(st.text(max_size=60))
def test_anything_else_is_refused_and_never_crashes(text: str) -> None:
    with pytest.raises(MalformedInvitationError):
        read_invitation(PREFIX + text)


def test_an_invitation_for_the_reserved_name_is_refused() -> None:
    token = write_invitation(
        Invitation(url="https://files.example", name=MirrorName("origin"), secret="x", expires_at_s=1)
    )
    with pytest.raises(InvalidNameError, match="reserved"):
        read_invitation(token)
