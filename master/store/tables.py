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
    """A path that a file stands or stood under, held ones among them. ``source_path`` is None once it was withdrawn.

    ``md5`` and ``sha1`` are empty where the site does not make them.
    """

    __tablename__ = "files"

    path: Mapped[str] = mapped_column(Text, primary_key=True)
    generation: Mapped[int] = mapped_column(BigInteger)
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[bytes] = mapped_column(LargeBinary(32), index=True)
    media_type: Mapped[str] = mapped_column(Text)
    tags: Mapped[list[str]] = mapped_column(JSON)
    networks: Mapped[list[str]] = mapped_column(JSON)
    access_mode: Mapped[str] = mapped_column(String(16))
    named_channels: Mapped[list[str] | None] = mapped_column(JSON(none_as_null=True))
    published_at_ns: Mapped[int] = mapped_column(BigInteger)
    piece_bytes: Mapped[int] = mapped_column(BigInteger)
    piece_digests: Mapped[bytes] = mapped_column(LargeBinary)
    md5: Mapped[bytes] = mapped_column(LargeBinary)
    sha1: Mapped[bytes] = mapped_column(LargeBinary)
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


class HoldRow(Base):
    """Files that one request held, to be released together. ``condition`` is empty where a person releases them.

    ``ended_at_ns`` is 0 while any of them is still held.
    """

    __tablename__ = "holds"

    number: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    condition: Mapped[str] = mapped_column(String(16))
    state: Mapped[str] = mapped_column(String(16))
    began_at_ns: Mapped[int] = mapped_column(BigInteger)
    ended_at_ns: Mapped[int] = mapped_column(BigInteger)


class HeldFileRow(Base):
    """A held file: ``path`` is where it stands until it is released."""

    __tablename__ = "held_files"

    path: Mapped[str] = mapped_column(Text, primary_key=True)
    hold: Mapped[int] = mapped_column(BigInteger, index=True)


class ChannelRow(Base):
    """A channel with its filter. ``origin`` has no row."""

    __tablename__ = "channels"

    name: Mapped[str] = mapped_column(String(NAME_LENGTH_MAX), primary_key=True)
    filter: Mapped[JsonObject] = mapped_column(JSON)
    description: Mapped[str] = mapped_column(Text)
    address_policy: Mapped[str] = mapped_column(String(16))


class MirrorRow(Base):
    """A mirror that joined. The token is kept as its SHA-256; ``joins`` counts how often credentials were given.

    Its grant keys are those from ``oldest_epoch`` to ``key_epoch``. ``rule`` is None where the site has none for it.
    """

    __tablename__ = "mirrors"

    name: Mapped[str] = mapped_column(String(NAME_LENGTH_MAX), primary_key=True)
    profile: Mapped[JsonObject] = mapped_column(JSON)
    state: Mapped[str] = mapped_column(String(16))
    token_hash: Mapped[bytes] = mapped_column(LargeBinary(32), index=True)
    joins: Mapped[int] = mapped_column(BigInteger)
    joined_at_ns: Mapped[int] = mapped_column(BigInteger)
    key_epoch: Mapped[int]
    oldest_epoch: Mapped[int]
    rule: Mapped[JsonObject | None] = mapped_column(JSON(none_as_null=True))


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


class RevocationRow(Base):
    """Grants that were taken back, until the last of them would have ended."""

    __tablename__ = "revocations"

    number: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    start_by_s_max: Mapped[int] = mapped_column(BigInteger)
    until_s: Mapped[int] = mapped_column(BigInteger)
    reason: Mapped[str] = mapped_column(Text)
    mirror: Mapped[str | None] = mapped_column(String(NAME_LENGTH_MAX))
    grant_id: Mapped[bytes | None] = mapped_column(LargeBinary(16))
    sha256: Mapped[bytes | None] = mapped_column(LargeBinary(32))
    network: Mapped[str | None] = mapped_column(Text)


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


class AnnouncedRow(Base):
    """What a mirror last said of itself, as the log has it.

    ``epoch`` is that of its numbering, ``presence`` the number of its last word on being online, ``as_of`` that of its
    last complete inventory. ``replicas_max`` is at least the number of its rows in ``replicas``.
    """

    __tablename__ = "announced"

    mirror: Mapped[str] = mapped_column(String(NAME_LENGTH_MAX), primary_key=True)
    epoch: Mapped[int] = mapped_column(BigInteger)
    presence: Mapped[int] = mapped_column(BigInteger)
    online: Mapped[bool]
    profile: Mapped[JsonObject | None] = mapped_column(JSON(none_as_null=True))
    key_epoch: Mapped[int] = mapped_column(BigInteger)
    as_of: Mapped[int] = mapped_column(BigInteger)
    replicas_max: Mapped[int] = mapped_column(BigInteger)


class ReplicaRow(Base):
    """A mirror holds a content, or holds it no more; ``sequence`` is that of its word.

    A row that says no is kept until the next complete inventory: an older word that comes late is then known as such.
    """

    __tablename__ = "replicas"
    __table_args__ = (Index("ix_replicas_sha256_mirror", "sha256", "mirror"),)

    mirror: Mapped[str] = mapped_column(String(NAME_LENGTH_MAX), primary_key=True)
    sha256: Mapped[bytes] = mapped_column(LargeBinary(32), primary_key=True)
    sequence: Mapped[int] = mapped_column(BigInteger)
    held: Mapped[bool]


class InventoryPageRow(Base):
    """A page that came of an inventory that is not complete yet."""

    __tablename__ = "inventory_pages"

    mirror: Mapped[str] = mapped_column(String(NAME_LENGTH_MAX), primary_key=True)
    as_of: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    pages: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    page: Mapped[int] = mapped_column(BigInteger, primary_key=True)


class FollowedRow(Base):
    """How far a mirror has acted on a channel; ``sequence`` is that of its word."""

    __tablename__ = "followed"

    mirror: Mapped[str] = mapped_column(String(NAME_LENGTH_MAX), primary_key=True)
    channel: Mapped[str] = mapped_column(String(NAME_LENGTH_MAX), primary_key=True)
    channel_sequence: Mapped[int] = mapped_column(BigInteger)
    sequence: Mapped[int] = mapped_column(BigInteger)


class BanRow(Base):
    """A mirror was sent wrong bytes of a content by a source."""

    __tablename__ = "bans"

    sha256: Mapped[bytes] = mapped_column(LargeBinary(32), primary_key=True)
    source: Mapped[str] = mapped_column(String(NAME_LENGTH_MAX), primary_key=True)
    mirror: Mapped[str] = mapped_column(String(NAME_LENGTH_MAX), primary_key=True)
