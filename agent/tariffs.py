"""`[tariff]`, `[tariffs.NAME]` and `[exchange.EUR]`: their keys, and what the agent makes of them.

A tariff has one source of its energy price: a number, the calendar, or a series that a feed reads (a file, ERCOT,
ENTSO-E, any JSON). Around it stand losses, adders, shadow prices and taxes. What spans several keys is checked by
building: a section that gives a `fleet.tariff.Tariff` is a good one, and every error names its key.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from datetime import date, datetime
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec
from msgspec import Meta, field

from agent.section import ConfigError, Secret, Section, Text
from agent.wire import Job
from fleet.localtime import Zone, day_number, zone_of
from fleet.series import MAX_CSV_BYTES, Series, SeriesError, parse_series_csv
from fleet.tariff import (
    USD,
    Index,
    Tariff,
    coincident_peak_shadow_per_kwh,
    demand_shadow_per_kwh,
    pair_of,
)
from fleet.timeofuse import (
    WEEKDAYS,
    Period,
    Schedule,
    ScheduleError,
    parse_hours,
    parse_season,
    parse_weekdays,
)
from fleet.units import KILO, SECONDS_PER_HOUR

SERIES_KINDS = ("power_file", "power_ercot", "power_entsoe", "power_json")
INTERVAL_S = {"power_file": 60.0, "power_ercot": 120.0, "power_entsoe": 900.0, "power_json": 120.0}
DEADLINE_S = 20.0
FOREVER_S = 1e11

Money = Annotated[float, Meta(ge=-5, le=5)]
LocalMoney = Annotated[float, Meta(ge=-5000, le=5000)]  # a yen or a rupee is a small unit
Currency = Annotated[str, Meta(pattern=r"^[A-Z]{3}$")]
Minutes = Annotated[float, Meta(gt=0, le=24 * 60)]
Probability = Annotated[float, Meta(ge=0, le=1)]


class PeriodSection(Section, frozen=True):
    """One price of a time-of-use tariff and when it holds."""

    per_kwh: LocalMoney
    name: Text | None = None
    season: Text | None = None  # a key of `seasons`; without it all year
    days: Text = "mon-sun"
    hours: Text = "0-24"


class DemandSection(Section, frozen=True):
    """A charge on the highest kW of a month, in the windows in which the operator expects to set it."""

    per_kw_month: Annotated[float, Meta(ge=0, le=1e6)]
    probability: Probability
    interval_min: Minutes = 15.0
    season: Text | None = None
    days: Text = "mon-sun"
    hours: Text = "0-24"


class CoincidentPeakSection(Section, frozen=True):
    """A charge on the load in the system's peaks, in the windows in which they fall."""

    per_kw_year: Annotated[float, Meta(ge=0, le=1e6)]
    probability: Probability
    peaks: Annotated[int, Meta(ge=1, le=100)] = 4
    interval_min: Minutes = 15.0
    season: Text | None = None
    days: Text = "mon-sun"
    hours: Text = "0-24"


class ErcotSection(Section, frozen=True):
    settlement_point: Annotated[str, Meta(pattern=r"^[A-Z0-9_.]{1,40}$")]
    user: Text
    password: Secret = field(name="password_file")
    subscription_key: Secret = field(name="subscription_key_file")
    market: Literal["real_time", "day_ahead"] = "real_time"
    url: Text = "https://api.ercot.com"
    token_url: Text = "https://ercotb2c.b2clogin.com"  # noqa: S105 - where the token comes from, not the token
    insecure: bool = False


class EntsoeSection(Section, frozen=True):
    zone: Annotated[str, Meta(pattern=r"^[A-Za-z0-9-]{16}$")]  # EIC code of the bidding zone
    token: Secret = field(name="token_file")
    url: Text = "https://web-api.tp.entsoe.eu"
    sequence: Annotated[int, Meta(ge=1, le=9)] | None = None  # classificationSequence, where a zone has several
    insecure: bool = False


class JsonSection(Section, frozen=True):
    """Any JSON with a list of rows: where the list is, and which field of a row is what."""

    url: Text
    value: Text
    start: Text | None = None  # without it the value holds from when it was received
    rows: Text | None = None  # path of the list, as data.prices, several with commas; without it the answer itself
    body: Text | None = None  # JSON that is posted; without it the address is only read
    per: Literal["kwh", "mwh"] | None = None
    step_min: Minutes | None = None
    stale_min: Annotated[float, Meta(ge=0, le=7 * 24 * 60)] = 0.0
    expire_min: Annotated[float, Meta(ge=0, le=7 * 24 * 60)] = 0.0
    interval_min: Annotated[float, Meta(ge=0.5, le=24 * 60)] = 5.0
    at_least: float | None = None  # of a value as it is printed: an answer with one outside is refused
    at_most: float | None = None
    header: Annotated[str, Meta(pattern=r"^[A-Za-z0-9-]{1,64}$")] | None = None
    token: Secret | None = field(name="token_file", default=None)
    insecure: bool = False


