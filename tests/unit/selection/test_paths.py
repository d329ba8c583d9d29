"""Paths stay in order, however they come and go."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from events.names import FilePath
from selection.view.paths import Paths

NAMES = st.text("abc", min_size=1, max_size=3)


@given(toggled=st.lists(NAMES), after=NAMES)
def test_paths_are_those_of_a_sorted_set(toggled: list[str], after: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("selection.view.paths.RUN_MAX", 3)
        paths, truth = Paths(), set[str]()
        for name in toggled:
            (paths.drop if name in truth else paths.add)(FilePath(name))
            truth ^= {name}
        assert list(paths.after("")) == sorted(truth)
        assert list(paths.after(after)) == sorted(name for name in truth if name > after)
