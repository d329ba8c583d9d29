"""A file that somebody still writes to is refused with its reason; the rest of its tree goes on."""

from __future__ import annotations

import os
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from events.schemas import FilePublished

if TYPE_CHECKING:
    from conftest import Theatre

# Sparse, so it costs no disk; hashing it takes many times as long as one write.
GROWING_BYTES = 64 << 20


@contextmanager
def written_to(file: Path) -> Generator[None]:
    """Append to a file all the time while the block is entered; the first byte is there before that."""
    begun, ended = threading.Event(), threading.Event()

    def write() -> None:
        with file.open("ab", buffering=0) as target:
            while not ended.is_set():
                target.write(b"x")
                begun.set()

    writer = threading.Thread(target=write, name="writer")
    writer.start()
    try:
        assert begun.wait(10)
        yield
    finally:
        ended.set()
        writer.join()


async def test_file_that_changes_while_it_is_hashed_is_refused_and_the_rest_of_the_tree_goes_on(
    memory_theatre: Theatre, tmp_path: Path
) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    for name in ("a.iso", "z.iso"):
        (tree / name).write_bytes(name.encode())
    growing = tree / "growing.iso"
    growing.touch()
    os.truncate(growing, GROWING_BYTES)
    async with memory_theatre.desk() as desk:
        with written_to(growing):
            reports = await desk.publish(tree, **{"as": ""})
        told = {report["path"]: report for report in reports if report["type"] not in {"progress", "done"}}
        assert {path: report["type"] for path, report in told.items()} == {
            "a.iso": "published", "growing.iso": "refused", "z.iso": "published",
        }  # fmt: skip
        assert told["growing.iso"]["code"] == "file_changed"
        assert "while it was hashed" in told["growing.iso"]["message"]
        assert reports[-1] == {
            "type": "done",
            "published": 2,
            "held": 0,
            "unchanged": 0,
            "refused": 1,
            "hidden": 0,
            "hold": None,
        }

        (again,) = [each for each in await desk.publish(growing) if each["type"] == "published"]
        assert again["size_bytes"] == growing.stat().st_size > GROWING_BYTES
        await desk.until(lambda: len(desk.events(FilePublished)) == 3)
        assert [getattr(event, "path", "") for event in desk.events(FilePublished)] == ["a.iso", "z.iso", "growing.iso"]
