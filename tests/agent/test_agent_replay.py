"""A decision that was written down is the same decision when it is read again."""

from __future__ import annotations

import math
from dataclasses import fields

import numpy as np
import pytest

from agent.record import decode, decode_cycle_inputs, encode, encode_cycle_inputs
from fleet.curtailment import Action, Memory, Policy, Why
from fleet.cycle import Cycle, think
from fleet.market import Market, MarketInput, Quote
from fleet.readings import OperatingState
from fleet.signals import Signals
from fleet.site import Machine, Site
from fleet.snapshot import STATE_CODES, MachineInfo, Observations, PduColumns, Snapshot, assemble
from fleet.tariff import FlatTariff

AT_S = 1_800_000_000.0
IDS = ("loses", "earns", "dark", "returns", "held", "unknown", "protected")
NEW = tuple(reversed(IDS[1:]))  # the journal's memory is of other rows than the site of now


def arguments(policy: Policy, btc_usd: float) -> tuple[Site, Snapshot, Market, Signals, Policy, Memory, float]:
    n = len(IDS)
    site = Site(
        "north",
        tuple(Machine(id, address=f"127.0.0.{i}", never_stop=id == "protected") for i, id in enumerate(IDS)),
        tariff=FlatTariff(0.05),
        expected_pools=("pool.example",),
    )
    observed = Observations.empty(n)
    observed.up[:] = [1, 1, 0, 0, 1, math.nan, 1]
    observed.seen_s[:] = [AT_S, AT_S - 30, AT_S - 3600, AT_S - 3600, AT_S, math.nan, AT_S]
    observed.hashrate_hs[:5] = observed.hashrate_hs[6] = 1e14
    observed.reported_power_w[:] = [2800, 1800, 2800, 1500, math.nan, math.nan, 2900]
    observed.steady_hashrate_hs[:4] = 1e14
    observed.steady_power_w[:4] = [2800, 1800, 2800, 1500]
    observed.state[:] = STATE_CODES[OperatingState.MINING]
    observed.is_sha256[:] = True
    infos = tuple(MachineInfo(make="Ångström") for _ in IDS)
    snapshot = assemble(site, observed, infos, PduColumns(), AT_S, 60.0)
    numbers = {
        MarketInput.DIFFICULTY: 141.668e12,
        MarketInput.HEIGHT: 935_140.0,
        MarketInput.BLOCK_FEES_BTC: 0.025,
        MarketInput.BTC_USD: btc_usd,
    }
    market = Market(tuple(Quote(input, "fixed", value, AT_S, math.inf, math.inf) for input, value in numbers.items()))
    memory = Memory(
        ids=NEW,
        stopped=np.array([id in ("returns", "dark") for id in NEW]),
        loss_usd=np.full(len(NEW), 0.06),
        gain_usd=np.full(len(NEW), 0.0249),
        since_s=np.full(len(NEW), AT_S - 7200.0),
        at_s=AT_S - 60.0,
        stop_budget_w=1234.5,
        decision=41,
        turned_s=AT_S - 7200.0,
    )
    return site, snapshot, market, Signals(AT_S - 3600.0), policy, memory, AT_S


def assert_equal_columns(a: object, b: object) -> None:
    for f in fields(a):  # type: ignore[arg-type]
        one, other = getattr(a, f.name), getattr(b, f.name)
        if isinstance(one, np.ndarray):
            assert one.dtype == other.dtype, f.name
        np.testing.assert_array_equal(one, other, err_msg=f.name)


@pytest.mark.parametrize(
    ("policy", "btc_usd"),
    [
        (Policy(stop_ramp_ratio=1.0, start_ramp_ratio=1.0, quorum_ratio=0.5), 50_000.0),
        (Policy(stop_ramp_ratio=1.0, start_ramp_ratio=1.0, quorum_ratio=0.5), 74_000.0),
        (Policy(), 50_000.0),
        (Policy(), math.nan),
        (Policy(enabled=False), 50_000.0),
    ],
)
def test_a_decision_from_the_journal_comes_out_the_same(policy: Policy, btc_usd: float) -> None:
    given = arguments(policy, btc_usd)
    lived = think(*given)
    inputs = decode_cycle_inputs(encode_cycle_inputs(*given))
    replayed: Cycle = think(*(getattr(inputs, f.name) for f in fields(inputs)))
    assert replayed.decision_id == lived.decision_id
    assert_equal_columns(replayed.decision, lived.decision)
    assert_equal_columns(replayed.memory, lived.memory)
    assert_equal_columns(replayed.economics, lived.economics)


def test_the_replayed_cycle_says_something() -> None:
    """Of a replay that always gave one action, the test above would prove nothing."""
    cycle = think(*arguments(Policy(stop_ramp_ratio=1.0, start_ramp_ratio=1.0, quorum_ratio=0.5), 74_000.0))
    said = dict(zip(IDS, cycle.decision.action.tolist(), strict=True))
    # the cut-off at 74,000 USD and 0.05 USD/kWh is 25.9 J/TH; they do 18, 28, 15, and nobody knows
    assert (said["earns"], said["dark"], said["returns"], said["held"]) == (
        Action.RUN, Action.STOP, Action.RUN, Action.HOLD,
    )  # fmt: skip
    assert Why.MARGIN_RESTORED in Why(int(cycle.decision.reasons[IDS.index("returns")]))


def test_memory_goes_on_from_the_journal_as_if_there_had_been_no_restart() -> None:
    site, snapshot, market, signals, policy, memory, now_s = arguments(Policy(), 50_000.0)
    after = think(site, snapshot, market, signals, policy, memory, now_s).memory
    again = decode(Memory, encode(after))
    one = think(site, snapshot, market, signals, policy, after, now_s + 30.0)
    other = think(site, snapshot, market, signals, policy, again, now_s + 30.0)
    assert one.decision_id == other.decision_id
    assert_equal_columns(one.decision, other.decision)
    assert_equal_columns(one.memory, other.memory)
