"""What docs/access.md shows works as it stands there: its links open files, and its little sites decide."""

from __future__ import annotations

import asyncio
import re
import shutil
import subprocess
import time
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from threading import Thread
from typing import Any, Final
from urllib.parse import parse_qs, unquote, urlsplit
from wsgiref.simple_server import WSGIRequestHandler, make_server

import pytest

from events.names import FilePath
from events.schemas import Access, AccessMode
from selection.access.asker import Asker
from selection.access.gatekeeper import Gatekeeper
from selection.access.site import SiteAsker
from selection.access.tickets import judge
from selection.access.verdicts import Outcome, Verdict

PAGE: Final = (Path(__file__).parents[3] / "docs" / "access.md").read_text()
PHP: Final = shutil.which("php")
NEEDS_PHP: Final = pytest.mark.skipif(PHP is None, reason="no php here")
KEY: Final = bytes(range(32))
PATH: Final = "members/ü 1|2.iso"
DEADLINE_S: Final = 60.0
VISITOR: Final = ip_address("203.0.113.9")
LOGIN: Final = (
    "https://www.example.org/login?next=https%3A%2F%2Ffiles.example.org%2Fgold%2F%25C3%25BC%25201.iso%3Fx%3D1"
)


def example(name: str) -> str:
    """Give the code block of the page that begins with a comment of this name."""
    (found,) = (block for block in re.findall(r"```(?:python|php)\n(.*?)```", PAGE, re.DOTALL) if name in block[:40])
    return found


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "ticket.secret"
    path.write_text(KEY.hex() + "\n")
    return path


def by_python(secret: Path, visitor: str) -> str:
    names: dict[str, Any] = {}
    exec(example("tickets.py").replace("/etc/distributary/ticket.secret", str(secret)), names)  # noqa: S102 - our own page
    return names["ticket_link"](PATH, 3600, visitor)


def by_php(secret: Path, visitor: str) -> str:
    code = example("tickets.php").replace("/etc/distributary/ticket.secret", str(secret))
    script = secret.with_name("tickets.php")
    script.write_text(f"{code}\necho ticket_link($argv[1], 3600, $argv[2]);")
    assert PHP is not None
    done = subprocess.run([PHP, "-n", script, PATH, visitor], capture_output=True, text=True, check=True, timeout=60)  # noqa: S603 - our own script
    return done.stdout


@pytest.mark.parametrize(
    "make", [pytest.param(by_python, id="Python"), pytest.param(by_php, id="PHP", marks=NEEDS_PHP)]
)
@pytest.mark.parametrize(
    ("bound", "visitor", "stranger"),
    [
        pytest.param("", "198.51.100.1", None, id="for whoever has it"),
        pytest.param("203.0.113.9", "203.0.113.9", "203.0.113.10", id="IPv4"),
        pytest.param("::ffff:203.0.113.9", "203.0.113.9", "203.0.113.10", id="IPv4 as a socket of IPv6 shows it"),
        pytest.param("2001:db8:0:2::7", "2001:db8:0:2::9", "2001:db8:0:3::7", id="IPv6"),
        pytest.param("2001:db8::7", "2001:db8::9", "2001:db8:0:1::7", id="IPv6 with a run of zeros"),
    ],
)
def test_link_of_the_page_opens_the_file(
    make: Callable[[Path, str], str], secret: Path, bound: str, visitor: str, stranger: str | None
) -> None:
    link = urlsplit(make(secret, bound))
    assert (link.scheme, link.netloc, unquote(link.path)) == ("https", "files.example.org", f"/{PATH}")
    (ticket,) = parse_qs(link.query)["ticket"]

    def outcome(address: str, now_s: float) -> Outcome:
        return judge(ticket, FilePath(PATH), ip_address(address), key=KEY, now_s=now_s)

    assert outcome(visitor, time.time()) is Outcome.ADMITTED
    assert outcome(visitor, time.time() + 3601) is Outcome.TICKET_EXPIRED
    if stranger is not None:
        assert outcome(stranger, time.time()) is Outcome.TICKET_WRONG


class Quiet(WSGIRequestHandler):
    """Writes no log."""

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name it has above
        """Say nothing."""


@contextmanager
def python_site(_: Path) -> Generator[str]:
    """Run the page's WSGI application."""
    names: dict[str, Any] = {}
    exec(example("may_download.py"), names)  # noqa: S102 - our own page
    with make_server("127.0.0.1", 0, names["application"], handler_class=Quiet) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/may-download"
        server.shutdown()
        thread.join()


SESSIONS: Final = """<?php
session_save_path(__DIR__);
foreach (['alices-session' => ['gold'], 'bobs-session' => []] as $id => $groups) {
    session_id($id);
    session_name('session');
    session_start();
    $_SESSION['groups'] = $groups;
    session_write_close();
}
"""


@contextmanager
def php_site(folder: Path) -> Generator[str]:
    """Run the page's script under PHP's own server, with two members logged in."""
    assert PHP is not None
    (folder / "log-in.php").write_text(SESSIONS)
    (folder / "may-download.php").write_text(example("may-download.php"))
    subprocess.run([PHP, "-n", folder / "log-in.php"], check=True, timeout=60)  # noqa: S603 - our own script
    settings = ["-d", f"session.save_path={folder}", "-d", "session.name=session"]
    with subprocess.Popen(  # noqa: S603 - our own script
        [PHP, "-n", *settings, "-S", "127.0.0.1:0", "-t", folder], stderr=subprocess.PIPE, text=True
    ) as server:
        assert server.stderr is not None
        try:
            port = next(found[1] for line in server.stderr if (found := re.search(r"127\.0\.0\.1:(\d+)\)", line)))
            yield f"http://127.0.0.1:{port}/may-download.php"
        finally:
            server.terminate()


@dataclass(frozen=True)
class Guarded:
    path: FilePath
    access: Access


@asynccontextmanager
async def asking(url: str) -> AsyncGenerator[Callable[[str, str], Any]]:
    async with SiteAsker(url, limit_s=DEADLINE_S, kept_s=0.0) as site:
        gatekeeper = Gatekeeper(site=site)

        async def admits(path: str, cookie: str) -> Verdict:
            file = Guarded(FilePath(path), Access(mode=AccessMode.SITE))
            return await gatekeeper.admits(file, Asker(address=VISITOR, query="x=1", cookie=cookie))

        yield admits


@pytest.mark.parametrize(
    "site", [pytest.param(python_site, id="Python"), pytest.param(php_site, id="PHP", marks=NEEDS_PHP)]
)
async def test_little_site_of_the_page_decides(site: Callable[[Path], Any], tmp_path: Path) -> None:
    with site(tmp_path) as url:
        async with asyncio.timeout(DEADLINE_S), asking(url) as admits:
            assert (await admits("gold/ü 1.iso", "a=1; session=alices-session")).outcome is Outcome.ADMITTED
            assert (await admits("gold/ü 1.iso", "session=bobs-session")).outcome is Outcome.REFUSED
            assert (await admits("silver/1.iso", "session=bobs-session")).outcome is Outcome.ADMITTED
            stranger = await admits("gold/ü 1.iso", "")
            made_up = await admits("gold/ü 1.iso", "session=eves-session")

    assert stranger == made_up == Verdict(Outcome.SENT_ON, (("Location", LOGIN),))
