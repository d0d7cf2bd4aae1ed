"""The tariff as an operator writes it: what it makes, what it asks of the feeds, and what is refused with its key."""

from __future__ import annotations

import math
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest

from agent.config import Config, ConfigError, load
from agent.loop import Loop
from agent.plan import assignments_of, policy_of, site_of, tariffs_in_use
from agent.preflight import summary
from agent.table import Table
from agent.tariffs import known_rates
from agent.vitals import Vitals
from agent.wire import Assignment, FrameReader, Job, Outcome, Report, encode_frame, outcome_frames
from exporters.prometheus import render
from fleet.curtailment import Status, Why
from fleet.market import InputState
from fleet.series import Gap, Series
from fleet.tariff import PowerPrice, price_now, prices

SITE = '[site]\nname = "north"\n'
T0 = 1_787_184_000.0  # 2026-08-20T00:00:00Z, a Thursday
HOUR = 3600.0

TIME_OF_USE = """
[tariff]
timezone = "America/Chicago"
adder_per_kwh = 0.01
holidays = [2026-07-03]
seasons = { summer = "06-01..09-30", winter = "10-01..05-31" }
periods = [
  { per_kwh = 0.20, season = "summer", days = "mon-fri", hours = "16-21", name = "peak" },
  { per_kwh = 0.06, season = "summer", days = "mon-fri", hours = "0-16,21-24" },
  { per_kwh = 0.04, season = "summer", days = "sat,sun" },
  { per_kwh = 0.03, season = "winter" },
]
"""


def config_of(folder: Path, text: str, site: str = SITE) -> Config:
    path = folder / "hashwatt.toml"
    path.write_text(site + text, "utf-8")
    return load(path)


def refused(folder: Path, text: str, site: str = SITE) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        config_of(folder, text, site)
    assert "\n" not in str(caught.value)
    return caught.value


def series_jobs(config: Config) -> dict[str, Job]:
    return {job.key: job for a in assignments_of(config, site_of(config, "")) if a.name == "feeds" for job in a.jobs}


def test_time_of_use_from_the_file(tmp_path: Path) -> None:
    config = config_of(tmp_path, TIME_OF_USE)
    (tariff,) = tariffs_in_use(config)
    at = [
        "2026-07-01T16:00:00-05:00",
        "2026-07-03T16:00:00-05:00",
        "2026-07-01T15:59:59-05:00",
        "2026-11-01T01:30-06:00",
    ]
    told = prices(tariff, np.array([datetime.fromisoformat(each).timestamp() for each in at]), {}, T0)
    np.testing.assert_allclose(told.usd_per_kwh, [0.21, 0.05, 0.07, 0.04])
    assert "power       4 periods of America/Chicago, USD" in summary(config)
    assert math.isnan(site_of(config, "").tariff.usd_per_kwh)


def test_windows_become_shadow_prices(tmp_path: Path) -> None:
    text = (
        '[tariff]\nusd_per_kwh = 0.05\nlosses = 0.1\ntax = 0.2\ntimezone = "America/Chicago"\nprofit_share = 0.25\n'
        'coincident_peak = { per_kw_year = 60, probability = 0.05, season = "06-01..09-30", days = "mon-fri",'
        ' hours = "15-18" }\ndemand = { per_kw_month = 10, probability = 0.02, hours = "16-17" }\n'
    )
    (tariff,) = tariffs_in_use(config_of(tmp_path, text))
    at = [datetime.fromisoformat(f"2026-08-20T{hour}:30-05:00").timestamp() for hour in (14, 15, 16)]
    told = prices(tariff, np.array(at), {}, T0).usd_per_kwh
    np.testing.assert_allclose(told, [0.055 * 1.2, (0.055 + 3.0) * 1.2, (0.055 + 3.0 + 0.8) * 1.2])
    assert tariff.profit_share == 0.25


