"""A quantity that changes in steps and is known only where somebody said it: day-ahead and real-time prices, rates.

Every value holds from its start for one step, or until the next value if that comes sooner. Beyond it nothing holds:
a hole is NaN with a reason, never the neighbour's value. Only the newest value, and only now, may stand in past its
end: for as long as the series itself allows (`hold_s`), because real-time prices are published behind time.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum
from functools import cached_property
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from fleet.market import InputState

Floats = npt.NDArray[np.float64]
Codes = npt.NDArray[np.uint8]

MAX_VALUES = 110_000  # a leap year in steps of five minutes is 105,408
MAX_CSV_BYTES = 8 * 1024 * 1024


class SeriesError(ValueError):
    """These are not values of a series; the message says which line or value."""


class Gap(IntEnum):
    """Why there is no value at an instant."""

    NONE = 0
    BEFORE = 1  # earlier than the first value
    HOLE = 2  # between two values, past the step of the first, or said to be missing
    AFTER = 3  # past the end of the last value
    NO_SERIES = 4  # nothing was heard of the series yet
    CURRENCY = 5  # it is in another currency than it should be
    NO_RATE = 6  # no rate of exchange, or none fresh enough
    NO_TIME = 7  # the instant itself is not known
    BOUNDS = 8  # outside what a price can be: a slip of units or a broken source


@dataclass(frozen=True)
class Series:
    """`value[i]` holds from `start_s[i]` (Unix seconds, ascending) for `step_s`, or until the next one starts.

    `unit` is what a value is worth: a currency for prices per kWh, "EUR/USD" for dollars per euro. A value that is
    known to be missing is NaN. After the end of its last step the newest value is a warning from `soft_s` on, and
    stands in until `hold_s`.
    Errors: SeriesError where there is no value, too many, the lengths differ or the starts do not ascend.
    """

    name: str
    start_s: tuple[float, ...]
    value: tuple[float, ...]
    step_s: float
    unit: str = "USD"
    soft_s: float = 0.0
    hold_s: float = 0.0

    def __post_init__(self) -> None:
        """A series that crossed a pipe is judged again."""
        if not 1 <= len(self.start_s) <= MAX_VALUES:
            raise SeriesError(f"{len(self.start_s)} values; a series has 1 to {MAX_VALUES}")
        if len(self.start_s) != len(self.value):
            raise SeriesError("as many values as starts are needed")
        if not all(map(math.isfinite, self.start_s)) or not 0.0 < self.step_s < math.inf:
            raise SeriesError("times and step have to be finite, the step above zero")
        if any(start >= following for start, following in pairwise(self.start_s)):
            raise SeriesError("the times do not ascend")

    @cached_property
    def starts(self) -> Floats:
        return np.array(self.start_s)

    @cached_property
    def values(self) -> Floats:
        return np.array(self.value)

    @cached_property
    def ends(self) -> Floats:
        """Where each value ceases to hold."""
        ends: Floats = np.minimum(self.starts + self.step_s, np.append(self.starts[1:], math.inf))
        return ends

    def says_the_same(self, other: Series | None) -> bool:
        """Whether both hold the same values at the same times, holes and all."""
        return (
            other is not None
            and np.array_equal(self.starts, other.starts)
            and np.array_equal(self.values, other.values, equal_nan=True)
        )

    def look_up(self, at_s: Floats) -> tuple[Floats, Codes]:
        """Value and `Gap` at each instant; NaN where there is none."""
        before = np.searchsorted(self.starts, at_s, "right") - 1
        index = np.maximum(before, 0)
        reason = np.zeros(len(at_s), np.uint8)
        reason[np.isnan(self.values[index])] = Gap.HOLE
        reason[~(at_s < self.ends[index])] = Gap.HOLE
        reason[at_s >= self.ends[-1]] = Gap.AFTER
        reason[before < 0] = Gap.BEFORE
        reason[np.isnan(at_s)] = Gap.NO_TIME
        return np.where(reason == Gap.NONE, self.values[index], math.nan), reason

    def changes_s(self, from_s: float, until_s: float) -> Floats:
        """Instants in [from_s, until_s) at which the value may change."""
        instants = np.unique(np.concatenate([self.starts, self.ends]))
        return instants[(instants >= from_s) & (instants < until_s)]

    def now(self, now_s: float) -> tuple[float, InputState, float]:
        """The value to use at `now_s`, its state, and the time it is of (the start of its step).

        Missing: NaN, MISSING in a hole or before the first value; NaN, STALE_HARD past the end and `hold_s`.
        """
        index = max(int(np.searchsorted(self.starts, now_s, "right")) - 1, 0)
        value, as_of_s = float(self.values[index]), float(self.starts[index])
        late_s = now_s - float(self.ends[index])
        if math.isnan(value) or now_s < as_of_s or (late_s >= 0.0 and index < len(self.value) - 1):
            return math.nan, InputState.MISSING, as_of_s
        if late_s < min(self.soft_s, self.hold_s):
            return value, InputState.FRESH, as_of_s
        if late_s < self.hold_s:
            return value, InputState.STALE_SOFT, as_of_s
        return math.nan, InputState.STALE_HARD, as_of_s


def smallest_step_s(start_s: Sequence[float]) -> float:
    """The shortest time between two neighbours: a shorter step only ever makes a hole, never a price.

    Errors: SeriesError where there are fewer than two.
    """
    if len(start_s) < 2:
        raise SeriesError("one value alone does not show its step")
    return min(following - start for start, following in pairwise(start_s))


def parse_series_csv(text: str, name: str, factor: float, unit: str = "USD", step_s: float | None = None) -> Series:
    """A series from CSV with the header `time,value`: ISO 8601 with an offset, and a number or nothing (a hole).

    Units:  a value times `factor` is in `unit` (per kWh); `step_s` None = the shortest distance of two lines.
    Errors: SeriesError that names the line.
    """
    lines = csv.reader(text.splitlines(), strict=True)
    starts: list[float] = []
    values: list[float] = []
    try:
        header = [cell.strip() for cell in next(lines, [])]
        if header != ["time", "value"]:
            raise SeriesError("line 1: the header is not time,value")
        for cells in lines:
            if not cells:
                continue
            if len(cells) != 2:
                raise SeriesError(f"line {lines.line_num}: {len(cells)} cells instead of time,value")
            starts.append(_time(cells[0].strip(), lines.line_num))
            values.append(_value(cells[1].strip(), lines.line_num) * factor)
            if len(starts) > 1 and starts[-2] >= starts[-1]:
                raise SeriesError(f"line {lines.line_num}: {cells[0].strip()!r} is not later than the line before")
    except csv.Error as error:
        raise SeriesError(f"line {lines.line_num}: {error}") from None
    return Series(name, tuple(starts), tuple(values), step_s or smallest_step_s(starts), unit)


def _time(text: str, line: int) -> float:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise SeriesError(f"line {line}: {text[:40]!r} is not a time of ISO 8601") from None
    if at.tzinfo is None:
        raise SeriesError(f"line {line}: {text!r} has no offset, as +02:00 or Z")
    return at.timestamp()


def _value(text: str, line: int) -> float:
    try:
        value = float(text) if text else math.nan
    except ValueError:
        value = math.inf
    if math.isinf(value) or (text and math.isnan(value)):
        raise SeriesError(f"line {line}: {text[:40]!r} is not a number")
    return value
