"""Local time on columns: a time zone as a table of offsets, so that a horizon is one lookup and nothing does I/O.

A `Zone` is made once from any `tzinfo` by asking it for its offset day by day; after that the calendar is arithmetic.
An instant has exactly one local time. A local time may have none or two instants: the day of a clock change has 23 or
25 hours, and what is said of an hour that comes twice holds both times.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, tzinfo

import numpy as np
import numpy.typing as npt

from fleet.units import SECONDS_PER_DAY, SECONDS_PER_HOUR

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

FIRST_YEAR, LAST_YEAR = 2000, 2060
"""The years that a zone is asked for; outside them its first and last offset hold."""

_DAY_S = int(SECONDS_PER_DAY)
_EPOCH = date(1970, 1, 1).toordinal()
_THURSDAY = 3  # the first day of Unix time


@dataclass(frozen=True, eq=False)
class Zone:
    """Offset of local time from UTC: `offset_s[i]` holds from `from_s[i]` (Unix seconds, ascending, first -inf)."""

    name: str
    from_s: Floats
    offset_s: Floats


@dataclass(frozen=True, eq=False)
class LocalTimes:
    """Instants as a calendar sees them: days since 1970-01-01 and seconds since that day's 00:00 on the wall clock."""

    day: Ints
    second: Floats

    @property
    def weekday(self) -> Ints:
        """0 = Monday to 6 = Sunday."""
        return (self.day + _THURSDAY) % 7

    @property
    def month_day(self) -> tuple[Ints, Ints]:
        """Month 1..12 and day of the month 1..31."""
        days = self.day.astype("datetime64[D]")
        months = days.astype("datetime64[M]")
        return months.astype(np.int64) % 12 + 1, (days - months.astype("datetime64[D]")).astype(np.int64) + 1


def zone_of(zone: tzinfo, name: str = "") -> Zone:
    """The table of a time zone, exact to the second.

    Errors: ValueError where `zone` has no offset of its own.
    """
    starts, offsets = [-np.inf], [_offset_s(zone, _unix(FIRST_YEAR))]
    for day_s in range(_unix(FIRST_YEAR), _unix(LAST_YEAR + 1), _DAY_S):
        offset_s = _offset_s(zone, day_s + _DAY_S)
        if offset_s != offsets[-1]:
            starts.append(float(_change_s(zone, day_s, day_s + _DAY_S)))
            offsets.append(offset_s)
    return Zone(name or str(zone), np.array(starts), np.array(offsets))


def local_times(zone: Zone, at_s: Floats) -> LocalTimes:
    """Calendar day and wall-clock second of each instant; `at_s` is finite."""
    local_s = at_s + zone.offset_s[np.searchsorted(zone.from_s, at_s, "right") - 1]
    day = np.floor_divide(local_s, SECONDS_PER_DAY)
    return LocalTimes(day.astype(np.int64), local_s - day * SECONDS_PER_DAY)


def day_number(day: date) -> int:
    """Days since 1970-01-01, as `LocalTimes.day` counts them."""
    return day.toordinal() - _EPOCH


def start_of_day_s(zone: Zone, day: int) -> float:
    """The first instant of a local day, Unix seconds: 00:00, or later where the clocks jump over it."""
    instants = np.concatenate([day * SECONDS_PER_DAY - zone.offset_s, zone.from_s[1:]])
    return float(instants[local_times(zone, instants).day >= day].min())


def hour_around_s(zone: Zone, at_s: float) -> tuple[float, float]:
    """Start and end of the local hour that holds an instant, Unix seconds.

    One that comes twice is two hours; a change of the clock in the middle of an hour cuts it.
    """
    place = int(np.searchsorted(zone.from_s, at_s, "right")) - 1
    offset_s = float(zone.offset_s[place])
    start_s = (at_s + offset_s) // SECONDS_PER_HOUR * SECONDS_PER_HOUR - offset_s
    changes_s = zone.from_s[place : place + 2]
    return max(start_s, float(changes_s[0])), min(start_s + SECONDS_PER_HOUR, *changes_s[1:].tolist(), np.inf)


def clock_instants_s(zone: Zone, minutes: Ints, from_s: float, until_s: float) -> Floats:
    """Every instant in [from_s, until_s) at which the local clock shows one of `minutes` (of the day), or is changed.

    Ascending and without repetition; a few more may be among them, at which nothing happens.
    """
    first, last = np.searchsorted(zone.from_s, [from_s, until_s], "right") - 1
    offsets = np.unique(zone.offset_s[first : last + 1])
    days = np.arange(from_s // SECONDS_PER_DAY - 1, until_s // SECONDS_PER_DAY + 2) * SECONDS_PER_DAY
    shown = (days[:, None, None] + minutes[:, None] * 60.0 - offsets).ravel()
    instants = np.unique(np.concatenate([shown, zone.from_s[1:]]))
    return instants[(instants >= from_s) & (instants < until_s)]


def _unix(year: int) -> int:
    return (date(year, 1, 1).toordinal() - _EPOCH) * _DAY_S


def _offset_s(zone: tzinfo, at_s: int) -> float:
    offset = datetime.fromtimestamp(at_s, UTC).astimezone(zone).utcoffset()
    assert offset is not None  # astimezone has just used it
    return offset.total_seconds()


def _change_s(zone: tzinfo, before_s: int, after_s: int) -> int:
    """The first second of the new offset, between two instants with different ones."""
    old = _offset_s(zone, before_s)
    while after_s - before_s > 1:
        middle_s = (before_s + after_s) // 2
        before_s, after_s = (middle_s, after_s) if _offset_s(zone, middle_s) == old else (before_s, middle_s)
    return after_s
