"""The documents for people and scripts: shape, nulls, sums with their coverage."""

from __future__ import annotations

import json

import numpy as np
import pytest
from cycles import AT_S, NAN, make_cycle, small_cycle

from exporters.report import marginal_rows, once_document, status_document, troubled_pdus
from exporters.wording import FAULTS
from fleet.market import CrossCheck, InputState, MarketInput, Quote
from fleet.retarget import Outlook, Silence
from fleet.snapshot import MachineInfo, MeterDoubt, PduColumns, PduDoubt
from fleet.tariff import PowerPrice


def as_json(document):
    return json.loads(json.dumps(document, allow_nan=False))


def test_once_tells_each_machine_with_what_is_unknown_as_null():
    document = as_json(once_document(small_cycle()))
    assert list(document) == ["site", "at", "machines", "pdus", "alarms", "market", "recommendation"]
    assert document["site"] == "north"
    assert document["at"] == "2027-01-15T08:00:00.000Z"
    first, second, silent = document["machines"]
    assert first == {
        "id": "a1", "provisional": False, "ip": "10.1.0.1", "make": "Antminer", "model": "S19j Pro", "mode": None,
        "pool": "pool.example", "up": True, "fault": None, "state": "mining", "age_s": 3.0,
        "hashrate_hs": 1.0e14, "hashrate_window_s": 1800.0, "hashrate_key": "GHS 30m",
        "power_w": 3250.0, "power_source": "metered", "power_age_s": 7.0, "power_key": None, "power_side": None,
        "calibration_ratio": 1.08, "meter_doubt": [],
        "temperature_c": {"board_0": 61.0, "chip_0": 74.5, "inlet": 24.0},
        "work_ratio": 0.99, "suspect": [], "conflict_with": None, "errors": [],
        "tariff": None, "power_usd_kwh": 0.06,
        "margin_usd_h": 0.025, "margin_error_usd_h": 0.003, "kept_margin_usd_h": 0.01875, "breakeven_usd_kwh": 0.0366,
        "breakeven_hashprice_usd_ph_day": 25.5, "breakeven_btc_usd": 56000.0, "dispatch": "run", "presets": None,
        "unpriced": None, "action": "run", "reasons": [],
    }  # fmt: skip
    assert silent == {
        "id": "c3", "provisional": True, "ip": "10.1.0.3", "make": None, "model": None, "mode": None, "pool": None,
        "up": False, "fault": "timeout", "state": "unreachable", "age_s": None,
        "hashrate_hs": None, "hashrate_window_s": None, "hashrate_key": None,
        "power_w": None, "power_source": None, "power_age_s": None, "power_key": None, "power_side": None,
        "calibration_ratio": None, "meter_doubt": [], "temperature_c": {},
        "work_ratio": None, "suspect": [], "conflict_with": None, "errors": [],
        "tariff": None, "power_usd_kwh": 0.06,
        "margin_usd_h": None, "margin_error_usd_h": None, "kept_margin_usd_h": None, "breakeven_usd_kwh": None,
        "breakeven_hashprice_usd_ph_day": None, "breakeven_btc_usd": None, "dispatch": None, "presets": None,
        "unpriced": "unreachable", "action": "run",
        "reasons": ["UNREACHABLE"],
    }  # fmt: skip
    assert (second["mode"], second["power_key"], second["power_side"]) == ("Normal", "Power", "ac")
    assert (second["suspect"], second["conflict_with"]) == (["power", "work"], "10.1.0.9")
    assert (second["tariff"], second["power_usd_kwh"], second["kept_margin_usd_h"]) == ("hosted", 0.07, -0.1125)


def test_every_tariff_in_use_stands_with_its_price_and_state():
    own, hosted = as_json(once_document(small_cycle()))["market"]["tariffs"]
    assert own == {
        "tariff": None, "power_usd_kwh": 0.06, "source": "flat", "state": "fresh", "as_of": None, "profit_share": 0.25,
    }  # fmt: skip
    assert (hosted["tariff"], hosted["state"], hosted["as_of"]) == ("hosted", "stale_soft", "2027-01-15T07:53:20.000Z")
    assert as_json(status_document(small_cycle()))["market"]["tariffs"] == [own, hosted]
    gone = make_cycle(("a",), power=(PowerPrice("", 0.06, "ercot", InputState.STALE_HARD),))
    (told,) = as_json(once_document(gone))["market"]["tariffs"]
    assert (told["power_usd_kwh"], told["state"]) == (None, "stale_hard")


