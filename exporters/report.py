"""A cycle as JSON-ready documents for people and scripts: `hashwatt once --json`, the console view, `/status.json`.

Unknown numbers are None, never NaN and never 0; texts from devices are cleaned. A sum over the fleet stands beside the
number of machines that it covers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from exporters.wording import (
    ACTIONS,
    FAULTS,
    OPERATING_STATES,
    POWER_SOURCES,
    clean,
    instant,
    names,
    number,
    numbers,
    reasons,
    truths,
    unique_names,
)
from fleet.curtailment import Action
from fleet.cycle import Cycle
from fleet.market import InputState, MarketInput, Valuation
from fleet.snapshot import SENSOR_SLOTS

Floats = npt.NDArray[np.float64]
Document = dict[str, object]

MARGINAL_MACHINES = 15

_SENSOR_NAMES = tuple(
    f"{sensor.value}_{index}" if sum(other is sensor for other, _ in SENSOR_SLOTS) > 1 else sensor.value
    for sensor, index in SENSOR_SLOTS
)


def once_document(cycle: Cycle) -> Document:
    """Everything that one round of polls found, and what we make of it."""
    return {
        "site": clean(cycle.site.name),
        "at": instant(cycle.at_s),
        "machines": machine_rows(cycle, range(len(cycle.snapshot))),
        "pdus": pdu_rows(cycle, range(len(cycle.snapshot.pdus.ids))),
        "market": market_document(cycle.valuation),
        "recommendation": recommendation_document(cycle),
    }


def status_document(cycle: Cycle, lease_valid_until_s: float = math.nan) -> Document:
    """The farm on one screen: totals, market, the machines nearest to their breakeven, faults, the recommendation."""
    snapshot, faults = cycle.snapshot, np.bincount(cycle.snapshot.fault, minlength=len(FAULTS))
    return {
        "site": clean(cycle.site.name),
        "at": instant(cycle.at_s),
        "fleet": fleet_totals(cycle),
        "market": market_document(cycle.valuation),
        "marginal": machine_rows(cycle, marginal_rows(cycle.economics.margin_usd_h).tolist()),
        "faults": {word: int(count) for word, count in zip(FAULTS, faults.tolist(), strict=True) if word and count},
        "pdus": {"count": len(snapshot.pdus.ids), "up": int(np.count_nonzero(snapshot.pdus.up == 1.0))},
        "recommendation": {**recommendation_document(cycle), "valid_until": instant(lease_valid_until_s)},
    }


def marginal_rows(margin_usd_h: Floats, count: int = MARGINAL_MACHINES) -> npt.NDArray[np.intp]:
    """Rows of the `count` machines whose margin is nearest to 0, nearest first; rows without a margin are left out."""
    rows = np.flatnonzero(np.isfinite(margin_usd_h))
    return rows[np.argsort(np.abs(margin_usd_h[rows]), kind="stable")[:count]]


def fleet_totals(cycle: Cycle) -> Document:
    """Sums over the fleet. `*_of` counts the machines that a sum covers; a sum over none is None."""
    snapshot, money = cycle.snapshot, cycle.economics
    hashrate, hashrate_of = _total(snapshot.hashrate_hs)
    power, power_of = _total(snapshot.power_w)
    margin, margin_of = _total(np.where(snapshot.is_running, money.margin_usd_h, np.nan))
    return {
        "machines": len(snapshot),
        "up": int(np.count_nonzero(snapshot.up == 1.0)),
        "down": int(np.count_nonzero(snapshot.up == 0.0)),
        "running": int(np.count_nonzero(snapshot.is_running)),
        "hashrate_hs": hashrate,
        "hashrate_of": hashrate_of,
        "power_w": power,
        "power_of": power_of,
        "power_w_by_source": _power_by_source(snapshot.power_w, snapshot.power_source),
        "margin_usd_h": margin,
        "margin_of": margin_of,
        "shed_w": number(cycle.decision.shed_w),
    }


def _total(column: Floats) -> tuple[float | None, int]:
    known = column[np.isfinite(column)]
    return (float(known.sum()) if len(known) else None), len(known)


def _power_by_source(power_w: Floats, source: npt.NDArray[np.uint8]) -> dict[str, float]:
    is_known = np.isfinite(power_w)
    sums = np.bincount(source[is_known], weights=power_w[is_known], minlength=len(POWER_SOURCES))
    return {word: float(watts) for word, watts in zip(POWER_SOURCES, sums.tolist(), strict=True) if word and watts}


def machine_rows(cycle: Cycle, rows: Sequence[int]) -> list[Document]:
    """One object per chosen machine."""
    chosen = np.asarray(rows, dtype=np.intp)
    snapshot, money, decision = cycle.snapshot, cycle.economics, cycle.decision
    ids = unique_names(snapshot.ids)
    has_power = np.isfinite(snapshot.power_w[chosen])
    columns = zip(
        rows,
        truths(snapshot.up[chosen]),
        names(snapshot.fault[chosen], FAULTS),
        names(snapshot.state[chosen], OPERATING_STATES),
        numbers(snapshot.hashrate_hs[chosen]),
        numbers(snapshot.power_w[chosen]),
        names(np.where(has_power, snapshot.power_source[chosen], 0).astype(np.uint8), POWER_SOURCES),
        temperatures(snapshot.temperature_c[chosen]),
        numbers(money.margin_usd_h[chosen]),
        numbers(money.breakeven_usd_kwh[chosen]),
        names(decision.action[chosen], ACTIONS),
        decision.reasons[chosen].tolist(),
        strict=True,
    )
    return [
        {
            "id": ids[row],
            "ip": _text(snapshot.infos[row].address or cycle.site.machines[row].address),
            "make": _text(snapshot.infos[row].make),
            "model": _text(snapshot.infos[row].model or cycle.site.machines[row].model),
            "up": up,
            "fault": fault,
            "state": state,
            "hashrate_hs": hashrate,
            "power_w": power,
            "power_source": source,
            "temperature_c": temperature,
            "margin_usd_h": margin,
            "breakeven_usd_kwh": breakeven,
            "action": action,
            "reasons": list(reasons(why)),
        }
        for row, up, fault, state, hashrate, power, source, temperature, margin, breakeven, action, why in columns
    ]


def temperatures(table: Floats) -> list[dict[str, float]]:
    """Per row what was measured where: `{"board_0": 61.0, "inlet": 24.0}`; a place without a sensor is left out."""
    return [
        {name: value for name, value in zip(_SENSOR_NAMES, row, strict=True) if math.isfinite(value)}
        for row in table.tolist()
    ]


def _text(value: str | None) -> str | None:
    return clean(value) or None if value else None


def pdu_rows(cycle: Cycle, rows: Sequence[int]) -> list[Document]:
    """One object per chosen PDU, with its outlets."""
    table, ids = cycle.snapshot.pdus, unique_names(cycle.snapshot.pdus.ids)
    machines = unique_names(cycle.snapshot.ids)
    outlets: dict[int, list[Document]] = {row: [] for row in rows}
    wanted = np.flatnonzero(np.isin(table.outlet_pdu, np.asarray(rows, dtype=np.int64)))
    on, power = truths(table.outlet_on[wanted]), numbers(table.outlet_power_w[wanted])
    for position, outlet in enumerate(wanted.tolist()):
        machine = int(table.outlet_machine[outlet])
        outlets[int(table.outlet_pdu[outlet])].append(
            {
                "id": clean(table.outlet_ids[outlet]),
                "on": on[position],
                "power_w": power[position],
                "is_measured": bool(table.outlet_is_measured[outlet]),
                "machine": machines[machine] if machine >= 0 else None,
            }
        )
    return [
        {
            "id": ids[row],
            "model": _text(table.models[row]),
            "profile": _text(table.profiles[row]),
            "up": None if math.isnan(table.up[row]) else bool(table.up[row]),
            "fault": FAULTS[table.fault[row]],
            "power_w": number(table.power_w[row]),
            "energy_j": number(table.energy_j[row]),
            "temperature_c": number(table.temperature_c[row]),
            "outlets": outlets[row],
        }
        for row in rows
    ]


def market_document(valuation: Valuation) -> Document:
    """Hashprice and what it is made of, each input with its state, age and sources."""
    values = {
        MarketInput.DIFFICULTY: valuation.difficulty,
        MarketInput.HEIGHT: valuation.height,
        MarketInput.BTC_USD: valuation.btc_usd,
    }
    return {
        "hashprice_usd_ph_day": number(valuation.hashprice_usd_ph_day),
        "hashprice_btc_ph_day": number(valuation.hashprice_btc_ph_day),
        "reward_btc": number(valuation.reward_btc),
        "power_usd_kwh": number(valuation.power_usd_per_kwh),
        "power_source": _text(valuation.power_source),
        "inputs": {
            input.value: {
                "value": number(values[input] if input in values else _middle(valuation, input)),
                "state": state.value,
                "age_s": number(valuation.ages_s.get(input, math.nan)),
                "sources": [clean(quote.source) for quote in valuation.used.get(input, ())],
            }
            for input, state in valuation.states.items()
        },
    }


def _middle(valuation: Valuation, input: MarketInput) -> float:
    """The value in use of an input that `Valuation` has no field for; NaN when its quotes may not be used."""
    if valuation.states[input] not in (InputState.FRESH, InputState.STALE_SOFT):
        return math.nan
    return float(np.median([quote.value for quote in valuation.used[input]]))


def recommendation_document(cycle: Cycle) -> Document:
    """The decision as a whole."""
    decision = cycle.decision
    return {
        "decision_id": cycle.decision_id,
        "mode": cycle.policy.mode.value,
        "status": decision.status.value,
        "status_reasons": list(reasons(int(decision.status_reasons))),
        "actions": action_counts(decision.action),
        "site_power_w": number(decision.site_power_w),
        "shed_w": number(decision.shed_w),
        "quorum": number(decision.quorum),
    }


def action_counts(action: npt.NDArray[np.uint8]) -> dict[str, int]:
    """Machines per recommended action."""
    counts = np.bincount(action, minlength=len(Action)).tolist()
    return dict(zip(ACTIONS, counts, strict=True))