class ExchangeSection(Section, frozen=True):
    """Dollars per unit of a currency: the operator's word, or a feed's."""

    usd_per_unit: Annotated[float, Meta(gt=0, le=1e4)] | None = None
    as_of: Annotated[datetime, Meta(tz=True)] | None = None
    good_for_h: Annotated[float, Meta(gt=0, le=24 * 366)] | None = None
    json: JsonSection | None = None


class TariffSection(Section, frozen=True):
    usd_per_kwh: Money | None = None
    per_kwh: LocalMoney | None = None
    per_kwh_file: Path | None = None
    per_mwh_file: Path | None = None
    periods: tuple[PeriodSection, ...] = ()
    ercot: ErcotSection | None = None
    entsoe: EntsoeSection | None = None
    json: JsonSection | None = None
    step_min: Minutes | None = None  # of a file; without it the shortest distance between two of its lines
    at_least_per_kwh: LocalMoney | None = None  # of the energy of a file or a feed: what lies outside is not believed
    at_most_per_kwh: LocalMoney | None = None
    currency: Currency = USD
    timezone: Text | None = None
    seasons: dict[str, str] = field(default_factory=dict)
    holidays: tuple[date, ...] = ()
    holidays_as: Literal[WEEKDAYS] = "sun"  # type: ignore[valid-type]
    losses: Annotated[float, Meta(ge=0, lt=1)] = 0.0
    adder_per_kwh: LocalMoney = 0.0
    tax: Annotated[float, Meta(ge=0, le=2)] = 0.0
    profit_share: Annotated[float, Meta(ge=0, lt=1)] = 0.0
    demand: DemandSection | None = None
    coincident_peak: CoincidentPeakSection | None = None


_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
ENERGY_KEYS = ("usd_per_kwh", "per_kwh", "periods", "per_kwh_file", "per_mwh_file", "ercot", "entsoe", "json")


def tariff_of(section: TariffSection, key: str, name: str = "") -> Tariff:
    """The tariff of one section; `key` is its path in the file, `name` is "" for the site's own.

    Errors: ConfigError that names the key.
    """
    named = [each for each in ENERGY_KEYS if getattr(section, each) not in (None, ())]
    if not named:
        raise ConfigError(f"{key}.usd_per_kwh", f"is missing, or another price: one of {', '.join(ENERGY_KEYS[1:])}")
    if len(named) > 1:
        raise ConfigError(f"{key}.{named[1]}", f"stands beside {named[0]}; a tariff has one price of energy")
    source = named[0]
    needed = {"usd_per_kwh": USD, "ercot": USD, "entsoe": None}.get(source)
    if needed is not None and section.currency != needed:
        raise ConfigError(f"{key}.currency", f"{source} is in {needed}, not in {section.currency}")
    _check_calendar_keys(section, key, source)
    return Tariff(
        _energy(section, key, source, name),
        name=name,
        currency=section.currency,
        losses=section.losses,
        adder=section.adder_per_kwh,
        shadows=tuple(_shadows(section, key)),
        tax=section.tax,
        profit_share=section.profit_share,
        believable=_believable(section, key, source),
    )


def tariffs_of(site: TariffSection | None, others: Mapping[str, TariffSection]) -> tuple[Tariff, ...]:
    """Every tariff, the site's own first; that is of no known price where there is none. Errors: ConfigError."""
    own = Tariff(math.nan) if site is None else tariff_of(site, "tariff")
    return (own, *(tariff_of(section, f"tariffs.{name}", name) for name, section in others.items()))


def source_in_words(section: TariffSection) -> str:
    """Where a checked tariff has its price from, for the operator's eyes."""
    if section.usd_per_kwh is not None:
        return f"{section.usd_per_kwh:g} USD/kWh"
    if section.per_kwh is not None:
        return f"{section.per_kwh:g} {section.currency}/kWh"
    if section.periods:
        return f"{len(section.periods)} periods of {section.timezone}, {section.currency}"
    if (path := section.per_kwh_file or section.per_mwh_file) is not None:
        return f"{path.name}, {section.currency}"
    if section.ercot is not None:
        return f"ERCOT {section.ercot.settlement_point} {section.ercot.market}"
    if section.entsoe is not None:
        return f"ENTSO-E {section.entsoe.zone}, {section.currency}"
    return f"JSON, {section.currency}"


