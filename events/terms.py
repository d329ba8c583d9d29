"""How long a grant holds, wherever it is given: so who takes grants back knows when the last of them has ended."""

from __future__ import annotations

from typing import Final

from events.schemas.fields import TIMESTAMP_S_MAX

START_BY_S: Final = 60  # a browser follows a redirect within seconds; a download manager may ask its user first
FINISH_WITHIN_S: Final = 3600  # for a small file over a line that comes and goes
FINISH_BYTES_PER_SECOND: Final = 50_000  # past that hour: a slow line of today
# Selectors and master are the site's own servers, which NTP keeps within a second; one more for rounding.
SITE_CLOCKS_APART_S: Final = 2


def finish_by_s(start_by_s: int, size_bytes: int) -> int:
    """Give when the download of so many bytes ends at the latest, if it may begin until ``start_by_s``."""
    return min(start_by_s + FINISH_WITHIN_S + size_bytes // FINISH_BYTES_PER_SECOND, TIMESTAMP_S_MAX)


def last_start_by_s(now_s: float) -> int:
    """Give until when any grant that was given before now may be begun."""
    return min(int(now_s) + START_BY_S + SITE_CLOCKS_APART_S, TIMESTAMP_S_MAX)
