"""Prices by the calendar: seasons, weekdays, holidays and hours, each minute of a year in exactly one period.

A `Schedule` is checked when it is made: its table has one cell per season, weekday and minute, and each cell is filled
once. So a boundary belongs to the period that it opens, nothing overlaps and nothing is left out. The hours are those
of the wall clock: an hour that comes twice is billed twice at its price, one that is left out is not billed.

The same table, with a price for everything it does not name, serves windows: the hours in which a peak may fall.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from fleet.localtime import Zone, clock_instants_s, local_times

Floats = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int16]
Ints = npt.NDArray[np.int64]

WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
MINUTES_PER_DAY = 24 * 60
EVERY_DAY = tuple(range(7))
ALL_DAY = ((0, MINUTES_PER_DAY),)

_MONTH_DAYS = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_UNSET = -1


class ScheduleError(ValueError):
    """The operator's calendar cannot be used. `where` is the part: "seasons.summer", "periods[2].hours", "periods"."""

    def __init__(self, where: str, message: str) -> None:
        super().__init__(f"{where}: {message}" if where else message)
        self.where = where
        self.message = message


@dataclass(frozen=True, slots=True)
class Season:
    """Days of every year, both ends included, as (month, day); the last may lie before the first: over New Year."""

    name: str
    first: tuple[int, int]
    last: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Period:
    """A price and when it holds: `season` None = all year, `weekdays` 0 = Monday, `spans` [from, until) in minutes."""

    name: str
    per_kwh: float
    season: str | None = None
    weekdays: tuple[int, ...] = EVERY_DAY
    spans: tuple[tuple[int, int], ...] = ALL_DAY


