"""WhatsMiner's error codes in words: `whatsminer_errors.csv` lists them, single codes first and families last.

A code is its family followed by digits that name a board, pool or chip, so a line of the table may hold letters where
they stand: `n` one digit, `c` digits of a chip, `.` any digit. The first line that fits decides.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from functools import cache, lru_cache
from importlib import resources

from collectors.miners import cgminer
from fleet.readings import MachineError

MAX_ERRORS = 32
UNKNOWN = "unknown fault"

_MAX_DIGITS = 8
_PLACE = re.compile(r"n|c+|\.")


def listed(said: object) -> tuple[MachineError, ...]:
    """Errors of an `error_code` in any of its shapes, in their order and each once, at most MAX_ERRORS.

    Seen: [{"218": "2024-06-15 10:30:00"}], the same with the machine's own "reason", [218, 219], ["218"], {"218": ...}.
    What is no code is passed over.
    """
    found: dict[str, MachineError] = {}
    for code, reason in _told(said):
        if code not in found:
            found[code] = MachineError(code, _without_registers(reason) or words(code))
            if len(found) == MAX_ERRORS:
                break
    return tuple(found.values())


@lru_cache(maxsize=4096)
def words(code: str) -> str:
    """What a code means: the code itself, else its family, else UNKNOWN."""
    for pattern, text in _table():
        if matched := pattern.fullmatch(code):
            return text.format(**{key: int(digits) for key, digits in matched.groupdict().items()})
    return UNKNOWN


def _told(said: object) -> Iterator[tuple[str, str | None]]:
    """(code, the machine's own reason) for each code."""
    for entry in said if isinstance(said, list) else [said]:
        if isinstance(entry, dict):
            reason = cgminer.text(entry.get("reason"))
            yield from ((code, reason) for key in entry if (code := _code(key)) is not None)
        elif (code := _code(entry)) is not None:
            yield code, None


def _code(said: object) -> str | None:
    """A code as text; 0 stands for no error."""
    text = cgminer.text(said, _MAX_DIGITS + 1)
    if text is None or len(text) > _MAX_DIGITS or not (text.isascii() and text.isdigit()):
        return None
    return text if int(text) else None


def _without_registers(reason: str | None) -> str | None:
    """`Power xfer error. code: 0xffff` -> `Power xfer error`."""
    return None if reason is None else reason.partition(" code: 0x")[0].strip(" .") or None


@cache
def _table() -> tuple[tuple[re.Pattern[str], str], ...]:
    text = resources.files("collectors.miners").joinpath("whatsminer_errors.csv").read_text("utf-8")
    return tuple((_pattern(row["code"]), row["words"]) for row in csv.DictReader(text.splitlines()))


def _pattern(code: str) -> re.Pattern[str]:
    return re.compile(_PLACE.sub(_digits, code))


def _digits(place: re.Match[str]) -> str:
    return "[0-9]" if place[0] == "." else f"(?P<{place[0][0]}>[0-9]{{{len(place[0])}}})"