def known_rates(exchange: Mapping[str, ExchangeSection]) -> dict[str, Series]:
    """The rates of exchange that the operator states, as series: good from `as_of` for `good_for_h`, else for ever.

    Errors: ConfigError that names the key.
    """
    rates = {}
    for currency, section in exchange.items():
        key = f"exchange.{currency}"
        if not (currency.isascii() and currency.isalpha() and currency.isupper() and len(currency) == 3):
            raise ConfigError(key, "is not a currency of three capital letters, as EUR")
        if (section.usd_per_unit is None) == (section.json is None):
            raise ConfigError(f"{key}.usd_per_unit", "is missing, or a json table in its place; one of the two")
        if section.good_for_h is not None and section.as_of is None:
            raise ConfigError(f"{key}.as_of", "is missing: good_for_h counts from it")
        if section.json is not None:
            _check_json(section.json, f"{key}.json", is_price=False)
        else:
            assert section.usd_per_unit is not None
            start_s = 0.0 if section.as_of is None else section.as_of.timestamp()
            step_s = FOREVER_S if section.good_for_h is None else section.good_for_h * SECONDS_PER_HOUR
            pair = pair_of(currency)
            rates[pair] = Series(pair, (start_s,), (section.usd_per_unit,), step_s, pair)
    return rates


def check_tariffs(
    site: TariffSection | None, others: Mapping[str, TariffSection], exchange: Mapping[str, ExchangeSection]
) -> Iterable[str]:
    """Every rule that spans several keys; yields warnings. Errors: ConfigError."""
    known_rates(exchange)
    for name in others:
        if not _NAME.fullmatch(name):
            raise ConfigError("tariffs", f"{name[:64]!r} is no name: letters, digits, - and _, at most 64")
    for tariff in tariffs_of(site, others):
        key = f"tariffs.{tariff.name}" if tariff.name else "tariff"
        if tariff.currency != USD and tariff.currency not in exchange:
            raise ConfigError(f"{key}.currency", f"there is no [exchange.{tariff.currency}] for it")
    if site is None:
        yield "tariff: no power price is set, so no machine has a margin and none is advised to stop"


def urls_of(
    site: TariffSection | None, others: Mapping[str, TariffSection], exchange: Mapping[str, ExchangeSection]
) -> Iterable[tuple[str, str, bool]]:
    """Key, URL without its query, and `insecure` of everything that is asked over HTTP."""
    sections = {"tariff": site} if site is not None else {}
    sections |= {f"tariffs.{name}": section for name, section in others.items()}
    for key, section in sections.items():
        if section.ercot is not None:
            yield f"{key}.ercot.url", section.ercot.url, section.ercot.insecure
            yield f"{key}.ercot.token_url", section.ercot.token_url, section.ercot.insecure
        if section.entsoe is not None:
            yield f"{key}.entsoe.url", section.entsoe.url, section.entsoe.insecure
        if section.json is not None:
            yield f"{key}.json.url", section.json.url.partition("?")[0], section.json.insecure
    for currency, rate in exchange.items():
        if rate.json is not None:
            yield f"exchange.{currency}.json.url", rate.json.url.partition("?")[0], rate.json.insecure


def series_jobs(
    site: TariffSection | None, others: Mapping[str, TariffSection], exchange: Mapping[str, ExchangeSection]
) -> Iterable[Job]:
    """The job of every series that a tariff or a rate of exchange needs; its key is the name of the series."""
    sections = {"": site} if site is not None else {}
    for name, section in (sections | dict(others)).items():
        if (job := _job_of(section, name)) is not None:
            yield job
    for currency, rate in exchange.items():
        if rate.json is not None:
            pair = pair_of(currency)
            yield _json_job(pair, pair, rate.json)


def _job_of(section: TariffSection, name: str) -> Job | None:
    if (path := section.per_kwh_file or section.per_mwh_file) is not None:
        options: dict[str, str | float | bool] = {
            "path": str(path), "per": "kwh" if section.per_kwh_file else "mwh", "unit": section.currency,
        }  # fmt: skip
        if section.step_min is not None:
            options["step_s"] = section.step_min * 60.0
        return _job("power_file", _series_name("per_kwh_file", name), "", options, INTERVAL_S["power_file"])
    if (ercot := section.ercot) is not None:
        return _job(
            "power_ercot", _series_name("ercot", name), ercot.url,
            {
                "base_url": ercot.url, "token_url": ercot.token_url, "settlement_point": ercot.settlement_point,
                "market": ercot.market, "user": ercot.user, "password": ercot.password.reveal(),
                "subscription_key": ercot.subscription_key.reveal(),
            },
            INTERVAL_S["power_ercot"],
        )  # fmt: skip
    if (entsoe := section.entsoe) is not None:
        options = {
            "base_url": entsoe.url,
            "zone": entsoe.zone,
            "token": entsoe.token.reveal(),
            "unit": section.currency,
        }
        if entsoe.sequence is not None:
            options["sequence"] = float(entsoe.sequence)
        return _job("power_entsoe", _series_name("entsoe", name), entsoe.url, options, INTERVAL_S["power_entsoe"])
    if section.json is not None:
        return _json_job(_series_name("json", name), section.currency, section.json)
    return None


