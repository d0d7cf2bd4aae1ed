"""The explicit map from the kind of a power feed to what reads it. HTTP and XML are imported only where one needs it.

A power feed gives a `Series`: prices per kWh in one currency, or dollars per unit of a currency. Its options are what
crosses the worker pipe; every feed states them as a dataclass. `name` is the name of the series.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

import msgspec

from fleet.ports import SeriesFeed

Options = Mapping[str, str | float | bool]
Clock = Callable[[], float]
T = TypeVar("T")


def open_power_feed(kind: str, options: Options, deadline_s: float, now: Clock) -> SeriesFeed:
    """A feed of `kind`; `now` gives Unix time. Errors: ValueError for what the operator must put right."""
    return POWER_FEEDS[kind](options, deadline_s, now)


def options_of(kind: type[T], options: Options) -> T:
    """The options as the dataclass `kind`. Errors: ValueError that says which one is wrong, without its value."""
    try:
        return msgspec.convert(options, kind)
    except msgspec.ValidationError as error:
        raise ValueError(str(error)) from None


def _open_file(options: Options, deadline_s: float, now: Clock) -> SeriesFeed:
    from collectors.feeds.power_file import FileOptions, PowerFileFeed

    return PowerFileFeed(options_of(FileOptions, options))


def _open_ercot(options: Options, deadline_s: float, now: Clock) -> SeriesFeed:
    from collectors.feeds.http import HttpClient
    from collectors.feeds.power_ercot import ErcotFeed, ErcotOptions

    return ErcotFeed(HttpClient(now=now), options_of(ErcotOptions, options), deadline_s, now)


def _open_entsoe(options: Options, deadline_s: float, now: Clock) -> SeriesFeed:
    from collectors.feeds.http import HttpClient
    from collectors.feeds.power_entsoe import EntsoeFeed, EntsoeOptions

    return EntsoeFeed(HttpClient(now=now), options_of(EntsoeOptions, options), deadline_s, now)


def _open_json(options: Options, deadline_s: float, now: Clock) -> SeriesFeed:
    from collectors.feeds.http import HttpClient
    from collectors.feeds.power_json import JsonOptions, PowerJsonFeed

    return PowerJsonFeed(HttpClient(now=now), options_of(JsonOptions, options), deadline_s, now)


POWER_FEEDS: Mapping[str, Callable[[Options, float, Clock], SeriesFeed]] = {
    "power_file": _open_file,
    "power_ercot": _open_ercot,
    "power_entsoe": _open_entsoe,
    "power_json": _open_json,
}
