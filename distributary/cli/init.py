"""``distributary init``: a site's folder."""

from __future__ import annotations

import shlex
from ipaddress import ip_address
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import click

from distributary.cli.command import Command
from distributary.cli.invocation import current
from distributary.config.sources import FILE_NAME
from distributary.errors import UsageError
from distributary.site_folder import SitePlan, write_site

URL_HINT: Final = "write it like http://127.0.0.1:8080 or https://files.example.org"


@click.command(cls=Command, name="init")
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path), default=".")
@click.option("--url", help="The site's public address.  [default: http://127.0.0.1:8080]")
@click.option("--master-url", help="Where mirrors reach the master.  [default: http://127.0.0.1:8081]")
def command(folder: Path, url: str | None, master_url: str | None) -> None:
    """Write a site's FOLDER: distributary.toml, its secret and the administrator's token.

    What is there already is kept, so it is safe to run again. The broker's address is taken from
    DISTRIBUTARY_AMQP_URL and DISTRIBUTARY_MANAGEMENT_URL where they are set. A port in --url or --master-url is
    listened on: on loopback where the host is, else on all addresses.
    """
    invocation = current()
    defaults = SitePlan()
    plan = SitePlan(
        site_url=url or defaults.site_url,
        master_url=master_url or defaults.master_url,
        selector_listen=_listen(url, defaults.selector_listen, "--url"),
        master_listen=_listen(master_url, defaults.master_listen, "--master-url"),
        broker_url=invocation.environ.get("DISTRIBUTARY_AMQP_URL") or defaults.broker_url,
        management_url=invocation.environ.get("DISTRIBUTARY_MANAGEMENT_URL") or None,
    )
    written = write_site(folder, plan)
    _report(folder, written, has_broker=bool(invocation.environ.get("DISTRIBUTARY_AMQP_URL")))


def _listen(url: str | None, default: str, option: str) -> str:
    """Choose where to listen for what is reached at a URL.

    A loopback address is listened on itself. Another with an explicit port is taken to reach this machine directly, and
    is listened for on all its addresses. Another without one, and https, are a reverse proxy's: the default stays.
    """
    if url is None:
        return default
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise UsageError("url_invalid", f"{option}: {url!r}: {error}", hint=URL_HINT) from error
    if parts.scheme not in {"http", "https"} or not host:
        raise UsageError("url_invalid", f"{option}: {url!r} is no address of a server", hint=URL_HINT)
    if port is None or parts.scheme == "https":
        return default
    if host == "localhost":
        return f"127.0.0.1:{port}"
    if _is_loopback(host):
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return f"0.0.0.0:{port}"


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _report(folder: Path, written: dict[str, bool], *, has_broker: bool) -> None:
    output = current().output
    if output.json:
        files = [{"path": str(folder / name), "new": new} for name, new in written.items()]
        output.snapshot("init", {"folder": str(folder), "files": files})
        return
    for name, new in written.items():
        output.text(f"{'wrote' if new else 'kept '}  {folder / name}")
    if not has_broker and written[FILE_NAME]:
        output.note(
            f"\nA RabbitMQ broker is needed; {folder / FILE_NAME} names one on this machine. For another, write its"
        )
        output.note("URL and its management URL there, or set DISTRIBUTARY_AMQP_URL and DISTRIBUTARY_MANAGEMENT_URL.")
        output.note("Mirrors join only where a management URL is set: each is given a broker user of its own.")
    where = "" if folder == Path() else f" --config {shlex.quote(str(folder))}"
    output.note("\nNext:")
    output.note(f"  distributary serve all{where}")
    output.note(f"  distributary publish PATH{where}")
    output.note(f"  distributary mirror invite NAME -c CHANNEL{where}")