def test_once_tells_the_outlets_and_whose_they_are():
    (pdu,) = as_json(once_document(small_cycle()))["pdus"]
    outlets, rows = pdu.pop("outlets"), pdu.pop("rows")
    assert pdu == {
        "id": "pdu-1", "name": 'rack "7"', "model": "AP8853", "serial": "5A1234", "profile": "apc_rpdu2",
        "engine": "gufo", "up": True, "fault": None, "last_seen": "2027-01-15T07:59:56.000Z",
        "doubts": ["near_limit", "sum"], "warnings": ["no energy"],
        "power_w": 3300.0, "is_measured": True, "resolution_w": 10.0, "energy_j": 7.2e9, "temperature_c": 31.5,
    }  # fmt: skip
    assert outlets == [
        {"id": "1", "name": "a1", "on": True, "power_w": 3250.0, "is_measured": True, "resolution_w": 10.0,
         "current_a": 14.1, "energy_j": 3.6e9, "machine": "a1"},
        {"id": "2", "name": "Outlet 2", "on": False, "power_w": None, "is_measured": True, "resolution_w": 10.0,
         "current_a": 0.0, "energy_j": None, "machine": None},
    ]  # fmt: skip
    assert [(row["kind"], row["id"], row["name"]) for row in rows] == [
        ("phase", "L1", None), ("phase", "L2", None), ("bank", "1", "left"),
    ]  # fmt: skip
    assert rows[2] == {
        "kind": "bank", "id": "1", "name": "left", "power_w": None, "is_measured": False, "current_a": 14.1,
        "current_limit_a": 16.0, "voltage_v": None, "doubts": ["near_limit"],
    }  # fmt: skip


def test_market_inputs_stand_with_state_age_and_sources():
    inputs = as_json(once_document(small_cycle()))["market"]["inputs"]
    assert inputs["btc_usd"] == {
        "value": 70_005.0, "state": "fresh", "age_s": 7.0, "sources": ["coinbase", "kraken"],
    }  # fmt: skip
    assert inputs["block_fees_btc"]["value"] == 0.02


def test_alarms_are_nothing_while_all_is_well_and_words_when_a_price_cannot_be_used():
    assert status_document(small_cycle())["alarms"] == []
    bad = {
        MarketInput.BTC_USD: InputState.CONFLICT,
        MarketInput.DIFFICULTY: InputState.STALE_SOFT,
        MarketInput.BLOCK_FEES_BTC: InputState.STALE_HARD,
    }
    cycle = make_cycle(
        ("a",),
        valuation={
            "states": bad,
            "cross_check": CrossCheck(30.0, 0.05, 60.0, InputState.FRESH, "lux\x1bor"),
        },
        power=(
            PowerPrice("", NAN, "ercot", InputState.MISSING),
            PowerPrice("hosted", 0.06, "price_json:hosted", InputState.STALE_SOFT),
            PowerPrice("gone", NAN, "ercot:gone", InputState.STALE_HARD),
        ),
    )
    told = [
        "our hashprice is +5.0% off the one of luxor", "btc usd conflict", "block fees btc stale hard",
        "power price missing", "power price of gone stale hard",
    ]  # fmt: skip
    assert status_document(cycle)["alarms"] == once_document(cycle)["alarms"] == told


def test_fees_that_are_assumed_are_said_to_be() -> None:
    assumed = Quote(MarketInput.BLOCK_FEES_BTC, "subsidy_x1.01", 0.03125, AT_S - 60, 0.0, float("inf"))
    used = {MarketInput.BLOCK_FEES_BTC: (assumed,)}
    states = {MarketInput.BLOCK_FEES_BTC: InputState.STALE_SOFT}
    document = as_json(status_document(make_cycle(("a",), valuation={"states": states, "used": used})))
    assert document["alarms"] == ["nobody tells the fees: 1% of the subsidy is assumed"]
    told = document["market"]["inputs"]["block_fees_btc"]
    assert (told["value"], told["state"], told["sources"]) == (0.03125, "stale_soft", ["subsidy_x1.01"])


