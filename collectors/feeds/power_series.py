"""What every power feed does with what it read: an instant, and a series that holds."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime

from collectors.feeds.fields import EARLIEST_S, MILLISECONDS_FROM, malformed, number, printable
from fleet.series import Series, SeriesError

KWH_PER = {"kwh": 1.0, "mwh": 1000.0}
LATEST_AFTER_S = 14 * 86_400.0  # nobody publishes a price for later; a slip of units does
_ISO = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9:.]{4,15}(Z|[+-][0-9:]{2,6})")


def instant_s(raw: object, name: str, now_s: float) -> float:
    """Unix time of a price, from ISO 8601 with an offset, or seconds or milliseconds, until two weeks from now."""
    if isinstance(raw, str) and _ISO.fullmatch(raw):
        try:
            seconds = datetime.fromisoformat(raw).timestamp()
        except ValueError:
            raise malformed(f"{name} is not a time") from None
    else:
        seconds = number(raw, name)
        seconds = seconds if seconds < MILLISECONDS_FROM else seconds / 1000
    if not EARLIEST_S <= seconds <= now_s + LATEST_AFTER_S:
        raise malformed(f"{name} is not a time of the present")
    return seconds


def series_of(
    name: str, prices: Mapping[float, float], step_s: float, unit: str, *, soft_s: float = 0.0, hold_s: float = 0.0
) -> Series:
    """A series of prices by their start. Errors: PollError where they make none."""
    starts = sorted(prices)
    try:
        return Series(name, tuple(starts), tuple(prices[start] for start in starts), step_s, unit, soft_s, hold_s)
    except SeriesError as error:
        raise malformed(printable(str(error))) from None
