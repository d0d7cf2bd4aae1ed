"""Market numbers in a file that somebody writes: for a farm without internet.

The file is read at every look, so that a person, a stick or a script may replace it while the agent runs. It is TOML
and strict: a number per input, `as_of` with its time zone, and `good_for_h`. What is wrong is one line with the key.
"""

from __future__ import annotations

import asyncio
import tomllib
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from collectors.feeds.fields import CLOCK_SKEW_S, malformed, printable, quote
from fleet.market import HASHPRICE_INPUTS, MarketInput, Quote
from fleet.ports import PollError
from fleet.readings import FaultKind

MAX_BYTES = 16 * 1024
GOOD_FOR_H = 24.0
MAX_GOOD_FOR_H = 24.0 * 366
INPUTS = {each.value: each for each in (*HASHPRICE_INPUTS, MarketInput.PUBLISHED_USD_PH_DAY)}


class HandwrittenFeed:
    """The numbers of one file, as of the time that it states."""

    def __init__(self, path: str, source: str, now: Callable[[], float]) -> None:
        self._path, self._source, self._now = Path(path), source, now

    async def read(self) -> tuple[Quote, ...]:
        try:
            content = await asyncio.to_thread(_read, self._path)
        except OSError as error:
            raise PollError(FaultKind.UNREACHABLE, f"cannot read the file: {error.strerror}") from None
        if len(content) > MAX_BYTES:
            raise PollError(FaultKind.OVERSIZE, f"more than {MAX_BYTES} bytes")
        return parse_numbers(content, self._source, self._now())

    async def aclose(self) -> None:
        pass


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(MAX_BYTES + 1)


def parse_numbers(content: bytes, source: str, now_s: float) -> tuple[Quote, ...]:
    """The quotes of a file. Errors: PollError, MALFORMED, with the key."""
    try:
        table = tomllib.loads(content.decode())
    except (ValueError, RecursionError) as error:  # not UTF-8, not TOML, thousands of digits or of brackets
        raise malformed(f"not TOML: {printable(str(error))}") from None
    for name in table:
        if name not in (*INPUTS, "as_of", "good_for_h"):
            raise malformed(f"unknown key {printable(name)}: it is one of {', '.join(INPUTS)}, as_of, good_for_h")
    as_of = table.pop("as_of", None)
    if not isinstance(as_of, datetime) or as_of.tzinfo is None:
        raise malformed("as_of is not a time with its zone, as 2026-08-20T12:00:00Z")
    as_of_s = as_of.timestamp()
    if as_of_s > now_s + CLOCK_SKEW_S:
        raise malformed("as_of is in the future")
    good_for_h = _number(table.pop("good_for_h", GOOD_FOR_H), "good_for_h")
    if not 0 < good_for_h <= MAX_GOOD_FOR_H:
        raise malformed(f"good_for_h is not between 0 and {MAX_GOOD_FOR_H:g}")
    if not table:
        raise malformed("states no number")
    good_for_s = good_for_h * 3600.0
    return tuple(
        quote(INPUTS[name], source, _number(value, name), as_of_s, soft_s=good_for_s, good_for_s=good_for_s)
        for name, value in table.items()
    )


def _number(value: object, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e300:  # also NaN
        raise malformed(f"{name} is not a number")
    return float(value)
