"""What people really download with: curl, wget, and aria2 with a metalink, from mirrors that check each link."""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import socket
import subprocess
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web

from edge.server import new_app, serve
from events.grants import check, derive_key, normalise, read
from events.names import Digest, MirrorName
from events.schemas import InventoryAnnounced, Location

if TYPE_CHECKING:
    from conftest import Selector, Site

SECRET = b"the site's secret, 32 bytes long"
PORTO = Location(latitude=41.15, longitude=-8.61, country="PT")
CONTENT = hashlib.shake_256(b"an image").digest(3_000_000)
PIECE_BYTES = 1_000_000


class FakeMirror:
    """Sends a file to who shows a good grant for it, whole or by range. ``sent`` names what it sent."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name, self.folder = MirrorName(name), folder
        self.sent: list[str] = []

    def add(self, content: bytes) -> Digest:
        """Take a copy."""
        digest = hashlib.sha256(content).digest()
        (self.folder / digest.hex()).write_bytes(content)
        return Digest(digest)

    async def send(self, request: web.Request) -> web.StreamResponse:
        """Check the grant as a mirror does, and send."""
        grant = read(request.match_info["token"], mirror=self.name, keys={1: derive_key(SECRET, self.name, 1)})
        check(grant, address=normalise(request.remote or ""), now_s=grant.start_by_s, started=False)
        self.sent.append(request.match_info["name"])
        return web.FileResponse(self.folder / grant.sha256.hex())

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[str]:
        """Serve while the block is entered."""
        app = new_app()
        app.router.add_get("/d/{token}/{name}", self.send)
        async with serve(app, host="127.0.0.1", port=0) as url:
            yield url


@pytest.fixture
def mirror(tmp_path: Path) -> FakeMirror:
    folder = tmp_path / "mirror"
    folder.mkdir()
    return FakeMirror("ana", folder)


def needs(*commands: str) -> None:
    """Skip at home, fail in CI, where a client is missing."""
    if missing := [command for command in commands if shutil.which(command) is None]:
        lack = f"needs {', '.join(missing)}: .ci/setup test"
        pytest.fail(lack) if os.environ.get("CI") else pytest.skip(lack)


async def run(*words: str, folder: Path) -> str:
    """Run a command in a folder of its own; give all that it wrote."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "LC_ALL": "C"}
    process = await asyncio.create_subprocess_exec(
        *words, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    out, _ = await process.communicate()
    assert process.returncode == 0, out.decode()
    return out.decode()


async def publish(site: Site, mirror: FakeMirror, url: str, files: dict[str, bytes], **more: Any) -> None:  # noqa: ANN401 - any field of the event
    """Publish files, all of which a mirror holds."""
    for path, content in files.items():
        await site.said.published(path, size_bytes=len(content), sha256=mirror.add(content), **more)
    await site.said.serving(mirror.name, url=url, location=PORTO)
    await hold(site, mirror, *files.values())


@asynccontextmanager
async def published(
    site: Site,
    mirror: FakeMirror,
    files: dict[str, bytes],
    **more: Any,  # noqa: ANN401 - any field of the event
) -> AsyncGenerator[Selector]:
    """Run a selector with a mirror that holds these files."""
    async with mirror.running() as url:
        await publish(site, mirror, url, files, **more)
        async with site.selector() as selector:
            for path in files:
                await selector.until_chosen(path, mirror.name)
            yield selector


async def test_curl_follows_the_redirect_and_checks_the_hash(
    memory_site: Site, mirror: FakeMirror, tmp_path: Path
) -> None:
    needs("curl", "sha256sum")
    async with published(memory_site, mirror, {"dir/a.iso": CONTENT}) as selector:
        await run("curl", "-fsSL", "--remote-name", f"{selector.url}/dir/a.iso", folder=tmp_path)
        await run("curl", "-fsSL", "--remote-name", f"{selector.url}/dir/a.iso.sha256", folder=tmp_path)
        assert await run("sha256sum", "-c", "a.iso.sha256", folder=tmp_path) == "a.iso: OK\n"
    assert mirror.sent == ["a.iso"]


async def test_wget_saves_the_file_under_its_name(memory_site: Site, mirror: FakeMirror, tmp_path: Path) -> None:
    needs("wget")
    async with published(memory_site, mirror, {"dir/a.iso": CONTENT}) as selector:
        await run("wget", "--no-config", "--quiet", f"{selector.url}/dir/a.iso", folder=tmp_path)
        (tmp_path / "a.iso").rename(tmp_path / "part")
        (tmp_path / "a.iso").write_bytes(CONTENT[:1_000_000])
        await run("wget", "--no-config", "--quiet", "--continue", f"{selector.url}/dir/a.iso", folder=tmp_path)
    assert (tmp_path / "part").read_bytes() == (tmp_path / "a.iso").read_bytes() == CONTENT


@pytest.mark.parametrize("form", ["meta4", "metalink"])
async def test_aria2_fetches_by_metalink_though_one_of_two_mirrors_is_dead(
    memory_site: Site, mirror: FakeMirror, tmp_path: Path, form: str
) -> None:
    needs("aria2c")
    pieces = [CONTENT[start : start + PIECE_BYTES] for start in range(0, len(CONTENT), PIECE_BYTES)]
    digests = b"".join(hashlib.sha256(piece).digest() for piece in pieces)
    more = {"piece_bytes": PIECE_BYTES, "piece_digests": digests}
    dead = FakeMirror("bob", mirror.folder)
    with closing(socket.create_server(("127.0.0.1", 0))) as nobody:
        dead_url = f"http://127.0.0.1:{nobody.getsockname()[1]}"
    await publish(memory_site, dead, dead_url, {"dir/a.iso": CONTENT}, **more)
    async with mirror.running() as url:
        await memory_site.said.serving(mirror.name, url=url, location=PORTO)
        await hold(memory_site, mirror, CONTENT)
        async with memory_site.selector() as selector:
            await selector.until(lambda: both_fit(selector))
            options = ["--no-conf", "--quiet", "--follow-metalink=mem", "--retry-wait=0", "--connect-timeout=2"]
            await run("aria2c", *options, f"{selector.url}/dir/a.iso.{form}", folder=tmp_path)
    assert (tmp_path / "a.iso").read_bytes() == CONTENT
    assert set(mirror.sent) == {"a.iso"}


async def both_fit(selector: Selector) -> bool:
    return len((await selector.where("dir/a.iso"))["ranked"]) == 2


async def hold(site: Site, mirror: FakeMirror, *contents: bytes) -> None:
    """Let a mirror say that it holds these contents."""
    source = f"mirror/{mirror.name}"
    digests = tuple(mirror.add(content) for content in contents)
    as_of = site.said.numbers[source] + 1
    await site.said.say(source, InventoryAnnounced(mirror=mirror.name, as_of=as_of, page=1, pages=1, sha256s=digests))
