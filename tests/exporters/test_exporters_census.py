"""The whole fleet in columns: what stands in it, what is null, and how its words are told."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
from cycles import AT_S, NAN, make_cycle, small_cycle

from exporters import census as of_census
from fleet.curtailment import Memory, recall
from fleet.cycle import Cycle
from fleet.market import InputState
from fleet.readings import CapableSource, PowerSource
from fleet.site import Machine
from fleet.snapshot import MachineInfo
from fleet.tariff import PowerPrice


def census(cycle: Cycle) -> bytes:
    """Of a cycle made by hand, with a memory that fits its machines."""
    return of_census.census(replace(cycle, memory=recall(Memory(), cycle.site.ids)))


WORDS = {
    "power_source": [
        "", "metered", "calibrated", "reported", "configured", "nameplate", "shared",
        "if running: none", "if running: steady", "if running: model_mean", "if running: configured",
        "if running: nameplate",
    ],
}  # fmt: skip


def test_every_machine_stands_in_columns_and_says_why_it_is_not_priced():
    document = json.loads(census(small_cycle()))
    words = document.pop("words")
    assert document == {
        "schema": "hashwatt.fleet/2",
        "site": "north",
        "at": "2027-01-15T08:00:00.000Z",
        "terms": {"pool_fee": 0.01, "reject": 0.004, "overhead": 0.05, "certainty_sigmas": 1.0},
        "market": {
            "difficulty": 1.4e14, "reward_btc": 3.145, "hashprice_usd_ph_day": 31.5, "power_usd_kwh": 0.06,
        },
        "tariffs": [
            {"name": "", "power_usd_kwh": 0.06, "profit_share": 0.25},
            {"name": "hosted", "power_usd_kwh": 0.07, "profit_share": 0.0},
        ],
        "machines": {
            "id": ["a1", "b2", "c3"],
            "model": [0, 1, -1],
            "feeder": [0, 0, -1],
            "hashrate_hs": [1.0e14, None, None],
            "power_w": [3250.0, None, None],
            "standby_w": [None, None, None],
            "power_source": [1, 3, 0],
            "unpriced": [0, words["unpriced"].index("conflict"), words["unpriced"].index("unreachable")],
            "power_usd_kwh": [0.06, 0.07, 0.06],
            "tariff": [-1, 0, -1],
            "unpriced_now": [0, 0, words["unpriced"].index("unreachable")],
            "dispatch": [words["dispatch"].index(word) for word in ("run", "stop", "")],
            "margin_error_usd_h": [0.003, 0.004, None],
        },
    }  # fmt: skip
    assert words["model"] == ["S19j Pro", "M30S++"]
    assert words["feeder"] == ["F1"]
    assert words["power_source"] == WORDS["power_source"]
    assert words["unpriced"][0] == ""
    assert words["unpriced_now"] == words["unpriced"]
    assert words["tariff"] == ["hosted"]


def test_a_market_that_is_missing_leaves_nobody_unpriced_and_a_stopped_machine_is_what_it_could_be():
    cycle = make_cycle(
        ("runs", "sleeps"),
        machines=(Machine("runs", tariff="hosted"), Machine("sleeps")),
        snapshot={
            "up": [1, 1],
            "is_running": [True, False],
            "hashrate_hs": [2e14, NAN],
            "power_w": [3500, 30],
            "power_source": [PowerSource.REPORTED, PowerSource.METERED],
            "hashrate_if_running_hs": [NAN, 1e14],
            "power_if_running_w": [NAN, 3000],
            "power_if_running_source": [0, CapableSource.STEADY],
            "standby_w": [30, 30],
        },
        valuation={"hashprice_usd_ph_day": NAN, "difficulty": NAN, "reward_btc": NAN, "power_usd_per_kwh": NAN},
    )
    prices = (
        PowerPrice("", NAN, "file", InputState.MISSING), PowerPrice("hosted", 0.08, "flat", InputState.FRESH),
    )  # fmt: skip
    document = json.loads(census(replace(cycle, power=prices)))
    assert set(document["market"].values()) == {None}
    machines = document["machines"]
    assert machines["unpriced"] == [0, 0]
    assert machines["hashrate_hs"] == [2e14, 1e14]
    assert machines["power_w"] == [3500.0, 3000.0]
    assert machines["power_usd_kwh"] == [0.08, None]
    named = document["words"]["power_source"]
    assert [named[place] for place in machines["power_source"]] == ["reported", "if running: steady"]


def test_words_of_devices_are_cleaned_and_stand_once():
    model = "S21\x1b[2J"
    cycle = make_cycle(
        ("a", "b\n", "b"),
        snapshot={"infos": (MachineInfo(model=model), MachineInfo(), MachineInfo(model=model))},
        machines=tuple(Machine(id, model="T21", feeder="F\x07") for id in ("a", "b\n", "b")),
    )
    text = census(cycle).decode()
    document = json.loads(text)
    assert document["words"]["model"] == ["S21[2J", "T21"]
    assert document["machines"]["model"] == [0, 1, 0]
    assert document["words"]["feeder"] == ["F"]
    assert len(set(document["machines"]["id"])) == 3
    assert "\\u00" not in text


def test_a_large_fleet_costs_some_60_bytes_a_machine():
    n = 10_000
    cycle = make_cycle(
        tuple(f"m{i:05}" for i in range(n)),
        snapshot={
            "up": np.ones(n), "is_running": np.ones(n, bool), "hashrate_hs": np.full(n, 1.04e14),
            "power_w": np.linspace(3000.1, 3500.2, n), "standby_w": np.full(n, 30.0),
        },
        at_s=AT_S,
    )  # fmt: skip
    assert len(census(cycle)) < 100 * n
