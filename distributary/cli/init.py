"""``distributary init``: a site's folder."""

from __future__ import annotations

from pathlib import Path

import click

from distributary.cli.command import Command
from distributary.cli.invocation import current
from distributary.site_folder import SitePlan, write_site


@click.command(cls=Command, name="init")
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path), default=".")
@click.option("--url", help="The site's public address.  [default: http://127.0.0.1:8080]")
@click.option("--master-url", help="Where mirrors reach the master.  [default: http://127.0.0.1:8081]")
def command(folder: Path, url: str | None, master_url: str | None) -> None:
    """Write a site's FOLDER: distributary.toml, its secret and the administrator's token.

    What is there already is kept, so it is safe to run again. The broker's address is taken from
    DISTRIBUTARY_AMQP_URL and DISTRIBUTARY_MANAGEMENT_URL where they are set.
    """
    invocation = current()
    defaults = SitePlan()
    plan = SitePlan(
        site_url=url or defaults.site_url,
        master_url=master_url or defaults.master_url,
        broker_url=invocation.environ.get("DISTRIBUTARY_AMQP_URL") or defaults.broker_url,
        management_url=invocation.environ.get("DISTRIBUTARY_MANAGEMENT_URL") or None,
    )
    written = write_site(folder, plan)
    _report(folder, written)


def _report(folder: Path, written: dict[str, bool]) -> None:
    output = current().output
    if output.json:
        files = [{"path": str(folder / name), "new": new} for name, new in written.items()]
        output.snapshot("init", {"folder": str(folder), "files": files})
        return
    for name, new in written.items():
        output.text(f"{'wrote' if new else 'kept '}  {folder / name}")
    where = "" if folder == Path() else f" --config {folder}"
    output.note("\nNext:")
    output.note(f"  distributary serve all{where}")
    output.note(f"  distributary publish PATH{where}")
    output.note(f"  distributary mirror invite NAME -c CHANNEL{where}")