@dataclass(frozen=True, eq=False)
class Schedule:
    """Price per kWh by local time. `holidays` are days since 1970-01-01, billed as the weekday `holidays_as`.

    `elsewhere` is the price of what no period names; NaN = every minute has to be named.
    Errors: ScheduleError where seasons or periods overlap or leave something out.
    """

    zone: Zone
    periods: tuple[Period, ...]
    seasons: tuple[Season, ...] = ()
    holidays: tuple[int, ...] = ()
    holidays_as: int = 6
    elsewhere: float = math.nan

    def __post_init__(self) -> None:
        """Build the table now, so that a bad calendar never lives to be asked."""
        assert self._table is not None

    @property
    def is_partial(self) -> bool:
        return not math.isnan(self.elsewhere)

    def per_kwh(self, at_s: Floats) -> Floats:
        """Price at each instant, per kWh; finite Unix seconds in, never NaN where the periods have prices."""
        prices = np.array([*(period.per_kwh for period in self.periods), self.elsewhere])
        return prices[self.period_at(at_s)]

    def period_at(self, at_s: Floats) -> Codes:
        """Index of the period of each instant, -1 where no period names it."""
        local = local_times(self.zone, at_s)
        weekday = np.where(np.isin(local.day, self.holidays), self.holidays_as, local.weekday)
        month, day = local.month_day
        return self._table[self._season_of_day[month - 1, day - 1], weekday, (local.second // 60).astype(np.int64)]

    def changes_s(self, from_s: float, until_s: float) -> Floats:
        """Instants in [from_s, until_s) at which the price may change; between two of them it does not."""
        return clock_instants_s(self.zone, self._edges, from_s, until_s)

    @cached_property
    def _edges(self) -> Ints:
        """Minutes of the day at which some period begins or ends."""
        return np.unique([0, *(minute for period in self.periods for span in period.spans for minute in span)])

    @cached_property
    def _season_of_day(self) -> Ints:
        """Row of `_table` by month and day; the row behind the seasons is for days of none."""
        table = np.full((12, 31), _UNSET, np.int64)
        for index, season in enumerate(self.seasons):
            for month, day in _days_of(season):
                if (other := table[month - 1, day - 1]) != _UNSET:
                    overlap = f"overlaps season {self.seasons[other].name!r} on {month:02d}-{day:02d}"
                    raise ScheduleError(f"seasons.{season.name}", overlap)
                table[month - 1, day - 1] = index
        if self.seasons and not self.is_partial:
            for month, day in _days_of(Season("", (1, 1), (12, 31))):
                if table[month - 1, day - 1] == _UNSET:
                    raise ScheduleError("seasons", f"no season holds on {month:02d}-{day:02d}")
        return np.where(table == _UNSET, len(self.seasons), table)

    @cached_property
    def _table(self) -> Codes:
        names = [season.name for season in self.seasons]
        _ = self._season_of_day  # seasons are judged before the periods that name them
        table = np.full((len(names) + 1, 7, MINUTES_PER_DAY), _UNSET, np.int16)
        for index, period in enumerate(self.periods):
            if period.season is not None and period.season not in names:
                raise ScheduleError(f"periods[{index}].season", f"there is no season {period.season!r}")
            rows = range(len(names) + 1) if period.season is None else (names.index(period.season),)
            for row in rows:
                for weekday in period.weekdays:
                    self._fill(table[row, weekday], index, row, weekday)
        if not self.is_partial:
            self._refuse_gaps(table)
        return table

    def _fill(self, minutes: Codes, index: int, row: int, weekday: int) -> None:
        for begin, end in self.periods[index].spans:
            taken = np.flatnonzero(minutes[begin:end] != _UNSET)
            if len(taken):
                other = self.periods[minutes[begin + taken[0]]].name
                when = self._when(row, weekday, begin + int(taken[0]))
                raise ScheduleError(f"periods[{index}].hours", f"overlaps period {other!r} {when}")
            minutes[begin:end] = index

    def _refuse_gaps(self, table: Codes) -> None:
        rows = len(self.seasons) or 1  # with seasons, no day belongs to the row behind them
        gaps = np.argwhere(table[:rows] == _UNSET)
        if len(gaps):
            row, weekday, minute = (int(index) for index in gaps[0])
            raise ScheduleError("periods", f"no period holds {self._when(row, weekday, minute)}")

    def _when(self, row: int, weekday: int, minute: int) -> str:
        season = f" in season {self.seasons[row].name!r}" if row < len(self.seasons) else ""
        return f"on {WEEKDAYS[weekday]} at {minute // 60:02d}:{minute % 60:02d}{season}"


_SEASON = re.compile(r"([0-9]{2})-([0-9]{2})\.\.([0-9]{2})-([0-9]{2})")
_SPAN = re.compile(r"([0-9]{1,2})(?::([0-9]{2}))?-([0-9]{1,2})(?::([0-9]{2}))?")


def parse_season(name: str, text: str) -> Season:
    """`06-01..09-30`: month and day, both ends included; `10-01..05-31` goes over New Year. Errors: ScheduleError."""
    found = _SEASON.fullmatch(text.strip())
    if found is None:
        raise ScheduleError(f"seasons.{name}", f"{text!r} is not of the form 06-01..09-30")
    first, last = (int(found[1]), int(found[2])), (int(found[3]), int(found[4]))
    for month, day in (first, last):
        if not 1 <= month <= 12 or not 1 <= day <= _MONTH_DAYS[month - 1]:
            raise ScheduleError(f"seasons.{name}", f"{month:02d}-{day:02d} is no day of a year")
    return Season(name, first, last)


def parse_weekdays(text: str) -> tuple[int, ...]:
    """`mon-fri`, `sat,sun`, `mon,wed-fri` as numbers from 0 = Monday, ascending. Errors: ScheduleError."""
    days: set[int] = set()
    for part in text.lower().split(","):
        ends = [end.strip() for end in part.split("-")]
        if len(ends) > 2 or any(end not in WEEKDAYS for end in ends):
            raise ScheduleError("", f"{part.strip()!r} is neither one of {', '.join(WEEKDAYS)} nor a range of them")
        first, last = WEEKDAYS.index(ends[0]), WEEKDAYS.index(ends[-1])
        if first > last:
            raise ScheduleError("", f"{part.strip()!r} runs backwards; write it as two ranges")
        days |= set(range(first, last + 1))
    return tuple(sorted(days))


def parse_hours(text: str) -> tuple[tuple[int, int], ...]:
    """`16:00-21:00`, `0-7,21-24` as minutes of the day, the end not included. Errors: ScheduleError."""
    return tuple(_span(part.strip()) for part in text.split(","))


def _span(text: str) -> tuple[int, int]:
    found = _SPAN.fullmatch(text)
    if found is None:
        raise ScheduleError("", f"{text!r} is not of the form 16:00-21:00")
    begin, end = (int(found[i]) * 60 + int(found[i + 1] or 0) for i in (1, 3))
    if max(int(found[2] or 0), int(found[4] or 0)) > 59 or max(begin, end) > MINUTES_PER_DAY:
        raise ScheduleError("", f"{text!r} is outside the day, 0:00 to 24:00")
    if begin >= end:
        raise ScheduleError("", f"{text!r} ends before it begins; write hours over midnight as 21-24,0-7")
    return begin, end


def _days_of(season: Season) -> Iterable[tuple[int, int]]:
    year: Sequence[tuple[int, int]] = [(m + 1, d + 1) for m, days in enumerate(_MONTH_DAYS) for d in range(days)]
    if season.first <= season.last:
        return [day for day in year if season.first <= day <= season.last]
    return [day for day in year if day >= season.first or day <= season.last]
