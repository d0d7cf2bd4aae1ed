"""Recorded answers with anything put in the place of any part of them, as firmware bugs and attackers do."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any

from hypothesis import strategies as st

SCALARS: st.SearchStrategy[Any] = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20)
    | st.sampled_from(["", "nan", "0", "-1", "1e400", "stratum+tcp://u:p@host:1", "\x1b[31m", "a" * 5000])
)
ANY_JSON: st.SearchStrategy[Any] = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
)


@st.composite
def strange(draw: st.DrawFn, answers: Mapping[str, Any]) -> dict[str, Any]:
    """The same answers, some of them missing, one to three of their parts replaced."""
    kept = {name: copy.deepcopy(answer) for name, answer in answers.items() if draw(st.integers(0, 9))}
    for _ in range(draw(st.integers(1, 3))):
        places = list(_places(kept))
        if places:
            holder, key = draw(st.sampled_from(places))
            holder[key] = draw(ANY_JSON)
    return kept


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    keys: Any = value.keys() if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        yield value, key
        yield from _places(value[key])
