"""Presets on their way: over the pipe where they were heard, kept once for a fleet, out as metrics and JSON."""

from __future__ import annotations

import logging
import math
from typing import Any

import pytest

from agent import preset_table
from agent.preset_table import PresetTable
from agent.table import Table
from agent.wire import FrameReader, Outcome, Report, encode_frame, outcome_frames
from exporters.prometheus import render
from exporters.report import once_document
from fleet.curtailment import Memory, Policy
from fleet.cycle import Cycle, think
from fleet.market import Market, MarketInput, Quote
from fleet.presets import NO_PRESETS
from fleet.readings import MinerReading, OperatingState, Preset
from fleet.signals import Signals
from fleet.site import Site
from fleet.tariff import FlatTariff

AT_S = 1_800_000_000.0
CURVE = (
    Preset("eco", 92e12, 2300.0, is_tuned=True),
    Preset("normal", 110e12, 3000.0, is_tuned=True),
    Preset("high", 126e12, 3680.0, is_tuned=True),
    Preset("highest", 135e12, 4200.0, is_tuned=False),
)
"""38.9 and 42.5 J/TH a step, as far as it is tuned."""

MARKET = Market(
    (
        Quote(MarketInput.DIFFICULTY, "fixed", 1.4e14, AT_S, 1e9, 1e9),
        Quote(MarketInput.HEIGHT, "fixed", 935_140.0, AT_S, 1e9, 1e9),
        Quote(MarketInput.BLOCK_FEES_BTC, "fixed", 0.02, AT_S, 1e9, 1e9),
        Quote(MarketInput.BTC_USD, "fixed", 70_000.0, AT_S, 1e9, 1e9),
    )
)
"""31.6 USD/PH/day."""


def told(presets: tuple[Preset, ...] = (), mode: str | None = "high", **said: Any) -> MinerReading:
    reading: dict[str, Any] = {
        "driver": "vnish", "make": "Antminer", "firmware": "1.2.6", "algorithm": "sha256", "hashrate_hs": 126e12,
        "hashrate_now_hs": 126e12, "hashrate_key": "hr", "state": OperatingState.MINING, "reported_power_w": 3680.0,
        "power_side": "model", "power_key": "power_consumption", "mode": mode, "presets": presets,
    }  # fmt: skip
    return MinerReading(**(reading | said))


def outcome(key: str, reading: MinerReading, at_s: float = AT_S) -> Outcome:
    return Outcome(key, "auto", at_s, 0.1, 0.0, reading=reading)


def seen(*readings: MinerReading) -> PresetTable:
    """What is kept after the readings of one machine, a minute apart."""
    table = PresetTable()
    for minute, reading in enumerate(readings):
        table.take(7, AT_S + 60 * minute, reading)
    return table


# --- over the pipe ---------------------------------------------------------------------------------------------------


def test_presets_cross_the_pipe_as_they_are_and_cost_nothing_where_none_were_heard() -> None:
    (frame,) = outcome_frames((outcome("a", told(CURVE)),))
    (report,) = FrameReader(Report).feed(bytes(frame))
    assert report.outcomes[0].reading == told(CURVE)
    silent = len(encode_frame(Report((outcome("a", told()),))))
    assert b"presets\x90" in encode_frame(Report((outcome("a", told()),)))  # the name and an empty list: 9 bytes
    assert len(frame) - silent < 80 * len(CURVE)


# --- what is kept ----------------------------------------------------------------------------------------------------


def test_a_list_holds_until_it_is_heard_again_and_the_one_in_force_is_of_every_reading() -> None:
    table = seen(told(CURVE, "high"), told(mode="normal"), told(mode="normal"))
    columns = table.columns()
    assert (columns.rows.tolist(), columns.line.tolist(), columns.told_s.tolist()) == ([7], [0], [AT_S])
    assert CURVE[int(columns.in_force[0])].name == "normal"
    assert seen(told(CURVE), told(CURVE[:2], "eco")).columns().lists.lists == (CURVE, CURVE[:2])


@pytest.mark.parametrize("mode", [None, "", "manual"])
def test_a_preset_that_is_not_named_or_not_listed_is_not_in_force(mode: str | None) -> None:
    nameless = (*CURVE, Preset(None, 80e12, 2000.0))
    assert seen(told(nameless, mode)).columns().in_force.tolist() == [-1]


def test_another_firmware_has_other_presets() -> None:
    assert not len(seen(told(CURVE), told(firmware="1.2.7")).columns().rows)
    assert not len(seen(told(CURVE), told(driver="antminer")).columns().rows)
    assert len(seen(told(CURVE), told(firmware=None), told(firmware="1.2.6")).columns().rows) == 1  # it did not say


