"""Bounded, unit-aware decoders of single fields: what a feed prints becomes a number, or a `PollError`.

Real feeds answer with numbers and with strings of digits, milliseconds and seconds, -1 and 0 for "missing". Booleans,
NaN, exponents in strings and web pages are refused.
"""

from __future__ import annotations

import math
import re
from datetime import datetime

from fleet.market import HARD_AGE_S, SOFT_AGE_S, MarketInput, Quote, in_bounds
from fleet.ports import PollError
from fleet.readings import FaultKind
from fleet.units import BLOCK_INTERVAL_S, HASHES_PER_DIFFICULTY_1

DECIMAL = re.compile(r"-?[0-9]{1,20}(\.[0-9]{1,20})?")
MILLISECONDS_FROM = 1e11  # as seconds this is the year 5138, as milliseconds 1973
EARLIEST_S = 1.5e9  # July 2017: older than any quote worth a look
CLOCK_SKEW_S = 60.0
HASHRATE_FACTOR = 4.0  # no honest estimate is further than one retarget from what the difficulty implies


def printable(text: str, limit: int = 80) -> str:
    """`text` of a stranger, fit for a log line: ASCII without control characters, at most `limit` characters."""
    return ascii(text[:limit])[1:-1][:limit]


def malformed(detail: str) -> PollError:
    return PollError(FaultKind.MALFORMED, detail)


def field(body: object, *path: str | int) -> object:
    """The value at `path` of nested objects and lists."""
    for key in path:
        match body, key:
            case dict(), str() if key in body:
                body = body[key]
            case list(), int() if len(body) > key:
                body = body[key]
            case _:
                raise malformed(f"no field {dotted(path)}")
    return body


def dotted(path: tuple[str | int, ...]) -> str:
    """A path as an operator reads it."""
    return ".".join(map(str, path))


def number(raw: object, name: str) -> float:
    """A finite number, printed as a JSON number or as a string of plain decimals."""
    if isinstance(raw, str) and DECIMAL.fullmatch(raw):
        return float(raw)
    if isinstance(raw, int | float) and not isinstance(raw, bool) and math.isfinite(raw):
        return float(raw)
    raise malformed(f"{name} is not a number")


def count(raw: object, name: str) -> int:
    """A whole number from 0."""
    value = number(raw, name)
    if value < 0 or not value.is_integer():
        raise malformed(f"{name} is not a count")
    return int(value)


def timestamp_s(raw: object, name: str, now_s: float) -> float:
    """A Unix time in seconds, from seconds or milliseconds; never later than `now_s` but for a little clock skew."""
    value = number(raw, name)
    seconds = value if value < MILLISECONDS_FROM else value / 1000
    if not EARLIEST_S <= seconds <= now_s + CLOCK_SKEW_S:
        raise malformed(f"{name} is not a time of the present")
    return seconds


def instant_s(raw: object, name: str, now_s: float) -> float:
    """A Unix time as `timestamp_s`, or printed as ISO 8601 with its zone."""
    if isinstance(raw, str) and "T" in raw and len(raw) <= 40:
        try:
            moment = datetime.fromisoformat(raw)
        except ValueError:
            raise malformed(f"{name} is not a time") from None
        if moment.tzinfo is None:
            raise malformed(f"{name} has no time zone")
        raw = moment.timestamp()
    return timestamp_s(raw, name, now_s)


def fits_hashrate(difficulty: float, estimate_hs: float) -> bool:
    """Whether an estimate of network hashrate may stand beside this difficulty: a check of units, no more."""
    implied_hs = difficulty * HASHES_PER_DIFFICULTY_1 / BLOCK_INTERVAL_S
    return estimate_hs / HASHRATE_FACTOR <= implied_hs <= estimate_hs * HASHRATE_FACTOR


def quote(
    input: MarketInput,
    source: str,
    value: float,
    as_of_s: float,
    *,
    soft_s: float | None = None,
    good_for_s: float | None = None,
    at_height: float | None = None,
) -> Quote:
    """A quote within the bounds of its input, with the usual ages unless the source has its own."""
    if not in_bounds(input, value):
        raise malformed(f"{input.value} {value:g} is out of bounds")
    if at_height is not None and not in_bounds(MarketInput.HEIGHT, at_height):
        raise malformed(f"height {at_height:g} is out of bounds")
    return Quote(
        input,
        source,
        value,
        as_of_s,
        SOFT_AGE_S[input] if soft_s is None else soft_s,
        HARD_AGE_S[input] if good_for_s is None else good_for_s,
        at_height,
    )
