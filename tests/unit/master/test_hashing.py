"""Hashing: what was hashed is what stood there, before and after."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from events.names import FilePath
from events.pieces import ONE_PIECE_BYTES_MAX, PIECE_BYTES_MIN
from master.errors import UnusableFileError
from master.hashing import (
    PROGRESS_EVERY_BYTES,
    SETTLED_AFTER_NS,
    FileChangedError,
    Fingerprint,
    Source,
    check_unchanged,
    hash_file,
    open_regular,
)
from master.media_types import guess_media_type
from master.pieces import ONE_PIECE, PieceHasher, Pieces


def ignore(_hashed_bytes: int, _total_bytes: int) -> None:
    pass


@pytest.mark.parametrize("size", [0, 1, (1 << 20) - 1, 1 << 20, (1 << 20) + 1])
def test_a_file_of_any_size_has_its_digest(tmp_path: Path, size: int) -> None:
    path = tmp_path / "file"
    path.write_bytes(os.urandom(size))
    hashed = hash_file(path, progress=ignore)
    assert hashed.sha256 == hashlib.sha256(path.read_bytes()).digest()
    assert hashed.source.fingerprint.size_bytes == size


@pytest.mark.parametrize("surplus", [-1, 0, 1])
def test_a_long_file_has_the_digest_of_each_piece_besides(tmp_path: Path, surplus: int) -> None:
    path = tmp_path / "file"
    content = os.urandom(1 << 20) * 8 + b"end"
    content = content[: ONE_PIECE_BYTES_MAX + surplus]
    path.write_bytes(content)
    hashed = hash_file(path, progress=ignore)
    assert hashed.sha256 == hashlib.sha256(content).digest()
    starts = range(0, len(content), PIECE_BYTES_MIN)
    digests = b"".join(hashlib.sha256(content[start : start + PIECE_BYTES_MIN]).digest() for start in starts)
    assert hashed.pieces == (ONE_PIECE if surplus < 0 else Pieces(PIECE_BYTES_MIN, digests))


@given(blocks=st.lists(st.binary(max_size=30), max_size=8))
def test_pieces_do_not_depend_on_how_the_bytes_come_by(blocks: list[bytes]) -> None:
    def ten(_size_bytes: int) -> int:
        return 10

    content = b"".join(blocks)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("master.pieces.piece_bytes_for", ten)
        hasher = PieceHasher(len(content))
    for block in blocks:
        hasher.update(memoryview(block))
    assert hasher.finish() == Pieces(
        10, b"".join(hashlib.sha256(content[start : start + 10]).digest() for start in range(0, len(content), 10))
    )


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """A file that tells its progress twice; it has holes, so it takes no room."""
    path = tmp_path / "large"
    path.touch()
    os.truncate(path, 2 * PROGRESS_EVERY_BYTES)
    return path


def test_progress_is_told_on_the_way(large: Path) -> None:
    steps: list[tuple[int, int]] = []

    def note(hashed_bytes: int, total_bytes: int) -> None:
        steps.append((hashed_bytes, total_bytes))

    hash_file(large, progress=note)
    assert steps == [(PROGRESS_EVERY_BYTES, 2 * PROGRESS_EVERY_BYTES), (2 * PROGRESS_EVERY_BYTES,) * 2]


def grow(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"more")


def shrink(path: Path) -> None:
    os.truncate(path, 10)


def write_over(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(b"other")
    os.utime(path, ns=(1, 1))


def replace(path: Path) -> None:
    other = path.with_name("other")
    other.write_bytes(b"other")
    other.rename(path)


@pytest.mark.parametrize("change", [grow, shrink, write_over, replace, Path.unlink])
def test_a_file_that_changes_while_it_is_hashed_is_refused(large: Path, change: object) -> None:
    def change_once(hashed_bytes: int, _total_bytes: int) -> None:
        if hashed_bytes == PROGRESS_EVERY_BYTES:
            assert callable(change)
            change(large)

    with pytest.raises(UnusableFileError) as refused:
        hash_file(large, progress=change_once)
    assert refused.value.code == ("source_missing" if change is Path.unlink else "file_changed")


def test_hashing_ends_when_its_progress_is_refused(large: Path) -> None:
    def refuse(_hashed_bytes: int, _total_bytes: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        hash_file(large, progress=refuse)


def test_links_folders_pipes_and_nothing_are_refused_with_their_code(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/etc/hostname")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    codes: dict[str, str] = {}
    for name in ("link", "folder", "pipe", "nothing", "nul\0"):
        with pytest.raises(UnusableFileError) as refused:
            hash_file(tmp_path / name, progress=ignore)
        codes[name] = refused.value.code
    assert codes == {
        "link": "symlink",
        "folder": "not_a_file",
        "pipe": "not_a_file",
        "nothing": "source_missing",
        "nul\0": "unreadable",
    }


def test_a_file_that_changed_since_it_was_hashed_is_noticed_without_reading_it(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"one")
    source = hash_file(path, progress=ignore).source
    with open_regular(path) as descriptor:
        check_unchanged(descriptor, source)
    os.utime(path, ns=(1, 1))
    with open_regular(path) as descriptor, pytest.raises(FileChangedError, match="since it was published"):
        check_unchanged(descriptor, source)


@pytest.mark.parametrize(("age_ns", "settled"), [(SETTLED_AFTER_NS, False), (SETTLED_AFTER_NS + 1, True)])
def test_a_file_touched_shortly_before_its_hashing_is_not_believed_unchanged(age_ns: int, settled: bool) -> None:
    fingerprint = Fingerprint(size_bytes=1, mtime_ns=0, inode=1)
    assert Source(location=Path("x"), fingerprint=fingerprint, hashed_at_ns=age_ns).settled() is settled


@pytest.mark.parametrize(
    ("name", "media_type"),
    [
        ("a/b.iso", "application/x-iso9660-image"),
        ("a.tar.gz", "application/gzip"),
        ("a.whl", "application/zip"),
        ("a.PDF", "application/pdf"),
        ("http:x", "application/octet-stream"),
        ("none", "application/octet-stream"),
    ],
)
def test_media_types_are_guessed_by_name(name: str, media_type: str) -> None:
    assert guess_media_type(FilePath(name)) == media_type