def _json_job(series: str, unit: str, section: JsonSection) -> Job:
    options: dict[str, str | float | bool] = {
        "url": section.url, "value": section.value, "unit": unit, "per": section.per or "kwh",
        "soft_s": section.stale_min * 60.0, "hold_s": section.expire_min * 60.0,
    }  # fmt: skip
    for key, told in (
        ("start", section.start), ("rows", section.rows), ("header", section.header), ("body", section.body),
    ):  # fmt: skip
        if told is not None:
            options[key] = told
    for key, bound in (("at_least", section.at_least), ("at_most", section.at_most)):
        if bound is not None:
            options[key] = bound
    if section.token is not None:
        options["token"] = section.token.reveal()
    if section.step_min is not None:
        options["step_s"] = section.step_min * 60.0
    return _job("power_json", series, section.url, options, section.interval_min * 60.0)


def _job(kind: str, series: str, url: str, options: dict[str, str | float | bool], interval_s: float) -> Job:
    parts = urlsplit(url)
    port = parts.port or {"https": 443, "http": 80}.get(parts.scheme, 0)
    options |= {"name": series}
    return Job(series, kind, parts.hostname or "", port, interval_s, DEADLINE_S, options, is_guest=bool(url))


def _believable(section: TariffSection, key: str, source: str) -> tuple[float, float]:
    for name in ("at_least_per_kwh", "at_most_per_kwh"):
        if getattr(section, name) is not None and source in ("usd_per_kwh", "per_kwh", "periods"):
            raise ConfigError(f"{key}.{name}", "is for a price that a file or a feed tells")
    least = -math.inf if section.at_least_per_kwh is None else section.at_least_per_kwh
    most = math.inf if section.at_most_per_kwh is None else section.at_most_per_kwh
    if least >= most:
        raise ConfigError(f"{key}.at_least_per_kwh", "must be below at_most_per_kwh")
    return least, most


def _series_name(source: str, tariff: str) -> str:
    """What the series of a tariff is called; no feed of the market has such a name."""
    word = {"ercot": "ercot", "entsoe": "entsoe", "json": "price_json"}.get(source, "price_file")
    return f"{word}:{tariff}" if tariff else word


def _energy(section: TariffSection, key: str, source: str, name: str) -> float | Schedule | Index:
    if source in ("usd_per_kwh", "per_kwh"):
        return float(getattr(section, source))
    if source == "periods":
        return _schedule(section, key)
    if source in ("per_kwh_file", "per_mwh_file"):
        series_of_file(section, f"{key}.{source}")
        return Index(_series_name(source, name))
    if section.json is not None:
        _check_json(section.json, f"{key}.json", is_price=True)
    return Index(_series_name(source, name))


def _schedule(section: TariffSection, key: str) -> Schedule:
    try:
        return Schedule(
            zone=_zone(section, key),
            periods=tuple(_period(period, f"periods[{i}]", i) for i, period in enumerate(section.periods)),
            seasons=tuple(parse_season(name, text) for name, text in section.seasons.items()),
            holidays=tuple(day_number(day) for day in section.holidays),
            holidays_as=WEEKDAYS.index(section.holidays_as),
        )
    except ScheduleError as error:
        raise ConfigError(f"{key}.{error.where}", error.message) from None


def _period(section: PeriodSection, where: str, index: int) -> Period:
    weekdays, spans = _when(section.days, section.hours, where)
    return Period(section.name or f"periods[{index}]", section.per_kwh, section.season, weekdays, spans)


def _when(days: str, hours: str, where: str) -> tuple[tuple[int, ...], tuple[tuple[int, int], ...]]:
    try:
        weekdays = parse_weekdays(days)
    except ScheduleError as error:
        raise ScheduleError(f"{where}.days", error.message) from None
    try:
        return weekdays, parse_hours(hours)
    except ScheduleError as error:
        raise ScheduleError(f"{where}.hours", error.message) from None