def test_a_series_asks_for_a_job_and_another_currency_for_its_rate(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("t0ken\n")
    (tmp_path / "da.csv").write_text("time,value\n2026-08-20T00:00Z,50\n2026-08-20T01:00Z,60\n")
    (tmp_path / "m.csv").write_text("id,tariff,address\na,hosted,10.0.0.1\nb,grid,10.0.0.2\n")
    text = (
        '[tariff]\ncurrency = "EUR"\nentsoe = { zone = "10Y1001A1001A82H", token_file = "token", sequence = 1 }\n'
        '[tariffs.hosted]\nper_mwh_file = "da.csv"\n[tariffs.unused]\nusd_per_kwh = 0.1\n'
        '[tariffs.grid.json]\nurl = "https://prices.example/v1?area=x"\nrows = "data"\nstart = "from"\nvalue = "p"\n'
        'per = "mwh"\nheader = "X-Key"\ntoken_file = "token"\nstale_min = 7\nexpire_min = 15\n'
        '[tariffs.ercot.ercot]\nsettlement_point = "LZ_WEST"\nuser = "u"\npassword_file = "token"\n'
        'subscription_key_file = "token"\n[exchange.EUR]\nusd_per_unit = 1.1\n'
        "as_of = 2026-08-20T00:00:00Z\ngood_for_h = 2\n"
        '[exchange.CHF.json]\nurl = "https://rates.example/chf"\nvalue = "usd"\nstep_min = 1440\n'
        "at_least = 0.5\nat_most = 2\n"
    )
    config = config_of(tmp_path, text, SITE + 'inventory = "m.csv"\n')
    assert "t0ken" not in f"{config!r}"
    assert [tariff.name for tariff in tariffs_in_use(config)] == ["", "hosted", "grid"]
    jobs = series_jobs(config)
    assert {key: job.kind for key, job in jobs.items()} == {
        "entsoe": "power_entsoe", "price_file:hosted": "power_file", "price_json:grid": "power_json",
        "ercot:ercot": "power_ercot", "CHF/USD": "power_json",
    }  # fmt: skip
    assert {key for key, job in jobs.items() if job.is_guest} == {"entsoe", "price_json:grid", "ercot:ercot", "CHF/USD"}
    assert jobs["price_file:hosted"].options == {
        "path": str(tmp_path / "da.csv"), "per": "mwh", "unit": "USD", "name": "price_file:hosted",
    }  # fmt: skip
    assert jobs["entsoe"].options is not None
    assert jobs["entsoe"].options["token"] == "t0ken"
    assert (jobs["price_json:grid"].options or {})["soft_s"] == 420.0
    assert [(jobs["CHF/USD"].options or {})[key] for key in ("at_least", "at_most")] == [0.5, 2.0]
    rates = known_rates(config.exchange)
    assert [rates["EUR/USD"].now(T0 + late)[1] for late in (0.0, 2 * HOUR)] == [InputState.FRESH, InputState.STALE_HARD]
    assert (
        known_rates(config_of(tmp_path, "[exchange.SEK]\nusd_per_unit = 0.1\n").exchange)["SEK/USD"].now(T0)[0] == 0.1
    )


BAD = [
    ("[tariff]\n", "tariff.usd_per_kwh", "is missing, or another price"),
    ("[tariff]\nusd_per_kwh = 0.1\nper_kwh = 0.1\n", "tariff.per_kwh", "stands beside usd_per_kwh"),
    ("[tariff]\nusd_per_kwh = 0.1\ncurrency = 'EUR'\n", "tariff.currency", "usd_per_kwh is in USD, not in EUR"),
    ("[tariff]\nper_kwh = 0.1\ncurrency = 'EUR'\n", "tariff.currency", "there is no [exchange.EUR] for it"),
    ("[tariff]\nusd_per_kwh = 0.1\ncurrency = 'euro'\n", "tariff.currency", "matching regex"),
    ("[tariff]\nusd_per_kwh = 0.1\ntimezone = 'Europe/Berlin'\n", "tariff.timezone", "and there are none"),
    ("[tariff]\nusd_per_kwh = 0.1\nholidays = [2026-01-01]\n", "tariff.holidays", "and there are none"),
    ("[tariff]\nusd_per_kwh = 0.1\nseasons = {a = '01-01..12-31'}\n", "tariff.seasons", "is for periods"),
    ("[tariff]\nusd_per_kwh = 0.1\nstep_min = 15\n", "tariff.step_min", "is for a file"),
    ("[tariff]\nusd_per_kwh = 0.1\nholidays = ['soon']\n", "tariff.holidays[0]", "date, got 'soon'"),
    ("[tariff]\nperiods = [{per_kwh = 1}]\n", "tariff.timezone", "is missing: hours are those of a wall clock"),
    ("[tariff]\ntimezone = 'Mars/Base'\nperiods = [{per_kwh = 1}]\n", "tariff.timezone", "'Mars/Base' is no time zone"),
    ("[tariff]\ntimezone = '../etc'\nperiods = [{per_kwh = 1}]\n", "tariff.timezone", "'../etc' is no time zone"),
    (TIME_OF_USE.replace("09-30", "10-01"), "tariff.seasons.winter", "overlaps season 'summer' on 10-01"),
    (TIME_OF_USE.replace("09-30", "09-29"), "tariff.seasons", "no season holds on 09-30"),
    (TIME_OF_USE.replace("09-30", "09-31"), "tariff.seasons.summer", "09-31 is no day of a year"),
    (TIME_OF_USE.replace("16-21", "16-25"), "tariff.periods[0].hours", "'16-25' is outside the day, 0:00 to 24:00"),
    (TIME_OF_USE.replace("16-21", "16-22"), "tariff.periods[1].hours", "overlaps period 'peak' on mon at 21:00"),
    (TIME_OF_USE.replace("16-21", "16-20"), "tariff.periods", "no period holds on mon at 20:00 in season 'summer'"),
    (TIME_OF_USE.replace("sat,sun", "sat,son"), "tariff.periods[2].days", "'son' is neither one of mon"),
    (TIME_OF_USE.replace('season = "winter"', 'season = "wintr"'), "tariff.periods[3].season", "no season 'wintr'"),
    ("[tariff]\nusd_per_kwh=1\ndemand={per_kw_month=1,probability=0.1}\n", "tariff.timezone", "is missing"),
    (
        "[tariff]\nusd_per_kwh=1\ntimezone='UTC'\ndemand={per_kw_month=1,probability=0.1,season='june'}\n",
        "tariff.demand.season", "'june' is not of the form 06-01..09-30",
    ),
    (
        "[tariff]\nusd_per_kwh=1\ntimezone='UTC'\ncoincident_peak={per_kw_year=1,probability=2}\n",
        "tariff.coincident_peak.probability", "<= 1.0",
    ),
    ("[tariffs.'a b']\nusd_per_kwh = 1\n", "tariffs", "'a b' is no name"),
    ("[tariffs.b]\nper_mwh_file = 'no.csv'\n", "tariffs.b.per_mwh_file", "cannot read"),
    ("[tariffs.b]\nper_mwh_file = 'bad.csv'\n", "tariffs.b.per_mwh_file", "bad.csv line 2: 'noon' is not a time"),
    ("[tariffs.b]\nper_kwh_file = 'latin.csv'\n", "tariffs.b.per_kwh_file", "latin.csv is not UTF-8 text (byte 0)"),
    ("[tariff.json]\nurl='https://x'\nvalue='v'\nstart='s'\n", "tariff.json.per", "is missing"),
    ("[tariff.json]\nurl='https://x'\nvalue='v'\nrows='r'\nper='kwh'\n", "tariff.json.start", "is missing"),
    ("[tariff.json]\nurl='https://x'\nvalue='v'\nper='kwh'\n", "tariff.json.step_min", "is missing"),
    ("[tariff.json]\nurl='http://x.y'\nvalue='v'\nstart='s'\nper='kwh'\n", "tariff.json.url", "insecure = true"),
    ("[tariff.json]\nurl='https://x'\nvalue='v'\nstart='s'\nper='kwh'\nheader='A'\n", "tariff.json.token_file", ""),
    (
        "[tariff.json]\nurl='https://x'\nvalue='v'\nstart='s'\nper='kwh'\nstale_min=5\n",
        "tariff.json.stale_min", "must not exceed expire_min",
    ),
    ("[tariff]\nusd_per_kwh = 0.1\nat_most_per_kwh = 1\n", "tariff.at_most_per_kwh", "a file or a feed tells"),
    (
        "[tariff]\nat_least_per_kwh = 1\nat_most_per_kwh = 1\njson={url='https://x',value='v',start='s',per='kwh'}\n",
        "tariff.at_least_per_kwh", "must be below at_most_per_kwh",
    ),
    ("[tariff.json]\nurl='https://x'\nvalue='v'\nstart='s'\nper='kwh'\nbody='{'\n", "tariff.json.body", "not JSON"),
    (
        "[exchange.EUR.json]\nurl='https://x'\nvalue='v'\nstep_min=5\nat_least=2\nat_most=1\n",
        "exchange.EUR.json.at_least", "must be below at_most",
    ),
    ("[exchange.eur]\nusd_per_unit=1.1\n", "exchange.eur", "is not a currency of three capital letters"),
    ("[exchange.EUR]\n", "exchange.EUR.usd_per_unit", "is missing"),
    ("[exchange.EUR]\nusd_per_unit=1.1\ngood_for_h=3\n", "exchange.EUR.as_of", "is missing"),
    (
        "[exchange.EUR.json]\nurl='https://x'\nvalue='v'\nstep_min=5\nper='kwh'\n",
        "exchange.EUR.json.per", "a rate is dollars per unit",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("text", "key", "message"), BAD, ids=[f"{key}-{i}" for i, (_, key, _) in enumerate(BAD)])
def test_what_cannot_be_a_tariff_is_one_line_with_its_key(tmp_path: Path, text: str, key: str, message: str) -> None:
    (tmp_path / "bad.csv").write_text("time,value\nnoon,1\n")
    (tmp_path / "latin.csv").write_bytes(b"\xe4")
    error = refused(tmp_path, text)
    assert (error.key, message in error.message) == (key, True), str(error)


def test_a_machine_names_a_tariff_that_is_there(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("id,tariff\na,hostd\n")
    error = refused(tmp_path, "[tariffs.hosted]\nusd_per_kwh = 0.1\n", SITE + 'inventory = "m.csv"\n')
    assert error.key == "site.inventory: a: tariff"
    assert error.message == "there is no [tariffs.hostd]; did you mean hosted?"


# --- in the running agent --------------------------------------------------------------------------------------------


def loop_of(config: Config) -> Loop:
    site = site_of(config, "")
    loop = Loop(
        Table(site, (), 30.0), policy_of(config), None, {}, Vitals(),
        booted_s=T0 - 9999.0, settle_s=60.0, tariffs=tariffs_in_use(config),
    )  # fmt: skip
    loop.series.update(known_rates(config.exchange))
    return loop


def told(series: Series) -> list[Outcome]:
    """As it comes out of the pipe."""
    (frame,) = outcome_frames((Outcome(series.name, "power_json", T0, 0.1, 0.0, series=series),))
    (report,) = FrameReader(Report).feed(bytes(frame))
    return list(report.outcomes)


RT = '[tariff]\njson = {url="https://x", value="v", start="s", per="mwh"}\n'


def test_the_agent_uses_the_price_of_the_series_and_says_how_it_is(tmp_path: Path) -> None:
    loop = loop_of(config_of(tmp_path, RT))
    cycle = loop.tick(T0, T0)
    assert (math.isnan(cycle.valuation.power_usd_per_kwh), cycle.valuation.power_state) == (True, InputState.MISSING)
    series = Series(
        "price_json", (T0 - 600.0, T0 - 300.0, T0), (0.04, math.nan, 0.07), 300.0, soft_s=120.0, hold_s=900.0
    )
    assert loop.take_series(told(series))
    assert not loop.take_series(told(series))
    states = []
    for late, usd in ((0.0, 0.07), (419.0, 0.07), (420.0, 0.07), (1200.0, math.nan)):
        cycle = loop.tick(T0 + late, T0 + late)
        states.append(cycle.valuation.power_state)
        assert cycle.valuation.power_usd_per_kwh == pytest.approx(usd, nan_ok=True)
        page = b"".join(render(cycle, now_s=T0 + late)).decode()
        assert f'hashwatt_power_price_state{{source="price_json",state="{states[-1].value}"}} 1.0\n' in page
        assert (f"\nhashwatt_power_price_usd_per_kilowatt_hour {usd}\n" in page) is not math.isnan(usd)
        assert f"\nhashwatt_power_price_as_of_timestamp_seconds {T0:.0f}" in page
        assert (cycle.valuation.power_source, cycle.valuation.power_as_of_s) == ("price_json", T0)
    assert states == [InputState.FRESH, InputState.FRESH, InputState.STALE_SOFT, InputState.STALE_HARD]
    assert cycle.decision.status is Status.HOLD
    assert Why.INPUT_STALE in cycle.decision.status_reasons


def test_a_price_that_the_operator_does_not_believe_is_none(tmp_path: Path) -> None:
    loop = loop_of(
        config_of(tmp_path, "[tariff]\nat_least_per_kwh = -0.1\nat_most_per_kwh = 1.0\n" + RT.partition("\n")[2])
    )
    for usd, is_believed in ((1.0, True), (1.01, False), (-0.1, True), (-0.11, False), (6.0, False)):
        loop.take_series(told(Series("price_json", (T0,), (usd,), 3600.0)))
        valuation = loop.tick(T0 + 1.0, T0 + 1.0).valuation
        assert valuation.power_usd_per_kwh == pytest.approx(usd if is_believed else math.nan, nan_ok=True)
        assert valuation.power_state is (InputState.FRESH if is_believed else InputState.MISSING)


def test_a_question_that_is_posted_crosses_to_the_worker(tmp_path: Path) -> None:
    text = "[tariff.json]\nurl='https://x'\nvalue='v'\nstart='s'\nper='kwh'\nrows='a.today,a.tomorrow'\n"
    text += """body='{"query": "{a}"}'\n"""
    (job,) = series_jobs(config_of(tmp_path, text)).values()
    assert job.options is not None
    assert (job.options["body"], job.options["rows"]) == ('{"query": "{a}"}', "a.today,a.tomorrow")


def test_every_machine_pays_its_own_tariff(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("id,tariff\na,\nb,hosted\n")
    text = "[tariff]\nusd_per_kwh = 0.05\n[tariffs.hosted]\nusd_per_kwh = 0.08\n"
    config = config_of(tmp_path, text, SITE + 'inventory = "m.csv"\n')
    cycle, tariffs = loop_of(config).tick(T0, T0), tariffs_in_use(config)
    power = [price_now(tariff, {}, T0) for tariff in tariffs]
    assert power == [
        PowerPrice("", 0.05, "flat", InputState.FRESH, pytest.approx(math.nan, nan_ok=True)),
        PowerPrice("hosted", 0.08, "flat", InputState.FRESH, pytest.approx(math.nan, nan_ok=True)),
    ]
    assert cycle.site.by_tariff(power).tolist() == [0.05, 0.08]


def test_a_series_that_is_none_costs_its_own_outcome_only() -> None:
    broken = Series("x", (0.0, 1.0), (1.0, math.nan), 60.0)
    assert told(broken)[0].series is not None  # a hole is honest
    object.__setattr__(broken, "start_s", (1.0, 0.0))
    (outcome,) = told(broken)
    assert (outcome.series, outcome.fault is not None) == (None, True)


def test_a_series_is_known_by_its_gaps_after_the_pipe() -> None:
    (outcome,) = told(Series("x", (0.0, 120.0), (1.0, 2.0), 60.0))
    assert outcome.series is not None
    assert outcome.series.look_up(np.array([30.0, 90.0]))[1].tolist() == [Gap.NONE, Gap.HOLE]


def test_jobs_cross_the_pipe(tmp_path: Path) -> None:
    for assignment in assignments_of(config := config_of(tmp_path, RT), site_of(config, "")):
        assert FrameReader(Assignment).feed(bytes(encode_frame(assignment))) == [assignment]
