"""A source's numbers in a log: those of the busiest selector make sense, and what it repeats is compared."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from itertools import count, islice

from history.audit.track import SELECTOR_LATE_MAX, Heard, Track
from history.entry import Entry, Position

MIRRORS = 10_000
ROUNDS = MIRRORS // 2  # enough to say each mirror's notice twice
ENTRY = Entry(1, 0, "selections", "decisions", "selector/one:0:1", "decisions.recorded/1", "site", b"said")


def said_to_all() -> Iterator[int]:
    """Give a selector's numbers as it says them where ten thousand mirrors are asked for.

    Each round it begins six notices, makes two records and says these at once, and the six oldest notices where every
    mirror has one.
    """
    numbers, begun = count(1), deque[int]()
    for _ in range(ROUNDS):
        for _ in range(2):
            begun.extend(islice(numbers, 3))
            yield next(numbers)
        while len(begun) > MIRRORS:
            yield begun.popleft()
    yield from begun


def track_of(first: int) -> Track:
    return Track(
        late_max=SELECTOR_LATE_MAX,
        first=first,
        first_position=Position(1, 0),
        first_message_id="selector/one:0:1",
        first_ns=0,
    )


def test_notices_of_ten_thousand_mirrors_come_late_and_each_in_its_place() -> None:
    said = list(said_to_all())
    track = track_of(said[0])
    heard = {track.note(number, ENTRY, log_time_ns=0) for number in said}
    assert heard == {Heard.NEW}
    assert (track.first, track.last, list(track.gaps())) == (1, len(said), [])


def test_repetition_is_compared_so_long_as_it_is_not_out_of_place() -> None:
    track = track_of(1)
    last = 2 * SELECTOR_LATE_MAX
    for number in range(1, last + 1):
        track.note(number, ENTRY._replace(body=b"%d" % number), log_time_ns=0)
    oldest = last - SELECTOR_LATE_MAX + 1
    assert track.note(oldest, ENTRY._replace(body=b"%d" % oldest), log_time_ns=0) is Heard.REPEATED
    assert track.note(oldest, ENTRY, log_time_ns=0) is Heard.ALTERED
    assert track.note(oldest - 1, ENTRY, log_time_ns=0) is Heard.MISPLACED