def _shadows(section: TariffSection, key: str) -> Iterable[Schedule]:
    if (demand := section.demand) is not None:
        price = demand_shadow_per_kwh(demand.per_kw_month, demand.probability, demand.interval_min * 60.0)
        yield _window(section, demand, key, "demand", price)
    if (peak := section.coincident_peak) is not None:
        price = coincident_peak_shadow_per_kwh(peak.per_kw_year, peak.peaks, peak.probability, peak.interval_min * 60.0)
        yield _window(section, peak, key, "coincident_peak", price)


def _window(
    section: TariffSection, window: DemandSection | CoincidentPeakSection, key: str, name: str, price: float
) -> Schedule:
    """A price in the hours of a window and nothing elsewhere; its season is written out, as 06-01..09-30."""
    try:
        weekdays, spans = _when(window.days, window.hours, name)
        try:
            seasons = () if window.season is None else (parse_season(name, window.season),)
        except ScheduleError as error:
            raise ScheduleError(f"{name}.season", error.message) from None
        period = Period(name, price, name if seasons else None, weekdays, spans)
        holidays = tuple(day_number(day) for day in section.holidays)
        as_weekday = WEEKDAYS.index(section.holidays_as)
        return Schedule(_zone(section, key), (period,), seasons, holidays, as_weekday, elsewhere=0.0)
    except ScheduleError as error:
        raise ConfigError(f"{key}.{error.where}", error.message) from None


def _zone(section: TariffSection, key: str) -> Zone:
    if section.timezone is None:
        raise ConfigError(f"{key}.timezone", "is missing: hours are those of a wall clock, as Europe/Berlin")
    try:
        return zone_of(ZoneInfo(section.timezone), section.timezone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ConfigError(f"{key}.timezone", f"{section.timezone!r} is no time zone, as America/Chicago") from None


def _check_calendar_keys(section: TariffSection, key: str, source: str) -> None:
    """Keys that would mean nothing are mistakes."""
    if source != "periods" and section.seasons:
        raise ConfigError(f"{key}.seasons", "is for periods, and there are none")
    has_calendar = source == "periods" or section.demand is not None or section.coincident_peak is not None
    for name in ("timezone", "holidays"):
        if getattr(section, name) not in (None, ()) and not has_calendar:
            raise ConfigError(f"{key}.{name}", "is for periods, demand or coincident_peak, and there are none")
    if section.step_min is not None and source not in ("per_kwh_file", "per_mwh_file"):
        raise ConfigError(f"{key}.step_min", "is for a file")


def series_of_file(section: TariffSection, key: str) -> Series:
    """What a tariff's file says as it is now, per kWh; the worker reads it again and again. Errors: ConfigError."""
    path = section.per_kwh_file or section.per_mwh_file
    assert path is not None
    try:
        if path.stat().st_size > MAX_CSV_BYTES:
            raise ConfigError(key, f"{path.name} is larger than {MAX_CSV_BYTES} bytes")
        text = path.read_text("utf-8-sig")
        step_s = None if section.step_min is None else section.step_min * 60.0
        return parse_series_csv(text, "file", 1.0 if section.per_kwh_file else 1.0 / KILO, section.currency, step_s)
    except SeriesError as error:
        raise ConfigError(key, f"{path.name} {error}") from None
    except OSError as error:
        raise ConfigError(key, f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(key, f"{path.name} is not UTF-8 text (byte {error.start})") from None


def _check_json(section: JsonSection, key: str, *, is_price: bool) -> None:
    if is_price and section.per is None:
        raise ConfigError(f"{key}.per", "is missing: the value is per kwh or per mwh")
    if not is_price and section.per is not None:
        raise ConfigError(f"{key}.per", "is for prices; a rate is dollars per unit")
    if section.start is None and section.rows is not None:
        raise ConfigError(f"{key}.start", "is missing: rows need the field of their time")
    if section.start is None and section.step_min is None:
        raise ConfigError(f"{key}.step_min", "is missing: without start nothing says how long the value holds")
    if (section.header is None) != (section.token is None):
        missing = "header" if section.header is None else "token_file"
        raise ConfigError(f"{key}.{missing}", "is missing: header and token_file stand together")
    if section.at_least is not None and section.at_most is not None and section.at_least >= section.at_most:
        raise ConfigError(f"{key}.at_least", "must be below at_most")
    if section.body is not None:
        try:
            msgspec.json.decode(section.body)
        except (msgspec.DecodeError, RecursionError):
            raise ConfigError(f"{key}.body", "is not JSON") from None
    if section.stale_min > section.expire_min:
        raise ConfigError(f"{key}.stale_min", "must not exceed expire_min")