@pytest.mark.parametrize(
    ("difference", "state", "is_told"),
    [
        (0.0301, InputState.FRESH, True),
        (-0.0301, InputState.STALE_SOFT, True),
        (0.0299, InputState.FRESH, False),
        (0.5, InputState.STALE_HARD, False),
        (NAN, InputState.FRESH, False),
    ],
)
def test_a_published_hashprice_is_an_alarm_only_while_it_is_current(difference, state, is_told):
    check = CrossCheck(30.0, difference, 60.0, state, "luxor")
    assert bool(status_document(make_cycle(("a",), valuation={"cross_check": check}))["alarms"]) == is_told


def test_the_outlook_stands_with_its_sigma_and_what_is_silent_with_its_reason():
    outlook = as_json(status_document(small_cycle()))["market"]["outlook"]
    assert outlook == {
        "blocks_seen": 1732, "blocks_left": 284, "change_ratio": -0.125, "change_sigma_ratio": 0.025,
        "retarget_at": "2027-01-17T12:04:00.000Z", "retarget_in_s": 187_440.0, "hashprice_usd_ph_day": 36.0,
        "hashprice_mean_usd_ph_day": 36.03, "hashprice_sigma_usd_ph_day": 1.03, "difficulty": 1.225e14,
        "drawdown_ratio": 0.25, "lag_ratio": None, "silences": {"lag": "stale"},
    }  # fmt: skip
    early = Outlook(Silence.EARLY, Silence.EARLY, Silence.MISSING, -0.08)
    outlook = as_json(once_document(make_cycle(("a",), outlook=early)))["market"]["outlook"]
    assert {name for name, value in outlook.items() if value is not None} == {"lag_ratio", "silences"}
    assert outlook["silences"] == {"forecast": "early", "hashprice": "early", "drawdown": "missing"}


@pytest.mark.parametrize("state", [InputState.STALE_HARD, InputState.CONFLICT, InputState.MISSING])
def test_an_input_that_may_not_be_used_has_no_value(state):
    valuation = {
        "states": dict.fromkeys(MarketInput, state), "difficulty": NAN, "height": NAN, "btc_usd": NAN,
        "hashprice_usd_ph_day": NAN, "power_usd_per_kwh": NAN,
    }  # fmt: skip
    if state is InputState.MISSING:
        valuation |= {"used": {}, "ages_s": {}}
    market = as_json(once_document(make_cycle(("a",), valuation=valuation)))["market"]
    assert market["hashprice_usd_ph_day"] is None
    fees = market["inputs"]["block_fees_btc"]["value"]
    assert fees == (0.02 if state is InputState.CONFLICT else None)  # in a dispute the best source's fees count
    assert all(entry["value"] is None for name, entry in market["inputs"].items() if name != "block_fees_btc")
    assert all(entry["state"] == state for entry in market["inputs"].values())


def test_status_sums_with_coverage():
    fleet = as_json(status_document(small_cycle(), AT_S + 120))["fleet"]
    assert (fleet["machines"], fleet["up"], fleet["down"], fleet["running"]) == (3, 2, 1, 2)
    assert (fleet["hashrate_hs"], fleet["hashrate_of"]) == (2.1e14, 2)
    assert fleet["power_w_by_source"] == {"metered": 3250.0, "reported": 3400.0}
    assert fleet["margin_usd_h"] == pytest.approx(0.025 - 0.1125)


def test_status_of_a_farm_that_nobody_has_seen_yet_knows_nothing_and_says_no_zero_watts():
    document = as_json(status_document(make_cycle(("a", "b"))))
    assert document["fleet"]["power_w"] is None
    assert document["fleet"]["hashrate_hs"] is None
    assert document["marginal"] == []
    assert document["recommendation"]["valid_until"] is None


def test_status_names_faults_and_the_recommendation():
    document = as_json(status_document(small_cycle(), AT_S + 120))
    assert document["faults"] == {"timeout": 1}
    pdus = document["pdus"]
    assert pdus["troubled"] == [
        {"id": "pdu-1", "fault": None, "doubts": ["near_limit", "sum"], "warnings": ["no energy"]}
    ]
    assert (pdus["count"], pdus["up"], pdus["faults"]) == (1, 1, {})
    assert pdus["doubts"] == {"near_limit": 1, "sum": 1}
    assert document["recommendation"]["actions"] == {"run": 2, "stop": 1, "preset": 0, "hold": 0}
    assert document["recommendation"]["valid_until"] == "2027-01-15T08:02:00.000Z"


