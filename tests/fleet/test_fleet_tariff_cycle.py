"""The price of power in a whole decision: each machine by its tariff, and no stop while a price is old or missing.

Machines do 100 TH/s at 2000 W. At hashprice 31.5 USD/PH/day they earn 3.1 USD a day, and 2.1 kW at 0.06 USD/kWh costs
as much: 0.04 pays, 0.20 does not.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleet.curtailment import Action, Memory, Policy, Status, Why
from fleet.cycle import Cycle, think
from fleet.market import HARD_AGE_S, SOFT_AGE_S, InputState, Market, MarketInput, Quote
from fleet.readings import OperatingState, Reason
from fleet.signals import Signals
from fleet.site import EconomicTerms, Machine, Site
from fleet.snapshot import STATE_CODES, MachineInfo, Observations, PduColumns, assemble
from fleet.tariff import PowerPrice

T0_S = 1_800_000_000.0
MACHINES = (Machine("own"), Machine("hosted", tariff="hosted"))
EAGER = Policy(stop_ramp_ratio=1.0, start_ramp_ratio=1.0, quorum_ratio=0.5, min_up_s=0.0, min_down_s=0.0)
NUMBERS = {
    MarketInput.DIFFICULTY: 141.668e12,
    MarketInput.HEIGHT: 935_140.0,
    MarketInput.BLOCK_FEES_BTC: 0.025,
    MarketInput.BTC_USD: 70_000.0,
}
FRESH, SOFT, HARD, MISSING = InputState.FRESH, InputState.STALE_SOFT, InputState.STALE_HARD, InputState.MISSING
CONFLICT = InputState.CONFLICT


def price(usd_per_kwh: float, tariff: str = "", state: InputState = FRESH) -> PowerPrice:
    return PowerPrice(tariff, usd_per_kwh, "price_file", state, T0_S)


class Hour:
    """A fresh market and two machines that hash, minute by minute."""

    def __init__(self) -> None:
        self.site, self.policy = Site("north", MACHINES), EAGER
        self.memory, self.now_s = Memory(), T0_S

    def minute(self, *power: PowerPrice) -> Cycle:
        self.now_s += 60.0
        observed = Observations.empty(len(MACHINES))
        observed.is_sha256[:] = True
        observed.up[:] = 1.0
        observed.seen_s[:] = self.now_s
        observed.hashrate_hs[:] = 1e14
        observed.reported_power_w[:] = 2000.0
        observed.state[:] = STATE_CODES[OperatingState.MINING]
        infos = (MachineInfo(),) * len(MACHINES)
        snapshot = assemble(self.site, observed, infos, PduColumns(), self.now_s, 60.0)
        quotes = tuple(
            Quote(input, source, value, self.now_s, SOFT_AGE_S[input], HARD_AGE_S[input])
            for input, value in NUMBERS.items()
            for source in ("bitcoin_core", "coinbase", "kraken")
        )
        signals = Signals(T0_S - 9999.0, 60.0)
        cycle = think(self.site, snapshot, Market(quotes), signals, self.policy, self.memory, self.now_s, power)
        self.memory = cycle.memory
        return cycle

    def minutes(self, count: int, *power: PowerPrice) -> Cycle:
        for _ in range(count):
            cycle = self.minute(*power)
        return cycle


def stops(cycle: Cycle) -> list[bool]:
    return (cycle.decision.action == Action.STOP).tolist()


def test_each_machine_is_judged_by_its_own_tariff() -> None:
    cycle = Hour().minutes(60, price(0.04), price(0.20, "hosted"))
    np.testing.assert_allclose(cycle.economics.energy_cost_usd_h, [2.1 * 0.04, 2.1 * 0.20])
    assert stops(cycle) == [False, True]
    other = Hour().minutes(60, price(0.20), price(0.04, "hosted"))
    assert stops(other) == [True, False]
    assert cycle.valuation.power_usd_per_kwh == 0.04
    assert (cycle.valuation.power_source, cycle.valuation.power_as_of_s) == ("price_file", T0_S)
    assert cycle.power == (price(0.04), price(0.20, "hosted"))


GONE = [(HARD, Why.INPUT_STALE), (MISSING, Why.INPUT_MISSING), (CONFLICT, Why.INPUT_CONFLICT)]


@pytest.mark.parametrize(("state", "why"), GONE)
def test_a_tariff_without_a_price_holds_its_own_machines_and_no_others(state: InputState, why: Why) -> None:
    """Whatever number stands beside such a state, nobody is valued by it."""
    cycle = Hour().minutes(60, price(0.20), price(0.20, "hosted", state))
    assert cycle.economics.reason.tolist() == [Reason.NONE, Reason.NO_POWER_PRICE]
    assert np.isnan(cycle.economics.margin_usd_h).tolist() == [False, True]
    assert (cycle.decision.status, cycle.decision.status_reasons) == (Status.DEGRADED, why | Why.POWER_PRICE)
    assert cycle.decision.action.tolist() == [Action.STOP, Action.HOLD]
    assert cycle.decision.reasons[1] == Why.POWER_PRICE
    other = Hour().minutes(60, price(0.20, state=state), price(0.20, "hosted"))
    assert other.decision.action.tolist() == [Action.HOLD, Action.STOP]
    assert math.isnan(other.valuation.power_usd_per_kwh) is False  # it is told as it is, with its state


@pytest.mark.parametrize(("state", "why"), GONE)
def test_without_any_price_of_power_the_site_holds(state: InputState, why: Why) -> None:
    cycle = Hour().minutes(60, price(math.nan, "", state), price(math.nan, "hosted", state))
    assert (cycle.decision.status, cycle.decision.status_reasons) == (Status.HOLD, why | Why.POWER_PRICE)
    assert cycle.decision.action.tolist() == [Action.HOLD, Action.HOLD]


def test_a_tariff_that_no_machine_has_is_nobodys_trouble() -> None:
    """A farm whose every machine names a tariff needs no price of its own."""
    hour = Hour()
    hour.site = Site("north", tuple(replace(each, tariff="hosted") for each in MACHINES))
    cycle = hour.minutes(60, price(math.nan, "", MISSING), price(0.20, "hosted"))
    assert (cycle.decision.status, cycle.decision.action.tolist()) == (Status.OK, [Action.STOP, Action.STOP])
    assert cycle.valuation.power_state is MISSING


def test_a_tariff_that_nobody_told_is_missing() -> None:
    cycle = Hour().minutes(60, price(0.20))
    assert cycle.decision.action.tolist() == [Action.STOP, Action.HOLD]
    assert cycle.decision.status_reasons == Why.INPUT_MISSING | Why.POWER_PRICE


def test_a_stop_whose_tariff_is_gone_is_given_back_after_its_time_and_no_other() -> None:
    hour = Hour()
    assert stops(hour.minutes(60, price(0.20), price(0.20, "hosted"))) == [True, True]
    gone = [hour.minute(price(0.20), price(math.nan, "hosted", MISSING)) for _ in range(30)]
    given_back = [not stopped for _, stopped in map(stops, gone)]
    assert given_back == [False] * 15 + [True] * 15  # 900 s after the first minute without a price
    assert all(own for own, _ in map(stops, gone))
    assert Why(int(gone[15].decision.reasons[1])) == Why.HOLD_RELEASE | Why.POWER_PRICE
    assert all(cycle.decision.action[1] == Action.RUN for cycle in gone[15:])
    # an outage that ends in time gives nothing back, and the next one begins anew
    hour = Hour()
    hour.minutes(60, price(0.20), price(0.20, "hosted"))
    for _ in range(3):
        assert stops(hour.minutes(15, price(0.20), price(math.nan, "hosted", MISSING))) == [True, True]
        hour.minute(price(0.20), price(0.20, "hosted"))


def test_an_operator_may_keep_the_stops_of_a_tariff_that_is_gone() -> None:
    hour = Hour()
    hour.policy = replace(EAGER, hold_keep=True)
    hour.minutes(60, price(0.20), price(0.20, "hosted"))
    assert stops(hour.minutes(60, price(0.20), price(math.nan, "hosted", MISSING))) == [True, True]


@pytest.mark.parametrize("state", [SOFT, HARD, MISSING])
def test_a_dear_price_that_is_not_fresh_stops_nobody(state: InputState) -> None:
    usd = 0.20 if state is SOFT else math.nan
    hour = Hour()
    hour.minute(price(0.04), price(0.04, "hosted"))
    assert stops(hour.minutes(600, price(usd, "", state), price(usd, "hosted", state))) == [False, False]
    assert stops(hour.minutes(60, price(0.20), price(0.20, "hosted"))) == [True, True]  # the same price, fresh


def test_a_price_past_its_soft_age_stops_nobody_of_its_tariff_and_delays_no_other() -> None:
    hour = Hour()
    cycle = hour.minutes(60, price(0.20), price(0.20, "hosted", SOFT))
    assert (cycle.decision.status, stops(cycle)) == (Status.DEGRADED, [True, False])
    assert cycle.decision.status_reasons == Why.INPUT_STALE | Why.POWER_PRICE
    assert (cycle.valuation.power_state, cycle.memory.loss_usd[1]) == (FRESH, 0.0)
    # the bucket of the other was full when its price grew old: still no stop, and it says why
    hour.memory = replace(hour.memory, loss_usd=np.array([0.0, 9.0]))
    cycle = hour.minute(price(0.20), price(0.20, "hosted", SOFT))
    assert (stops(cycle)[1], cycle.decision.reasons[1]) == (False, Why.INPUT_STALE | Why.POWER_PRICE)


def test_a_price_past_its_soft_age_may_bring_its_machines_back() -> None:
    hour = Hour()
    hour.minutes(60, price(0.20), price(0.20, "hosted"))
    assert stops(hour.minutes(60, price(0.20), price(0.01, "hosted", SOFT))) == [True, False]


@pytest.mark.parametrize(("certainty_sigmas", "is_stopped"), [(1.0, False), (0.9, True), (0.0, True)])
def test_the_operator_says_how_certain_a_stop_must_be(certainty_sigmas: float, is_stopped: bool) -> None:
    """It earns 0.1286 USD/h (2.2 %) and costs 0.1428 on watts of its own (10 %): 0.0142 lost +- 0.0146."""
    hour = Hour()
    hour.site = Site("north", MACHINES, terms=EconomicTerms(certainty_sigmas=certainty_sigmas))
    cycle = hour.minutes(600, price(0.0680), price(0.01, "hosted"))
    margin, error = cycle.economics.margin_usd_h[0], cycle.economics.margin_error_usd_h[0]
    assert 0.9 * error < -margin < error
    assert stops(cycle) == [is_stopped, False]
    assert (Why.INPUT_UNCERTAIN in Why(int(cycle.decision.reasons[0]))) is not is_stopped


def test_the_host_takes_its_share_of_what_is_above_zero() -> None:
    power = (replace(price(0.04), profit_share=0.5), replace(price(0.20, "hosted"), profit_share=0.25))
    money = Hour().minute(*power).economics
    margin, kept = money.margin_usd_h.tolist(), money.kept_margin_usd_h.tolist()
    assert margin[0] > 0.0 > margin[1]
    assert kept == pytest.approx([0.5 * margin[0], margin[1]], rel=1e-15)


def test_a_memory_of_before_there_were_prices_by_tariff_goes_on() -> None:
    old = Memory(("own", "hosted"), np.ones(2, bool), np.zeros(2), np.zeros(2), np.full(2, T0_S), at_s=T0_S)
    hour = Hour()
    hour.memory = old
    assert stops(hour.minute(price(0.20), price(0.20, "hosted"))) == [True, True]
    assert np.isnan(hour.memory.no_price_since_s).tolist() == [True, True]


SAID = st.tuples(st.sampled_from([FRESH, SOFT, HARD, MISSING, CONFLICT]), st.floats(-0.1, 1.0))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(SAID, SAID), min_size=1, max_size=40))
def test_nobody_is_stopped_in_a_minute_whose_price_is_not_fresh(
    said: list[tuple[tuple[InputState, float], ...]],
) -> None:
    hour, before = Hour(), [False, False]
    for minute in said:
        power = [
            price(usd if state in (FRESH, SOFT) else math.nan, tariff, state)
            for (state, usd), tariff in zip(minute, ("", "hosted"), strict=True)
        ]
        now = stops(hour.minute(*power))
        for was, is_now, each in zip(before, now, power, strict=True):
            assert each.state is FRESH or was or not is_now
        before = now


@settings(max_examples=20, deadline=None)
@given(st.lists(SAID, min_size=1, max_size=40), st.sampled_from([0.04, 0.20]))
def test_what_becomes_of_another_tariff_is_nothing_to_a_machine(
    said: list[tuple[InputState, float]], own_usd: float
) -> None:
    """It is valued, summed up and turned as if it were alone; only the status of the site tells of the other."""
    alone, beside = Hour(), Hour()
    for state, usd in said:
        one = alone.minute(price(own_usd), price(own_usd, "hosted"))
        other = beside.minute(price(own_usd), price(usd if state in (FRESH, SOFT) else math.nan, "hosted", state))
        assert other.economics.margin_usd_h[0] == one.economics.margin_usd_h[0]
        assert other.memory.loss_usd[0] == one.memory.loss_usd[0]
        assert other.memory.gain_usd[0] == one.memory.gain_usd[0]
        assert other.decision.action[0] == one.decision.action[0]
        assert other.decision.status is (Status.OK if state is FRESH else Status.DEGRADED)