def test_machines_of_one_model_share_their_list() -> None:
    table = PresetTable()
    for row in range(1000):
        table.take(row, AT_S, told(tuple(CURVE)))
    columns = table.columns()
    assert len(columns.lists.lists) == 1
    assert set(columns.line.tolist()) == {0}
    assert len(columns.rows) == 1000


def test_nothing_is_made_anew_while_nothing_changes() -> None:
    table = seen(told(CURVE))
    before = table.columns()
    table.take(7, AT_S + 90, told())
    table.take(8, AT_S + 90, told())
    assert table.columns() is before
    table.take(8, AT_S + 120, told(CURVE))
    assert table.columns().lists is before.lists


def test_a_fleet_without_presets_keeps_nothing() -> None:
    table = PresetTable()
    for row in range(100):
        table.take(row, AT_S, told())
    assert table.columns() is NO_PRESETS


def test_lists_without_end_are_not_kept(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(preset_table, "MAX_LISTS", 2)
    table = PresetTable()
    with caplog.at_level(logging.WARNING):
        for row in range(5):
            table.take(row, AT_S, told((Preset(f"p{row}", 1e14, 3000.0),)))
    assert table.columns().rows.tolist() == [0, 1]
    assert len(caplog.records) == 1


# --- out -------------------------------------------------------------------------------------------------------------


def cycle_of(*readings: MinerReading, usd_per_kwh: float = 0.04, now_s: float = AT_S) -> Cycle:
    table = Table(Site("north", (), tariff=FlatTariff(usd_per_kwh)), (), 30.0)
    for number, reading in enumerate(readings):
        table.take([outcome(f"10.0.0.{number}", reading)])
    snapshot = table.freeze(now_s)
    return think(table.site, snapshot, MARKET, Signals(), Policy(), Memory(), now_s, presets=table.presets())


def page(cycle: Cycle) -> list[str]:
    text = b"".join(render(cycle, now_s=AT_S)).decode()
    return [line for line in text.splitlines() if "machine_preset_" in line or "machine_marginal_" in line]


def test_only_machines_with_presets_have_their_series() -> None:
    cycle = cycle_of(told(CURVE), told(mac="0200000000aa"))
    samples = [line for line in page(cycle) if not line.startswith("#")]
    gain = float(cycle.presets.gain_usd_h[0])
    assert samples == [
        'hashwatt_machine_preset_best_power_watts{machine="ip-10-0-0-0"} 2300.0',
        f'hashwatt_machine_preset_gain_usd_per_hour{{machine="ip-10-0-0-0"}} {gain!r}',
        'hashwatt_machine_marginal_joules_per_terahash{machine="ip-10-0-0-0"} 42.5',
    ]
    hashprice = cycle.valuation.hashprice_usd_ph_day
    assert gain == pytest.approx(1.380 * 1.05 * 0.04 - hashprice / 24 * 0.034 * 0.99 * 0.996)
    assert page(cycle_of(told())) == []


def test_once_says_what_is_offered_what_is_in_force_and_what_would_earn_more() -> None:
    document: Any = once_document(cycle_of(told(CURVE), told(mac="0200000000aa"), now_s=AT_S + 30))
    listing, silent = document["machines"]
    assert silent["presets"] is None
    presets = listing["presets"]
    assert 0.0 < presets.pop("gain_usd_h") < 0.03
    assert presets.pop("cutoff_j_per_th") == pytest.approx(30.9, abs=0.2)
    assert presets == {
        "count": 4, "tuned": 3, "age_s": 30.0, "in_force": "high", "marginal_j_per_th": 42.5, "best": "eco",
        "best_hashrate_hs": 92e12, "best_power_w": 2300.0, "power": "firmware",
    }  # fmt: skip


def test_what_is_not_known_is_null_and_has_no_series() -> None:
    cycle = cycle_of(told(CURVE, mode=None))
    document: Any = once_document(cycle)
    (machine,) = document["machines"]
    presets = machine["presets"]
    assert (presets["in_force"], presets["gain_usd_h"], presets["marginal_j_per_th"]) == (None, None, None)
    assert presets["best"] == "eco"
    assert [line.split("{")[0] for line in page(cycle) if not line.startswith("#")] == [
        "hashwatt_machine_preset_best_power_watts"
    ]
    unpriced: Any = once_document(cycle_of(told(CURVE, algorithm="scrypt")))
    assert unpriced["machines"][0]["presets"]["best"] is None


def test_a_name_is_a_text_of_the_device() -> None:
    strange = Preset('e\x1b[31m"co\n', 92e12, 2300.0, is_tuned=True)
    document: Any = once_document(cycle_of(told((strange, *CURVE[1:]))))
    best = document["machines"][0]["presets"]["best"]
    assert best.isprintable()
    assert math.isfinite(document["machines"][0]["presets"]["gain_usd_h"])
