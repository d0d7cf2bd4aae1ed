"""Custom firmware that lies: one value of a healthy machine becomes anything that JSON can say.

A reading is refused as a PollError or holds nothing but finite numbers and short printable words.
"""

from __future__ import annotations

import json
import math
from copy import deepcopy
from dataclasses import fields, is_dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scripted_miner import CAPTURES
from test_collectors_braiins import RPC
from test_collectors_mara import PAGES
from test_collectors_vnish import INFO, PERF, SUMMARY

from collectors.miners import hearing, makes
from fleet.ports import PollError


def recorded(folder: str) -> dict[str, Any]:
    return {path.stem: json.loads(path.read_text()) for path in sorted((CAPTURES / folder).glob("*.json"))}


HEALTHY: dict[str, tuple[str, dict[str, Any]]] = {
    "luxos": ("luxos", recorded("luxos-2025.4")),
    "bosminer": ("braiins", RPC),
    "graphql": ("braiins", recorded("braiins-25.05-graphql")),
    "rest": ("braiins_rest", recorded("braiins-25.07-rest")),
    "vnish": ("vnish", {"summary": SUMMARY, "info": INFO, "perf_summary": PERF}),
    "mara": ("mara", PAGES),
}

numbers = st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False) | st.just(1e308)
scalars = st.none() | st.booleans() | numbers | st.text(max_size=20) | st.just("\x1b[31m" + "x" * 500)
anything = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, item in inner for place in places(item, (*path, key)))]


def put(root: Any, path: tuple[Any, ...], value: Any) -> Any:
    if not path:
        return value
    copied = deepcopy(root)
    at = copied
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = value
    return copied


def sound(value: Any) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, str):
        return value.isprintable() and len(value) <= 160
    if is_dataclass(value):
        return all(sound(getattr(value, f.name)) for f in fields(value))
    return all(map(sound, value)) if isinstance(value, tuple) else value is None or isinstance(value, int)


@pytest.mark.parametrize("name", HEALTHY)
@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_any_value_anywhere(name: str, data: st.DataObject) -> None:
    key, healthy = HEALTHY[name]
    place = data.draw(st.sampled_from(places(healthy)[1:]))
    said = put(healthy, place, data.draw(anything))
    raw = {stem: json.dumps(answer).encode() for stem, answer in said.items()}
    make = makes.make_of(key)
    try:
        reading = make.read(hearing.said_from(make, raw, is_deep=True))
    except PollError:
        return
    assert sound(reading), reading
