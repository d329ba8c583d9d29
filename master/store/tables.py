"""The master's tables. Changing them needs a migration beside this file; a test compares the two."""

from __future__ import annotations

from typing import ClassVar

from sqlalchemy import JSON, BigInteger, Index, LargeBinary, MetaData, String, Text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from events.names import NAME_LENGTH_MAX

JsonObject = dict[str, object]


class Base(DeclarativeBase):
    """All tables; constraints have names, so that a migration can name them."""

    metadata: ClassVar[MetaData] = MetaData(
        naming_convention={"pk": "pk_%(table_name)s", "ix": "ix_%(column_0_N_label)s"}
    )


class FileRow(Base):
    """A path that a file stands or stood under. ``source_path`` is None once it was withdrawn."""

    __tablename__ = "files"

    path: Mapped[str] = mapped_column(Text, primary_key=True)
    generation: Mapped[int] = mapped_column(BigInteger)
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[bytes] = mapped_column(LargeBinary(32), index=True)
    media_type: Mapped[str] = mapped_column(Text)
    tags: Mapped[list[str]] = mapped_column(JSON)
    networks: Mapped[list[str]] = mapped_column(JSON)
    named_channels: Mapped[list[str] | None] = mapped_column(JSON(none_as_null=True))
    published_at_ns: Mapped[int] = mapped_column(BigInteger)
    source_path: Mapped[str | None] = mapped_column(Text)
    inode: Mapped[int] = mapped_column(BigInteger)
    mtime_ns: Mapped[int] = mapped_column(BigInteger)
    hashed_at_ns: Mapped[int] = mapped_column(BigInteger)


class MembershipRow(Base):
    """A file is in a channel; ``channel_sequence`` is that of the last fact that said so."""

    __tablename__ = "memberships"
    __table_args__ = (Index("ix_memberships_channel_channel_sequence", "channel", "channel_sequence"),)

    path: Mapped[str] = mapped_column(Text, primary_key=True)
    channel: Mapped[str] = mapped_column(String(NAME_LENGTH_MAX), primary_key=True)
    channel_sequence: Mapped[int] = mapped_column(BigInteger)


class ChannelRow(Base):
    """A channel with its filter. ``origin`` has no row."""

    __tablename__ = "channels"

    name: Mapped[str] = mapped_column(String(NAME_LENGTH_MAX), primary_key=True)
    filter: Mapped[JsonObject] = mapped_column(JSON)
    description: Mapped[str] = mapped_column(Text)


class MirrorRow(Base):
    """A mirror that joined. The token is kept as its SHA-256; ``joins`` counts how often credentials were given."""

    __tablename__ = "mirrors"

    name: Mapped[str] = mapped_column(String(NAME_LENGTH_MAX), primary_key=True)
    profile: Mapped[JsonObject] = mapped_column(JSON)
    state: Mapped[str] = mapped_column(String(16))
    token_hash: Mapped[bytes] = mapped_column(LargeBinary(32), index=True)
    joins: Mapped[int] = mapped_column(BigInteger)
    joined_at_ns: Mapped[int] = mapped_column(BigInteger)


class SubscriptionRow(Base):
    """A mirror's leave to follow a channel."""

    __tablename__ = "subscriptions"

    mirror: Mapped[str] = mapped_column(String(NAME_LENGTH_MAX), primary_key=True)
    channel: Mapped[str] = mapped_column(String(NAME_LENGTH_MAX), primary_key=True)


class InvitationRow(Base):
    """The last invitation of a mirror; its secret is kept as its SHA-256."""

    __tablename__ = "invitations"

    mirror: Mapped[str] = mapped_column(String(NAME_LENGTH_MAX), primary_key=True)
    secret_hash: Mapped[bytes] = mapped_column(LargeBinary(32))
    channels: Mapped[list[str]] = mapped_column(JSON)
    expires_at_ns: Mapped[int] = mapped_column(BigInteger)
    used: Mapped[bool]


class OutboxRow(Base):
    """An event that is yet to be published. ``sequence`` is the event's own, so the order is that of commits."""

    __tablename__ = "outbox"

    sequence: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    exchange: Mapped[str] = mapped_column(Text)
    routing_key: Mapped[str] = mapped_column(Text)
    message_id: Mapped[str] = mapped_column(Text)
    type: Mapped[str] = mapped_column(Text)
    headers: Mapped[dict[str, str]] = mapped_column(JSON)
    body: Mapped[bytes] = mapped_column(LargeBinary)


class CounterRow(Base):
    """A numbering: the master's events, and the facts of each channel. It outlives what it numbers."""

    __tablename__ = "counters"

    name: Mapped[str] = mapped_column(Text, primary_key=True)
    value: Mapped[int] = mapped_column(BigInteger)


class SettingRow(Base):
    """A number that the master keeps about itself."""

    __tablename__ = "settings"

    name: Mapped[str] = mapped_column(Text, primary_key=True)
    value: Mapped[int] = mapped_column(BigInteger)
