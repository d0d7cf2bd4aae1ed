"""Ways into decoded JSON of any shape: a hostile machine sends lists where objects belong, and null for both."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Fields = Mapping[str, Any]

NOTHING: Fields = {}

MAX_ROWS = 512
"""More rows than any honest list of boards, chips, fans, pools or errors that matters; the rest is left unread."""


def at(value: Any, *path: str) -> Any:
    """What stands at the end of a path of object keys; None where the path breaks off."""
    for key in path:
        if not isinstance(value, dict):
            return None
        value = value.get(key)
    return value


def fields_at(value: Any, *path: str) -> Fields:
    """The object at the end of a path; empty where there is none."""
    found = at(value, *path)
    return found if isinstance(found, dict) else NOTHING


def rows_at(value: Any, *path: str) -> tuple[Fields, ...]:
    """The objects of the list at the end of a path, in their order, at most MAX_ROWS; without what is no object."""
    found = at(value, *path)
    return tuple(row for row in found[:MAX_ROWS] if isinstance(row, dict)) if isinstance(found, list) else ()
