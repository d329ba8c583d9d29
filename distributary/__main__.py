"""``distributary`` and ``python -m distributary``."""

from __future__ import annotations

from typing import NoReturn

from distributary.cli.app import root


def main() -> NoReturn:
    """Run the command line and exit with its code."""
    root.main(prog_name="distributary")


if __name__ == "__main__":
    main()