def test_of_the_pdus_the_unread_come_first_then_the_doubtful_then_those_with_gaps():
    pdus = PduColumns(
        ids=("gap-1", "doubt-1", "well", "unread-1", "doubt-2", "unread-2", "gap-2"),
        up=np.array([1.0, 1.0, 1.0, 0.0, 1.0, 0.0, 1.0]),
        fault=np.array([0, 0, 0, FAULTS.index("timeout"), 0, FAULTS.index("denied"), 0], np.uint8),
        # the last word of an unread one counts for nothing; more doubts are not graver than one
        doubt=np.array([0, PduDoubt.SUM, 0, 0, PduDoubt.SUM | PduDoubt.AT_LIMIT, PduDoubt.SUM, 0], np.uint8),
        warnings=(("no energy",), (), (), (), ("no energy",), (), ("no energy", "no watts")),
    )
    cycle = make_cycle(("a",), snapshot={"pdus": pdus})
    order = ["unread-1", "unread-2", "doubt-1", "doubt-2", "gap-1", "gap-2"]
    assert [pdu["id"] for pdu in troubled_pdus(cycle)] == order
    assert [pdu["id"] for pdu in troubled_pdus(cycle, limit=3)] == order[:3]


def test_status_names_the_machines_that_somebody_should_look_at_and_why():
    document = as_json(status_document(small_cycle(), AT_S + 120))
    assert document["troubled"] == [{
        "id": "b2", "ip": "10.1.0.2", "wrong_pool": "evil.example", "conflict_with": "10.1.0.9",
        "suspect": ["power", "work"], "meter_doubt": ["power_without_hash", "ratio"],
        "errors": ["111: fan 1 is lost", "540: board 0 does not answer"],
    }]  # fmt: skip
    assert document["meter_doubts"] == {"power_without_hash": 1, "ratio": 1}
    assert document["unpriced"] == {"unreachable": 1}
    counts = {name: document["fleet"][name] for name in
              ("provisional", "wrong_pool", "conflict", "suspect", "with_errors")}  # fmt: skip
    assert counts == {"provisional": 1, "wrong_pool": 1, "conflict": 1, "suspect": 1, "with_errors": 1}


def test_errors_run_out_with_the_reading_and_a_rival_with_the_conflict():
    infos = (MachineInfo(errors=("1: old",), rival="10.0.0.9"),)
    (machine,) = once_document(make_cycle(("a",), snapshot={"infos": infos, "up": [0]}))["machines"]
    assert (machine["errors"], machine["conflict_with"]) == ([], None)
    assert status_document(make_cycle(("a",), snapshot={"infos": infos, "up": [0]}))["troubled"] == []


def test_a_machine_that_does_not_answer_works_for_no_pool():
    cycle = make_cycle(("a", "b"), snapshot={"is_expected_pool": [False, False], "up": [1, 0]})
    assert status_document(cycle)["fleet"]["wrong_pool"] == 1
    assert [row["id"] for row in status_document(cycle)["troubled"]] == ["a"]


def test_the_marginal_machines_are_those_nearest_to_zero():
    assert marginal_rows(np.array([0.5, -0.1, NAN, 0.2, -0.05]), 3).tolist() == [4, 1, 3]


def test_texts_of_devices_are_cleaned_everywhere():
    cycle = make_cycle(("id\x1b[2J",), snapshot={"infos": (MachineInfo(make="Ant\ud800", model="S19\n\x00"),)})
    (machine,) = as_json(once_document(cycle))["machines"]
    assert (machine["id"], machine["make"], machine["model"]) == ("id[2J", "Ant", "S19")


@pytest.mark.parametrize(
    ("doubt", "is_troubled"),
    [(MeterDoubt.RATIO, False), *((bit, True) for bit in MeterDoubt if bit is not MeterDoubt.RATIO)],
)
def test_a_meter_that_contradicts_its_machine_is_trouble_and_watts_of_firmware_are_not(doubt, is_troubled):
    document = as_json(status_document(make_cycle(("a",), snapshot={"meter_doubt": [doubt]})))
    assert bool(document["troubled"]) is is_troubled
    assert document["meter_doubts"] == {doubt.name.lower(): 1}
