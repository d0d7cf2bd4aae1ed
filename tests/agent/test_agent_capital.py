"""What the operator says of capital, when it is thought about, what the console says, and that no decision knows it."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cycles import AT_S, NAN, make_cycle, make_snapshot, small_cycle
from rich.console import Console

from agent import capital, console, wiring
from agent.capital import EVERY_S, GOOD_FOR_S, SOON_S, Appraiser
from agent.config import Config, ConfigError, load
from agent.plan import capital_of, policy_of, site_of, tariffs_in_use
from agent.record import encode, encode_cycle_inputs
from agent.wiring import Agent
from exporters.lease import render_head, render_plan
from exporters.report import once_document, status_document
from fleet.capital import Appraisal, CapitalTerms, FeederValue, Keep, KeepTerms, Worth, judge
from fleet.curtailment import Action, Memory
from fleet.cycle import Cycle, think
from fleet.lease import Issue
from fleet.market import Market, MarketInput, Quote
from fleet.readings import PowerSource
from fleet.signals import Signals
from fleet.tariff import price_now

KEEP = """[economics.keep]
months = 36
uptime_ratio = 0.95
slot_usd_month = 4
repair_usd_month = 3
labour_usd_month = 2
residual_usd_th = 0.3
discount_per_year = 0.15
hashprice_decline_per_year = 0.2
hashprice_sigma_per_root_year = 0.6
"""
ALL = KEEP + "resale_usd_th = 2.0\n"
MODEL = '[economics.keep.models."S19j Pro"]\nresale_usd_th = 1.2\n'
FEEDER = "[feeders.F1]\nalternative_usd_per_kwh = 0.12\n"
TIME_OF_USE = """[tariff]
timezone = "UTC"
periods = [{ per_kwh = 0.2, hours = "16-21" }, { per_kwh = 0.05, hours = "0-16,21-24" }]
"""
TERMS = KeepTerms(36, 0.95, 4.0, 3.0, 2.0, 2.0, 0.3, 0.15, 0.2, 0.6)


def config_of(folder: Path, more: str, tariff: str = "[tariff]\nusd_per_kwh = 0.06\n", feeder: str = "F1") -> Config:
    (folder / "inventory.csv").write_text(f"id,address,model,feeder\na,127.0.0.1,S21,{feeder}\nb,127.0.0.2,S21,\n")
    path = folder / "hashwatt.toml"
    path.write_text(f'[site]\nname = "north"\ninventory = "inventory.csv"\n{tariff}{more}')
    return load(path)


def warnings_of(config: Config) -> list[str]:
    return [warning for warning in config.warnings if capital.is_warning_of_capital(warning)]


# --- the operator's words --------------------------------------------------------------------------------------------


def test_terms_as_they_are_written(tmp_path: Path) -> None:
    config = config_of(tmp_path, "[economics]\nalternative_usd_per_kwh = 0.08\n" + ALL + MODEL + FEEDER)
    assert warnings_of(config) == []
    assert capital_of(config) == CapitalTerms(
        keep=TERMS,
        keep_by_model={"s19jpro": replace(TERMS, resale_usd_th=1.2)},
        alternative_usd_kwh=0.08,
        alternative_by_feeder={"F1": 0.12},
    )


def test_who_says_nothing_has_no_terms(tmp_path: Path) -> None:
    terms = capital_of(config_of(tmp_path, ""))
    assert len(terms.keep.untold) == 10
    assert np.isnan(terms.alternative_usd_kwh)
    assert warnings_of(config_of(tmp_path, "")) == []


@pytest.mark.parametrize(("more", "feeder", "words"), [
    (KEEP, "F1", "economics.keep: nothing is judged without resale_usd_th"),
    (MODEL, "F1", "economics.keep.models.'S19j Pro': nothing is judged without months, uptime_ratio, slot_usd_month, "
     "repair_usd_month, labour_usd_month, residual_usd_th, discount_per_year, hashprice_decline_per_year, "
     "hashprice_sigma_per_root_year"),
    (FEEDER, "F2", "feeders: no line of the inventory names 'F1'; it has F2"),
    (FEEDER, "", "feeders: no line of the inventory names 'F1'"),
    ("[economics]\nalternative_usd_per_kwh = 0.08\n", "", "economics.alternative_usd_per_kwh: no line of the "
     "inventory names a feeder, so nothing is compared"),
])  # fmt: skip
def test_words_that_lead_nowhere_are_a_warning_in_one_line(tmp_path: Path, more: str, feeder: str, words: str) -> None:
    assert warnings_of(config_of(tmp_path, more, feeder=feeder)) == [words]


def test_resale_by_model_alone_is_enough(tmp_path: Path) -> None:
    assert warnings_of(config_of(tmp_path, KEEP + MODEL)) == []


def test_a_tariff_that_varies_needs_a_price_for_the_months(tmp_path: Path) -> None:
    config = config_of(tmp_path, ALL, TIME_OF_USE)
    assert capital_of(config).varying_tariffs == {""}
    assert warnings_of(config) == [
        "economics.keep.power_usd_kwh: is missing: the price of tariff varies, so machines there are not judged"
    ]
    told = config_of(tmp_path, ALL + "power_usd_kwh = 0.07\n", TIME_OF_USE)
    assert warnings_of(told) == []
    assert capital_of(told).keep.power_usd_kwh == 0.07


def test_a_flat_price_with_a_peak_varies(tmp_path: Path) -> None:
    peak = '[tariff.demand]\nper_kw_month = 10.0\nprobability = 0.02\nhours = "16-21"\n'
    config = config_of(tmp_path, "", '[tariff]\ntimezone = "UTC"\nusd_per_kwh = 0.05\n' + peak)
    assert capital_of(config).varying_tariffs == {""}


@pytest.mark.parametrize(("more", "words"), [
    ("[economics.keep]\nmonths = 0\n", "economics.keep.months: expected int >= 1"),
    ("[economics.keep]\nresale_usd_th = -1\n", "economics.keep.resale_usd_th: expected float >= 0"),
    ("[economics.keep]\nresale_th = 1\n", "economics.keep.resale_th: unknown key; did you mean resale_usd_th?"),
    ("[feeders.F1]\n", "feeders.F1.alternative_usd_per_kwh: is missing"),
    (ALL + MODEL + '[economics.keep.models."Antminer S19J PRO"]\n', "is the same model as 'S19j Pro'"),
])  # fmt: skip
def test_words_that_cannot_be_are_an_error_in_one_line(tmp_path: Path, more: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        config_of(tmp_path, more)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


# --- when it is thought about ----------------------------------------------------------------------------------------


def at(seconds: float, margin: float = 0.1) -> Cycle:
    money = {name: [margin] for name in ("hashrate_hs", "power_w", "revenue_usd_h", "energy_cost_usd_h", "margin_usd_h",
                                         "margin_error_usd_h", "breakeven_usd_kwh")}  # fmt: skip
    return make_cycle(("a",), economics=money, at_s=AT_S + seconds)


async def appraised_at(cycles: Iterable[Cycle]) -> list[float]:
    """When there was another appraisal, in seconds."""
    appraiser, found = Appraiser(CapitalTerms(TERMS)), []
    for cycle in cycles:
        appraiser.look(cycle)
        await appraiser.settled()
        newest = appraiser.newest(cycle.at_s)
        assert newest is not None
        found.append(newest.at_s - AT_S)
    return list(dict.fromkeys(found))


async def test_soon_again_at_first_and_then_every_ten_minutes() -> None:
    ticks = [10.0 * tick for tick in range(301)]
    assert await appraised_at(map(at, ticks)) == [0.0, 30.0, 90.0, 210.0, 450.0, 930.0, 1530.0, 2130.0, 2730.0]


async def test_while_nobody_has_a_price_it_is_always_soon() -> None:
    told = [at(10.0 * tick, NAN if tick < 10 else 0.1) for tick in range(30)]
    assert await appraised_at(told) == [0.0, 30.0, 60.0, 90.0, 120.0, 180.0]


async def test_what_is_too_old_is_not_shown_whichever_way_the_clock_went() -> None:
    appraiser = Appraiser(CapitalTerms(TERMS))
    appraiser.look(at(0.0))
    await appraiser.settled()
    assert appraiser.newest(AT_S + GOOD_FOR_S) is not None
    assert appraiser.newest(AT_S + GOOD_FOR_S + 1.0) is None
    assert appraiser.newest(AT_S - GOOD_FOR_S - 1.0) is None


async def test_a_tick_does_not_wait_and_starts_no_second_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    go, calls = threading.Event(), []

    def slow(cycle: Cycle, terms: CapitalTerms) -> Appraisal:
        calls.append(threading.current_thread())
        assert go.wait(30.0)
        return judge(cycle, terms)

    monkeypatch.setattr(capital, "judge", slow)
    appraiser = Appraiser(CapitalTerms(TERMS))
    appraiser.look(at(0.0))
    appraiser.look(at(EVERY_S))  # the thread has not ended: no other is begun
    assert appraiser.newest(AT_S) is None
    go.set()
    await appraiser.settled()
    assert appraiser.newest(AT_S) is not None
    assert [thread is threading.main_thread() for thread in calls] == [False]


async def test_a_fault_of_ours_is_one_line_and_the_next_look_heals_it(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(cycle: Cycle, terms: CapitalTerms) -> Appraisal:
        raise ZeroDivisionError

    appraiser = Appraiser(CapitalTerms(TERMS))
    with monkeypatch.context() as patch, caplog.at_level("INFO"):
        patch.setattr(capital, "judge", broken)
        appraiser.look(at(0.0))
        await appraiser.settled()
    assert caplog.messages == ["the worth of the fleet cannot be computed: ZeroDivisionError"]
    assert appraiser.newest(AT_S) is None
    appraiser.look(at(SOON_S))
    await appraiser.settled()
    assert appraiser.newest(AT_S + SOON_S) is not None


async def test_an_agent_shows_on_its_pages_what_was_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = config_of(tmp_path, ALL + FEEDER)
    agent = Agent(config, site_of(config, "model,hashrate_th,power_w\n"), None, {})
    agent.tick()
    assert b"hashwatt_appraisal" not in b"".join(agent.page())
    assert "worth" not in agent.status()
    assert agent.loop.cycle is not None
    agent.appraiser.look(agent.loop.cycle)
    await agent.appraiser.settled()
    assert b'hashwatt_feeder_alternative_usd_per_kilowatt_hour{feeder="F1"} 0.12' in b"".join(agent.page())
    worth: Any = agent.status()["worth"]
    assert (worth["unknown"], worth["verdicts"], worth["below_alternative_w"]) == (2, {}, None)  # nobody has answered


# --- no decision knows it --------------------------------------------------------------------------------------------


def decisions(config: Config) -> Iterator[bytes]:
    """Everything that is advised, published or kept of two hours in which the price falls, and of what led to it."""
    site, policy, memory = site_of(config, "model,hashrate_th,power_w\n"), policy_of(config), Memory()
    terms, chain = capital_of(config), {MarketInput.DIFFICULTY: 141.668e12, MarketInput.HEIGHT: 935_140.0,
                                        MarketInput.BLOCK_FEES_BTC: 0.025}  # fmt: skip
    columns: dict[str, Any] = {
        "up": [1, 1], "is_running": [True, True], "hashrate_hs": [200e12, 100e12], "power_w": [3500.0, 3400.0],
        "power_source": [PowerSource.METERED] * 2, "standby_w": [30.0, 30.0],
    }  # fmt: skip
    for minute in range(120):
        now_s = AT_S + 60.0 * minute
        values = chain | {MarketInput.BTC_USD: 90_000.0 - 300.0 * minute}
        quotes = tuple(Quote(of, f"feed {i}", value, now_s, 1e9, 1e9) for of, value in values.items() for i in range(2))
        snapshot = replace(make_snapshot(site.ids, **columns), at_s=now_s)
        signals = Signals(AT_S - 86_400.0)
        power = tuple(price_now(tariff, {}, now_s) for tariff in tariffs_in_use(config))
        yield encode_cycle_inputs(site, snapshot, Market(quotes), signals, policy, memory, now_s, power)
        cycle = think(site, snapshot, Market(quotes), signals, policy, memory, now_s, power)
        judge(cycle, terms)
        plan, issue = render_plan(cycle), Issue("boot", minute, now_s, now_s + 120.0, "hashwatt")
        yield from (encode(cycle.decision), encode(cycle.memory), encode(cycle.economics))
        yield from (*plan, render_head(cycle, issue, plan), cycle.decision_id.encode())
        memory = cycle.memory
    assert (cycle.decision.action == Action.STOP).any()  # else there was nothing to tell apart


def test_no_decision_is_another_for_what_capital_says(tmp_path: Path) -> None:
    """Byte for byte: resale so high and an alternative so good that everything would go, if they had a say."""
    without = list(decisions(config_of(tmp_path, "")))
    keep = ALL.replace("resale_usd_th = 2.0", "resale_usd_th = 9999") + "power_usd_kwh = 9.0\n"
    told = config_of(tmp_path, "[economics]\nalternative_usd_per_kwh = 9.0\n" + keep + MODEL + FEEDER)
    assert list(decisions(told)) == without


# --- what a person reads ---------------------------------------------------------------------------------------------


def appraisal(verdicts: list[Keep], feeders: tuple[FeederValue, ...] = ()) -> Appraisal:
    n = len(verdicts)
    worth = Worth(np.full(n, NAN), np.full(n, NAN), np.full(n, NAN), np.array(verdicts, np.uint8))
    return Appraisal(AT_S, tuple(f"m{i}" for i in range(n)), n, worth, feeders)


def feeder(name: str, below_w: float) -> FeederValue:
    return FeederValue(name, 9, 0, 2e6, below_w, 0.05, 0.12, True)


@pytest.mark.parametrize(("found", "words"), [
    (appraisal([Keep.RETIRE] * 12 + [Keep.KEEP] * 3 + [Keep.UNCERTAIN], (feeder("F1", 7e5), feeder("F2", 5e5))),
     ["12 machines are not worth their place   3 are, 1 uncertain",
      "1.20 MW earns less than the alternative on 2 feeders"]),
    (appraisal([Keep.RETIRE, Keep.UNKNOWN], (feeder("F1", 7e5),)),
     ["1 machine is not worth its place   0 are, 0 uncertain, 1 not judged",
      "700.0 kW earns less than the alternative on 1 feeder"]),
    (appraisal([Keep.KEEP], (feeder("F1", 0.0),)),
     ["0 machines are not worth their place   1 are, 0 uncertain", "nothing earns less than the alternative on any"]),
    (appraisal([Keep.KEEP], (feeder("F1", NAN),)), ["0 machines are not worth their place   1 are, 0 uncertain"]),
    (appraisal([Keep.UNKNOWN], (feeder("F1", NAN),)), []),
    (appraisal([Keep.UNKNOWN]), []),
    (None, []),
])  # fmt: skip
def test_a_line_per_question(found: Appraisal | None, words: list[str]) -> None:
    stream = io.StringIO()
    status = status_document(small_cycle(), AT_S + 90, found)
    Console(file=stream, width=120).print(console.frame(status, AT_S, height=60, width=120))
    for line in words:
        assert line in stream.getvalue()
    assert ("worth   " in stream.getvalue()) is bool(words)
    assert ("alternative" in stream.getvalue()) is any("alternative" in line for line in words)
    once = io.StringIO()
    console.show_once(once_document(small_cycle(), found), Console(file=once, width=200))
    assert ("worth   " in once.getvalue()) is bool(words)


def test_once_judges_what_it_has_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    from agent import cli

    monkeypatch.setattr(wiring, "look", lambda _: (at(0.0), []))
    config = config_of(tmp_path, ALL)
    assert cli.main(["once", "--json", "--config", str(config.source)]) in (0, 1)
    assert '"worth":{"at":' in capsys.readouterr().out
