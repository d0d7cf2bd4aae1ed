"""Cycles made by hand: the few columns that a test names, everything else missing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from fleet.curtailment import Action, Decision, Memory, Mode, Policy, Status, Why
from fleet.cycle import Cycle
from fleet.economics import Dispatch, Economics
from fleet.market import InputState, MarketInput, Quote, Valuation
from fleet.readings import OperatingState, PowerSource, Reason, RowKind
from fleet.retarget import Forecast, NextHashprice, Outlook, Silence
from fleet.site import Machine, Site
from fleet.snapshot import (
    FAN_SLOTS,
    KIND_CODES,
    SENSOR_SLOTS,
    STATE_CODES,
    WORK_SLOTS,
    MachineInfo,
    MeterDoubt,
    PduColumns,
    PduDoubt,
    Snapshot,
    Suspect,
)
from fleet.tariff import FlatTariff, PowerPrice

AT_S = 1_800_000_000.0  # 2027-01-15T08:00:00Z
NAN = float("nan")


def column(n: int, values: Any = None, dtype: Any = np.float64) -> Any:
    """An array of `n` rows: `values` if given, else missing (NaN, 0 or False by type)."""
    if values is None:
        values = np.full(n, np.nan) if dtype is np.float64 else np.zeros(n, dtype)
    return np.array(values, dtype=dtype)


def make_snapshot(ids: tuple[str, ...], **columns: Any) -> Snapshot:
    n = len(ids)
    empty: dict[str, Any] = {
        name: np.full(n, np.nan)
        for name in (
            "up", "last_seen_s", "age_s", "hashrate_hs", "hashrate_expected_hs", "reported_power_w", "metered_power_w",
            "metered_age_s", "power_w", "power_age_s", "uptime_s", "hashrate_if_running_hs", "power_if_running_w",
            "standby_w", "hashrate_window_s", "power_limit_w", "error_count", "warning_count", "work_ratio",
            "metered_resolution_w", "power_sigma_ratio", "calibration_ratio", "calibration_spread_ratio",
        )
    }  # fmt: skip
    empty |= {
        name: np.zeros(n, np.uint8)
        for name in (
            "fault", "hashrate_reason", "power_source", "power_reason", "hashrate_if_running_source",
            "power_if_running_source", "suspect", "meter_doubt",
        )
    }  # fmt: skip
    empty |= {name: np.ones(n, bool) for name in ("is_sha256", "is_expected_pool")}
    empty |= {name: np.zeros(n, bool) for name in ("is_running", "is_conflict")}
    empty["work_total"] = np.full((n, len(WORK_SLOTS)), np.nan)
    empty["state"] = np.full(n, STATE_CODES[OperatingState.UNKNOWN], np.uint8)
    empty["temperature_c"] = np.full((n, len(SENSOR_SLOTS)), np.nan)
    empty["fan_rpm"] = np.full((n, FAN_SLOTS), np.nan)
    empty["pdus"] = PduColumns()
    empty["infos"] = tuple(MachineInfo() for _ in ids)
    given = {
        name: value if name in ("infos", "pdus") else np.array(value, dtype=empty[name].dtype)
        for name, value in columns.items()
    }
    return Snapshot(at_s=AT_S, ids=ids, **(empty | given))


def make_economics(n: int, **columns: Any) -> Economics:
    floats = (
        "hashrate_hs", "power_w", "revenue_usd_h", "energy_cost_usd_h", "margin_usd_h", "margin_error_usd_h",
        "breakeven_usd_kwh", "efficiency_j_per_th", "accepted_revenue_usd_h", "breakeven_hashprice_usd_ph_day",
        "breakeven_btc_usd", "kept_margin_usd_h",
    )  # fmt: skip
    filled = {name: column(n, columns.pop(name, None)) for name in floats}
    return Economics(
        **filled,
        is_capable=column(n, columns.pop("is_capable", None), np.bool_),
        reason=column(n, columns.pop("reason", None), np.uint8),
        dispatch=column(n, columns.pop("dispatch", None), np.uint8),
        **columns,
    )


def make_decision(n: int, **columns: Any) -> Decision:
    chosen: dict[str, Any] = {
        "status": Status.OK, "status_reasons": Why(0), "action": column(n, None, np.uint8),
        "reasons": column(n, None, np.uint32), "earliest_reversal_s": column(n), "changed": column(n, None, np.bool_),
        "site_power_w": 0.0, "shed_w": 0.0, "quorum": 1.0,
    }  # fmt: skip
    dtypes = {"action": np.uint8, "reasons": np.uint32, "earliest_reversal_s": np.float64, "changed": np.bool_}
    for name, value in columns.items():
        chosen[name] = np.array(value, dtype=dtypes[name]) if name in dtypes else value
    return Decision(**chosen)


QUOTES = {
    MarketInput.DIFFICULTY: (Quote(MarketInput.DIFFICULTY, "mempool", 1.4e14, AT_S - 60, 2700.0, 21600.0),),
    MarketInput.HEIGHT: (Quote(MarketInput.HEIGHT, "mempool", 935_140.0, AT_S - 60, 2700.0, 21600.0),),
    MarketInput.BLOCK_FEES_BTC: (Quote(MarketInput.BLOCK_FEES_BTC, "mempool", 0.02, AT_S - 60, 2700.0, 86400.0),),
    MarketInput.BTC_USD: (
        Quote(MarketInput.BTC_USD, "coinbase", 70_000.0, AT_S - 5, 120.0, 900.0),
        Quote(MarketInput.BTC_USD, "kraken", 70_010.0, AT_S - 7, 120.0, 900.0),
    ),
}


OUTLOOK = Outlook(
    Forecast(blocks_seen=1732, blocks_left=284, change_ratio=-0.125, sigma_ratio=0.025, retarget_at_s=AT_S + 187_440),
    NextHashprice(difficulty=1.225e14, usd_ph_day=36.0, mean_usd_ph_day=36.03, sigma_usd_ph_day=1.03),
    drawdown_ratio=0.25,
    lag_ratio=Silence.STALE,
)


def make_valuation(**values: Any) -> Valuation:
    return replace(
        Valuation(
            at_s=AT_S,
            difficulty=1.4e14,
            height=935_140.0,
            reward_btc=3.145,
            btc_usd=70_005.0,
            hashprice_usd_ph_day=31.5,
            hashprice_btc_ph_day=0.00045,
            states=dict.fromkeys(QUOTES, InputState.FRESH),
            ages_s={MarketInput.DIFFICULTY: 60.0, MarketInput.HEIGHT: 60.0, MarketInput.BLOCK_FEES_BTC: 60.0,
                    MarketInput.BTC_USD: 7.0},
            used=QUOTES,
            power_usd_per_kwh=0.06,
            power_source="flat",
        ),
        **values,
    )  # fmt: skip


def make_cycle(
    ids: tuple[str, ...],
    *,
    snapshot: dict[str, Any] | None = None,
    economics: dict[str, Any] | None = None,
    decision: dict[str, Any] | None = None,
    valuation: dict[str, Any] | None = None,
    policy: Policy | None = None,
    machines: tuple[Machine, ...] | None = None,
    decision_id: str = "d-1",
    outlook: Outlook = OUTLOOK,
    at_s: float = AT_S,
    site: str = "north",
    power: tuple[PowerPrice, ...] = (PowerPrice("", 0.06, "flat", InputState.FRESH),),
) -> Cycle:
    """A cycle of machines `ids`; each keyword names the columns of one of its parts."""
    n = len(ids)
    return Cycle(
        at_s=at_s,
        site=Site(name=site, machines=machines or tuple(Machine(id=id) for id in ids), tariff=FlatTariff(0.06)),
        snapshot=replace(make_snapshot(ids, **(snapshot or {})), at_s=at_s),
        valuation=make_valuation(**(valuation or {})),
        economics=make_economics(n, **(economics or {})),
        decision=make_decision(n, **(decision or {})),
        policy=policy or Policy(),
        memory=Memory(ids=ids),
        decision_id=decision_id,
        outlook=outlook,
        power=power,
    )


def small_pdus() -> PduColumns:
    """One PDU with two outlets, two phases and a bank: the first outlet carries machine 0 by its name, the second is
    off and its power unknown; machine 1 is on the bank, which carries more than it may for long."""
    return PduColumns(
        ids=("pdu-1",),
        up=np.array([1.0]),
        fault=np.zeros(1, np.uint8),
        last_seen_s=np.array([AT_S - 4]),
        power_w=np.array([3300.0]),
        energy_j=np.array([7.2e9]),
        temperature_c=np.array([31.5]),
        profiles=("apc_rpdu2",),
        models=("AP8853",),
        outlet_pdu=np.array([0, 0], np.int32),
        outlet_ids=("1", "2"),
        outlet_machine=np.array([0, -1], np.int32),
        outlet_power_w=np.array([3250.0, NAN]),
        outlet_is_measured=np.array([True, True]),
        outlet_on=np.array([1.0, 0.0]),
        outlet_at_s=np.array([AT_S - 4, AT_S - 4]),
        serials=("5A1234",),
        names=('rack "7"',),
        engines=("gufo",),
        warnings=(("no energy",),),
        is_measured=np.array([True]),
        resolution_w=np.array([10.0]),
        doubt=np.array([PduDoubt.NEAR_LIMIT | PduDoubt.SUM], np.uint8),
        outlet_names=("a1", "Outlet 2"),
        outlet_resolution_w=np.array([10.0, 10.0]),
        outlet_energy_j=np.array([3.6e9, NAN]),
        outlet_current_a=np.array([14.1, 0.0]),
        outlet_voltage_v=np.array([230.0, NAN]),
        row_pdu=np.zeros(3, np.int32),
        row_ids=("L1", "L2", "1"),
        row_names=("", "", "left"),
        row_kind=np.array([KIND_CODES[RowKind.PHASE]] * 2 + [KIND_CODES[RowKind.BANK]], np.uint8),
        row_unit=np.zeros(3, np.int32),
        row_power_w=np.array([3300.0, 0.0, NAN]),
        row_is_measured=np.array([True, True, False]),
        row_resolution_w=np.array([10.0, 10.0, NAN]),
        row_energy_j=np.full(3, NAN),
        row_current_a=np.array([14.1, 0.0, 14.1]),
        row_current_resolution_a=np.full(3, 0.1),
        row_current_limit_a=np.array([32.0, 32.0, 16.0]),
        row_voltage_v=np.array([230.0, 231.0, NAN]),
        row_at_s=np.full(3, AT_S - 4),
        row_doubt=np.array([0, 0, PduDoubt.NEAR_LIMIT], np.uint8),
        link_meter=np.array([0, 4], np.int32),
        link_machine=np.array([0, 1], np.int32),
        link_ratio=np.ones(2),
        link_is_shared=np.zeros(2, bool),
        link_is_by_name=np.array([True, False]),
    )


def small_cycle() -> Cycle:
    """Three machines: `a1` hashes at a profit, `b2` hashes at a loss and is advised to stop, `c3` does not answer.

    `b2` has more to say for itself than any real machine: errors, a namesake, a strange pool, work that does not fit.
    """
    temperature = np.full((3, len(SENSOR_SLOTS)), np.nan)
    temperature[0, 0] = 61.0  # board 0
    temperature[0, 4] = 74.5  # chip 0
    temperature[0, 8] = 24.0  # inlet
    fans = np.full((3, FAN_SLOTS), np.nan)
    fans[0, :2] = (5880.0, 5910.0)
    return make_cycle(
        ("a1", "b2", "c3"),
        machines=(
            Machine(id="a1", address="10.1.0.1", location="row 1", feeder="F1", owner="us"),
            Machine(id="b2", address="10.1.0.2", location="row 1", feeder="F1", tariff="hosted"),
            Machine(id="c3", address="10.1.0.3", mac="0200000000c3", is_provisional=True),
        ),
        snapshot={
            "infos": (
                MachineInfo(
                    "10.1.0.1",
                    "Antminer",
                    "S19j Pro",
                    "2022-06-01",
                    "0200000000a1",
                    "",
                    "antminer",
                    pool="pool.example",
                    hashrate_key="GHS 30m",
                ),
                MachineInfo(
                    "10.1.0.2",
                    "WhatsMiner",
                    "M30S++",
                    "20230101",
                    "0200000000b2",
                    "",
                    "pyasic",
                    mode="Normal",
                    pool="evil.example",
                    hashrate_key="MHS 5m",
                    power_key="Power",
                    power_side="ac",
                    errors=("111: fan 1 is lost", "540: board 0 does not answer"),
                    rival="10.1.0.9",
                ),
                MachineInfo(),
            ),
            "up": [1, 1, 0],
            "fault": [0, 0, 3],  # timeout
            "last_seen_s": [AT_S - 3, AT_S - 5, NAN],
            "power_age_s": [7.0, 5.0, NAN],
            "age_s": [3, 5, NAN],
            "hashrate_hs": [1.0e14, 1.1e14, NAN],
            "hashrate_expected_hs": [1.04e14, NAN, NAN],
            "reported_power_w": [3000, 3400, NAN],
            "metered_power_w": [3250, NAN, NAN],
            "power_w": [3250, 3400, NAN],
            "power_source": [PowerSource.METERED, PowerSource.REPORTED, PowerSource.NONE],
            "temperature_c": temperature,
            "fan_rpm": fans,
            "state": [STATE_CODES[OperatingState.MINING]] * 2 + [STATE_CODES[OperatingState.UNREACHABLE]],
            "hashrate_window_s": [1800, 300, NAN],
            "uptime_s": [86400, 3600, NAN],
            "power_limit_w": [NAN, 3500, NAN],
            "error_count": [0, 2, NAN],
            "warning_count": [0, 1, NAN],
            "work_total": [[120, 1, 2, 7.9e6, 65536], [0, 0, NAN, 0, NAN], [NAN] * len(WORK_SLOTS)],
            "work_ratio": [0.99, 0.5, NAN],
            "suspect": [0, Suspect.POWER | Suspect.WORK, 0],
            "is_conflict": [False, True, False],
            "calibration_ratio": [1.08, 1.05, NAN],
            "calibration_spread_ratio": [0.004, 0.02, NAN],
            "meter_doubt": [0, MeterDoubt.POWER_WITHOUT_HASH | MeterDoubt.RATIO, 0],
            "is_expected_pool": [True, False, True],
            "is_running": [True, True, False],
            "pdus": small_pdus(),
        },
        economics={
            "hashrate_hs": [1.0e14, 1.1e14, NAN],
            "power_w": [3250, 3400, NAN],
            "revenue_usd_h": [0.125, 0.1375, NAN],
            "energy_cost_usd_h": [0.1, 0.25, NAN],
            "accepted_revenue_usd_h": [0.12425, NAN, NAN],
            "margin_usd_h": [0.025, -0.1125, NAN],
            "margin_error_usd_h": [0.003, 0.004, NAN],
            "kept_margin_usd_h": [0.01875, -0.1125, NAN],
            "breakeven_usd_kwh": [0.0366, 0.0385, NAN],
            "breakeven_hashprice_usd_ph_day": [25.5, 57.25, NAN],
            "breakeven_btc_usd": [56000, 127000, NAN],
            "dispatch": [Dispatch.RUN, Dispatch.STOP, Dispatch.UNKNOWN],
            "reason": [Reason.NONE, Reason.NONE, Reason.UNREACHABLE],
        },
        decision={
            "action": [Action.RUN, Action.STOP, Action.RUN],
            "reasons": [0, Why.MARGIN_NEGATIVE | Why.MIN_DOWN, Why.UNREACHABLE],
            "earliest_reversal_s": [NAN, AT_S + 900, NAN],
            "changed": [False, True, False],
            "site_power_w": 6650.0,
            "shed_w": 3400.0,
        },
        policy=Policy(mode=Mode.ADVISORY),
        power=(
            PowerPrice("", 0.06, "flat", InputState.FRESH, profit_share=0.25),
            PowerPrice("hosted", 0.07, "price_json:hosted", InputState.STALE_SOFT, AT_S - 400),
        ),
    )
