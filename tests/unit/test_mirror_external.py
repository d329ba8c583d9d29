"""What nginx tells of its answers, and what is done when it tells nothing."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from edge.files import Content, ContentGoneError
from edge.pacing import Pacing
from edge.ranges import Part
from events.grants import CLOCK_SKEW_S
from events.names import Digest
from mirror.serving.external import SHARE_BYTES_PER_SECOND_MIN, External
from mirror.serving.nginx import ACCOUNT_FIELD, Account, NginxPlan, read_account, snippet
from mirror.serving.orders import Order, order_of
from mirror.serving.transfers import Visit

SIZE = 100_000
SMALL = 1000
FINISH_BY_S = 5000


@dataclass
class FakeVisit:
    asked: Part = field(default_factory=lambda: Part(0, SIZE))
    asked_bytes: int = SIZE
    counted_bytes: int = 0
    sent_bytes: int = 0
    ends: int = 0
    completed: bool | None = None
    grant: object = field(default_factory=lambda: SimpleNamespace(finish_by_s=FINISH_BY_S, sha256=b"\0" * 32))

    def settle(self, sent_bytes: int, *, completed: bool) -> None:
        self.count_as(sent_bytes)
        self.tell_as(sent_bytes, completed=completed)

    def count_as(self, sent_bytes: int) -> None:
        self.counted_bytes = sent_bytes
        self.end()

    def tell_as(self, sent_bytes: int, *, completed: bool) -> None:
        assert self.completed is None, "it was told before"
        self.sent_bytes, self.completed = sent_bytes, completed

    def end(self) -> None:
        self.ends += 1


@dataclass
class Clock:
    now_s: float = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def external(tmp_path: Path, clock: Clock) -> External:
    return External(tmp_path, pacing=Pacing(None), clock_s=clock)


def hand_over(external: External, folder: Path, name: str = "r1", size_bytes: int = SIZE) -> FakeVisit:
    visit = FakeVisit()
    answer(external, folder, visit, name=name, size_bytes=size_bytes)
    return visit


def answer(external: External, folder: Path, visit: FakeVisit, *, name: str, size_bytes: int = SIZE) -> Order:
    path = folder / "object"
    path.write_bytes(bytes(SIZE))
    content = Content(
        path=path, size_bytes=size_bytes, sha256=Digest(bytes(32)), media_type="text/plain", file_name="a"
    )
    return external.hand_over(name, content, cast("Visit", visit))


def share_of(external: External, folder: Path, name: str) -> int:
    return int(answer(external, folder, FakeVisit(), name=name).fields["X-Accel-Limit-Rate"])


def account(*, body_bytes: int, status: int = 200, completed: bool = True) -> Account:
    return Account(request="r1", status=status, body_bytes=body_bytes, completed=completed)


@pytest.mark.parametrize("before", ["", "<190>Nov 22 13:00:00 distributary: "])
def test_line_is_read_with_and_without_syslog_s_part(before: str) -> None:
    assert read_account(f"{before}0a1b 206 300 7 1 OK\n") == Account(
        request="0a1b", status=206, body_bytes=300, completed=True
    )
    left = read_account(f"{before}0a1b 200 300 7 1 ")
    assert left is not None
    assert not left.completed


@pytest.mark.parametrize("line", ["", "x", "a 200 300 7 1", "a b c d e f", "a 200 -1 7 1 OK", "a 200 1 7 1 OK more"])
def test_other_lines_say_nothing(line: str) -> None:
    assert read_account(line) is None


def test_transfers_that_run_together_are_handed_no_more_than_the_rate(tmp_path: Path, clock: Clock) -> None:
    rate = 1_000_000
    external = External(tmp_path, pacing=Pacing(rate), clock_s=clock)
    shares = [share_of(external, tmp_path, f"r{number}") for number in range(20)]
    above_floor = [share for share in shares if share > SHARE_BYTES_PER_SECOND_MIN]
    assert sum(above_floor) <= rate
    assert len(above_floor) > 2, "a second and a third visitor are not starved by the first"
    assert min(shares) == SHARE_BYTES_PER_SECOND_MIN
    for number in range(20):
        external.settle(account(body_bytes=SIZE)._replace(request=f"r{number}"))
    assert share_of(external, tmp_path, "later") == shares[0], "what ended is handed out anew"


@pytest.mark.parametrize("rate", [1, 5_000])
def test_rate_below_the_least_share_is_all_that_one_transfer_gets(tmp_path: Path, clock: Clock, rate: int) -> None:
    external = External(tmp_path, pacing=Pacing(rate), clock_s=clock)
    assert share_of(external, tmp_path, "r1") == rate


def test_visit_ends_with_what_nginx_tells_once(external: External, tmp_path: Path) -> None:
    visit = hand_over(external, tmp_path)
    for _ in range(2):  # the datagram, and the log
        external.settle(account(body_bytes=SIZE))
    assert (visit.sent_bytes, visit.completed, visit.ends, len(external)) == (SIZE, True, 1, 0)


@pytest.mark.parametrize(
    ("told", "sent_bytes"),
    [
        pytest.param(account(body_bytes=300, completed=False), 300, id="broken off"),
        pytest.param(account(body_bytes=300), 300, id="shorter than was asked"),
        pytest.param(account(body_bytes=2 * SIZE, completed=False), SIZE, id="more than was asked"),
        pytest.param(account(body_bytes=150, status=404), 0, id="an error page"),
        pytest.param(account(body_bytes=0, status=499), 0, id="left before there was an answer"),
    ],
)
def test_what_is_not_the_whole_is_counted_as_aborted(
    external: External, tmp_path: Path, told: Account, sent_bytes: int
) -> None:
    visit = hand_over(external, tmp_path)
    external.settle(told)
    assert visit.sent_bytes == sent_bytes
    assert visit.completed is False
    assert visit.ends == 1


def test_untold_visit_ends_with_its_grant_and_counts_as_sent(external: External, tmp_path: Path, clock: Clock) -> None:
    visit = hand_over(external, tmp_path)
    clock.now_s = FINISH_BY_S + CLOCK_SKEW_S
    external.expire()
    assert (visit.ends, len(external)) == (0, 1)
    clock.now_s += 1
    external.expire()
    assert (visit.ends, visit.sent_bytes, visit.completed, len(external)) == (1, SIZE, False, 0)


def hand_over_small(external: External, folder: Path) -> FakeVisit:
    visit = FakeVisit(asked=Part(0, SMALL), asked_bytes=SMALL)
    assert ACCOUNT_FIELD in answer(external, folder, visit, name="r1").fields
    return visit


def test_what_fits_a_socket_s_buffer_is_counted_at_once_and_told_when_nginx_had_its_time(
    external: External, tmp_path: Path
) -> None:
    visit = hand_over_small(external, tmp_path)
    assert (visit.counted_bytes, visit.ends, visit.completed, len(external)) == (SMALL, 1, None, 0)
    assert "r1" in external, "nobody asks under its name again meanwhile"
    external.believe(["r1"])
    assert (visit.sent_bytes, visit.completed, visit.ends) == (SMALL, True, 1)
    assert "r1" not in external


def test_small_file_that_nginx_could_not_send_is_not_told_as_sent(external: External, tmp_path: Path) -> None:
    visit = hand_over_small(external, tmp_path)
    for _ in range(2):
        external.settle(account(body_bytes=150, status=403))
        external.believe(["r1"])
    assert (visit.sent_bytes, visit.completed, visit.ends) == (0, False, 1)


def test_nginx_tells_of_every_transfer_whose_rate_is_limited(tmp_path: Path, clock: Clock) -> None:
    external = External(tmp_path, pacing=Pacing(10_000), clock_s=clock)
    visit = FakeVisit(asked=Part(0, SMALL), asked_bytes=SMALL)
    assert ACCOUNT_FIELD not in answer(external, tmp_path, visit, name="r1").fields
    assert (visit.ends, len(external)) == (0, 1)


def test_file_that_is_not_as_promised_is_handed_to_nobody_and_its_visit_ends(
    external: External, tmp_path: Path
) -> None:
    visit = FakeVisit()
    with pytest.raises(ContentGoneError):
        answer(external, tmp_path, visit, name="r1", size_bytes=SIZE + 1)
    assert (len(external), visit.ends, visit.sent_bytes) == (0, 1, 0)


@pytest.mark.parametrize("share", [0, 5_000])
def test_an_order_is_written_as_its_fields_say(share: int) -> None:
    order = order_of(Digest(bytes(32)), "text/plain", "Übersicht.txt", None, whole=True, presumed=False).at(share)
    lines = order.written.decode("ascii").split("\r\n")
    assert lines.pop() == "", "each line has an end"
    assert dict(line.split(": ", 1) for line in lines) == dict(order.fields)
    assert order.fields.get("X-Accel-Limit-Rate", "0") == str(share)


def names_of(plan: NginxPlan) -> list[str]:
    """Find all that one snippet names for the whole of nginx: its log format, its zone, its variable, its upstream."""
    return re.findall(
        r"^(?:upstream |log_format |limit_conn_zone \S+ zone=|map .* \$)([\w.-]+)", snippet(plan), re.MULTILINE
    )


def test_two_mirrors_behind_one_nginx_name_nothing_alike() -> None:
    ana = NginxPlan(
        name="ana",
        listen="80",
        server_name="ana.example",
        mirror="127.0.0.1:8082",
        objects="/ana/obj",
        requests="/ana/requests",
        accounts="/ana/accounts",
        log_file="/ana/log",
        connections_per_address=256,
    )
    bob = replace(ana, name="bob", server_name="bob.example", mirror="[::1]:8082")
    assert len(names_of(ana)) == len(names_of(bob)) == 4
    assert not set(names_of(ana)) & set(names_of(bob))
