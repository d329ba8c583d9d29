"""A visitor's download: from the site's URL over its redirects, with curl where it is installed."""

from __future__ import annotations

import hashlib
import http.client
import re
import shutil
import subprocess
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import quote, urljoin, urlsplit

from distributary.errors import CommandError

REDIRECTS_MAX: Final = 10  # three mirrors that send the visitor back make six
TIMEOUT_S: Final = 600.0
CHUNK_BYTES: Final = 1 << 20
TOKEN_CHARS_SHOWN: Final = 6  # enough to tell two apart, and no use to anybody else

_STATUS: Final = re.compile(r"HTTP/[\d.]+ (\d{3})")
_TOKEN: Final = re.compile(rf"(/d/[A-Za-z0-9_-]{{{TOKEN_CHARS_SHOWN}}})[A-Za-z0-9_-]+")


@dataclass(frozen=True, slots=True)
class Hop:
    """One answer on the way: the URL that was asked, and the status."""

    url: str
    status: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Download:
    """What arrived. ``hops`` ends with the server that sent the bytes."""

    tool: str
    hops: tuple[Hop, ...]
    size_bytes: int
    sha256: str

    @property
    def server(self) -> str:
        """Who sent the bytes: scheme, host and port."""
        parts = urlsplit(self.hops[-1].url)
        return f"{parts.scheme}://{parts.netloc}"


def download(url: str, target: Path) -> Download:
    """Fetch a URL to a file, following redirects.

    Raises:
        CommandError: the last answer was not the file.
    """
    curl = shutil.which("curl")
    hops = _with_curl(curl, url, target) if curl is not None else _by_ourselves(url, target)
    if not hops or hops[-1].status != http.client.OK:
        answered = hops[-1].status if hops else "nothing"
        raise CommandError("download_failed", f"{url}: the last answer was {answered}")
    with target.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return Download(
        tool="curl -L" if curl else "own client", hops=hops, size_bytes=target.stat().st_size, sha256=digest
    )


def file_url(site_url: str, path: str) -> str:
    """Write a file's address: whatever its path holds, as RFC 3986 wants it."""
    return f"{site_url}/{quote(path)}"


def shortened(url: str) -> str:
    """Cut the token in a URL, so that it may be shown."""
    return _TOKEN.sub(r"\1…", url)


def parse_hops(url: str, headers: str) -> tuple[Hop, ...]:
    """Read the answers on the way from what curl wrote of their headers. Pure."""
    hops: list[Hop] = []
    for block in re.split(r"\r?\n\r?\n", headers.strip()):
        status = _STATUS.match(block)
        if status is None:
            continue
        hops.append(Hop(url, int(status[1])))
        location = re.search(r"(?im)^location:\s*(\S+)\s*$", block)
        if location:
            url = urljoin(url, location[1])
    return tuple(hops)


def _with_curl(curl: str, url: str, target: Path) -> tuple[Hop, ...]:
    headers = target.with_name(target.name + ".headers")
    arguments = [
        curl, "--silent", "--show-error", "--location", "--max-redirs", str(REDIRECTS_MAX), "--noproxy", "*",
        "--dump-header", str(headers), "--output", str(target), url,
    ]  # fmt: skip
    done = subprocess.run(  # noqa: S603 - curl, as found on this machine
        arguments, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
    )
    if done.returncode:
        raise CommandError("download_failed", done.stderr.strip() or f"curl failed with {done.returncode}")
    hops = parse_hops(url, headers.read_text(encoding="latin-1"))
    headers.unlink()
    return hops


def _by_ourselves(url: str, target: Path) -> tuple[Hop, ...]:
    hops: list[Hop] = []
    while len(hops) <= REDIRECTS_MAX:
        parts = urlsplit(url)
        with closing(http.client.HTTPConnection(parts.netloc, timeout=TIMEOUT_S)) as connection:
            connection.request("GET", parts.path + (f"?{parts.query}" if parts.query else ""))
            answer = connection.getresponse()
            hops.append(Hop(url, answer.status))
            location = answer.getheader("Location")
            if location is None:
                _save(answer, target)
                return tuple(hops)
            url = urljoin(url, location)
    raise CommandError("download_failed", f"{hops[0].url}: more than {REDIRECTS_MAX} redirects")


def _save(answer: http.client.HTTPResponse, target: Path) -> None:
    with target.open("wb") as file:
        while chunk := answer.read(CHUNK_BYTES):
            file.write(chunk)
