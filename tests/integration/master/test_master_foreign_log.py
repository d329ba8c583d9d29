"""A virtual host is one site's: a master of another site does not take its log over."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from broker.port import ForeignLogError
from events.schemas import LogOpened

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Theatre

OTHER_SECRET = b"of another site: 32 bytes as all"


def with_new_database(theatre: Theatre, folder: Path, **changes: bytes) -> Theatre:
    return replace(theatre, config=replace(theatre.config, data_folder=folder, **changes))


async def test_another_site_is_refused_and_the_log_is_as_it_was(theatre: Theatre, tmp_path: Path) -> None:
    async with theatre.desk():
        pass
    another = with_new_database(theatre, tmp_path / "another", secret=OTHER_SECRET)
    for _ in ("at first", "and again"):
        with pytest.raises(ForeignLogError, match="has the log of another site"):
            async with another.desk(generation=None):
                pass
    (tmp_path / "a.iso").write_bytes(b"bytes")
    async with theatre.desk() as desk:
        await desk.publish(tmp_path / "a.iso")
        await desk.until(lambda: len(desk.events(LogOpened)) == 1)


async def test_site_that_lost_its_database_takes_its_own_log_over(theatre: Theatre, tmp_path: Path) -> None:
    async with theatre.desk():
        pass
    async with with_new_database(theatre, tmp_path / "new").desk(generation=2) as desk:
        await desk.until(lambda: len(desk.events(LogOpened)) == 1)
