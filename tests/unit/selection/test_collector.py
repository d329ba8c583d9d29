"""The collector of a selector's process: what stays is passed over, garbage is not, and all ends with the block."""

from __future__ import annotations

import gc
import weakref

from selection.collector import YOUNG_MAX, calm_collector


class Knot:
    """Holds itself."""

    def __init__(self) -> None:
        self.itself = self


def test_what_stays_is_passed_over_while_the_block_is_entered() -> None:
    before = gc.get_threshold()
    with calm_collector() as keep:
        stays = [[number] for number in range(1000)]
        keep()
        assert gc.get_freeze_count() > len(stays)
        assert gc.get_threshold()[0] == YOUNG_MAX
    assert gc.get_freeze_count() == 0
    assert gc.get_threshold() == before


def test_garbage_from_before_is_not_kept_and_later_garbage_is_collected() -> None:
    with calm_collector() as keep:
        before = weakref.ref(Knot())
        keep()
        assert before() is None
        later = weakref.ref(Knot())
        gc.collect()
        assert later() is None


def test_all_ends_with_the_block_whatever_ends_it() -> None:
    before = gc.get_threshold()
    try:
        with calm_collector() as keep:
            keep()
            raise KeyError  # noqa: TRY301 - ends the block
    except KeyError:
        pass
    assert (gc.get_freeze_count(), gc.get_threshold()) == (0, before)
