"""A cycle as JSON-ready documents for people and scripts: `hashwatt once --json`, the console view, `/status.json`.

Unknown numbers are None, never NaN and never 0; texts from devices are cleaned. A sum over the fleet stands beside the
number of machines that it covers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from exporters.wording import (
    ACTIONS,
    DISPATCHES,
    FAULTS,
    KEEPS,
    KINDS,
    METER_DOUBTS,
    OPERATING_STATES,
    PDU_DOUBTS,
    POWER_SOURCES,
    REASONS,
    clean,
    instant,
    meter_doubts,
    names,
    number,
    numbers,
    pdu_doubts,
    reasons,
    suspicions,
    truths,
    unique_names,
)
from fleet.capital import Appraisal, FeederValue
from fleet.curtailment import DISPUTED_FEES, Action
from fleet.cycle import Cycle
from fleet.market import ASSUMED_FEES, ASSUMED_FEES_RATIO, CrossCheck, InputState, MarketInput, Valuation
from fleet.retarget import Silence
from fleet.snapshot import SENSOR_SLOTS, MeterDoubt
from fleet.tariff import PowerPrice

Floats = npt.NDArray[np.float64]
Document = dict[str, object]

MARGINAL_MACHINES = 15
TROUBLED_MACHINES = TROUBLED_PDUS = 50

_SENSOR_NAMES = tuple(
    f"{sensor.value}_{index}" if sum(other is sensor for other, _ in SENSOR_SLOTS) > 1 else sensor.value
    for sensor, index in SENSOR_SLOTS
)


def once_document(cycle: Cycle, appraisal: Appraisal | None = None, failing_feeds: Sequence[Document] = ()) -> Document:
    """Everything that one round of polls found, and what we make of it.

    `failing_feeds` are told by who asked them, and are no part where none fails.
    """
    return {
        "site": clean(cycle.site.name),
        "at": instant(cycle.at_s),
        "machines": machine_rows(cycle, range(len(cycle.snapshot))),
        "pdus": pdu_rows(cycle, range(len(cycle.snapshot.pdus.ids))),
        "alarms": alarms(cycle),
        **({"failing_feeds": list(failing_feeds)} if failing_feeds else {}),
        "market": {
            **market_document(cycle.valuation),
            "tariffs": tariff_rows(cycle.power),
            "outlook": outlook_document(cycle),
        },
        "recommendation": recommendation_document(cycle),
        **worth_part(appraisal),
    }


def status_document(
    cycle: Cycle,
    lease_valid_until_s: float = math.nan,
    appraisal: Appraisal | None = None,
    failing_feeds: Sequence[Document] = (),
) -> Document:
    """The farm on one screen: totals, market, the machines nearest to their breakeven, faults, why machines are not
    priced, those that report errors, mine for another pool or share a name, and the recommendation.

    `failing_feeds` are told by who asked them, and are no part where none fails.
    """
    snapshot = cycle.snapshot
    return {
        "site": clean(cycle.site.name),
        "at": instant(cycle.at_s),
        "alarms": alarms(cycle),
        **({"failing_feeds": list(failing_feeds)} if failing_feeds else {}),
        "fleet": fleet_totals(cycle),
        "market": {
            **market_document(cycle.valuation),
            "tariffs": tariff_rows(cycle.power),
            "outlook": outlook_document(cycle),
        },
        "marginal": machine_rows(cycle, marginal_rows(cycle.economics.margin_usd_h).tolist()),
        "faults": _counts(snapshot.fault, FAULTS),
        "unpriced": _counts(cycle.economics.reason, REASONS),
        "meter_doubts": _bit_counts(snapshot.meter_doubt, METER_DOUBTS),
        "troubled": troubled_machines(cycle),
        "pdus": {
            "count": len(snapshot.pdus.ids),
            "up": int(np.count_nonzero(snapshot.pdus.up == 1.0)),
            "faults": _counts(snapshot.pdus.fault, FAULTS),
            "doubts": _bit_counts(snapshot.pdus.doubt, PDU_DOUBTS),
            "troubled": troubled_pdus(cycle),
        },
        "recommendation": {**recommendation_document(cycle), "valid_until": instant(lease_valid_until_s)},
        **worth_part(appraisal),
    }


def _counts(codes: npt.NDArray[np.uint8], words: Sequence[str | None]) -> dict[str, int]:
    """How often each word's code stands in a column; without those that do not."""
    counts = np.bincount(codes, minlength=len(words)).tolist()
    return {word: count for word, count in zip(words, counts, strict=True) if word and count}


def _bit_counts(bits: npt.NDArray[np.uint8], words: Sequence[str]) -> dict[str, int]:
    """How many rows each bit's word holds for; without those that it does not."""
    counts = {word: int(np.count_nonzero(bits & (1 << bit))) for bit, word in enumerate(words)}
    return {word: count for word, count in counts.items() if count}


GRAVE = ~MeterDoubt.RATIO & 0xFF
"""Doubts about a meter that somebody should look at; firmware whose watts are off is too common for that."""


def troubled_machines(cycle: Cycle, limit: int = TROUBLED_MACHINES) -> list[Document]:
    """The first machines that somebody should look at, with the words why: wrong pool, shared name, doubtful numbers,
    a meter that contradicts them, their own errors."""
    snapshot, ids = cycle.snapshot, unique_names(cycle.snapshot.ids)
    is_wrong_pool = ~snapshot.is_expected_pool & (snapshot.up == 1.0)
    is_doubted = (snapshot.meter_doubt & GRAVE) > 0
    is_troubled = is_wrong_pool | snapshot.is_conflict | is_doubted | (snapshot.suspect > 0)
    is_troubled |= snapshot.error_count > 0.0
    return [
        {
            "id": ids[row],
            "ip": _text(snapshot.infos[row].address),
            "wrong_pool": _text(snapshot.infos[row].pool) if is_wrong_pool[row] else None,
            "conflict_with": rival(cycle, row),
            "suspect": list(suspicions(int(snapshot.suspect[row]))),
            "meter_doubt": list(meter_doubts(int(snapshot.meter_doubt[row]))),
            "errors": errors(cycle, row),
        }
        for row in np.flatnonzero(is_troubled)[:limit].tolist()
    ]


def troubled_pdus(cycle: Cycle, limit: int = TROUBLED_PDUS) -> list[Document]:
    """The first PDUs that somebody should look at: those that are not read, then the doubtful, then those whose last
    reply left something out."""
    table, ids = cycle.snapshot.pdus, unique_names(cycle.snapshot.pdus.ids)
    is_warned = np.array([bool(words) for words in table.warnings], np.bool_)
    graveness = np.where(table.fault > 0, 3, np.where(table.doubt > 0, 2, np.where(is_warned, 1, 0)))
    order = np.argsort(-graveness, kind="stable")
    return [
        {
            "id": ids[row],
            "fault": FAULTS[table.fault[row]],
            "doubts": list(pdu_doubts(int(table.doubt[row]))),
            "warnings": [clean(words) for words in table.warnings[row]],
        }
        for row in order[graveness[order] > 0][:limit].tolist()
    ]


def rival(cycle: Cycle, row: int) -> str | None:
    """The address at which another machine answers by this one's name; None without a conflict."""
    return _text(cycle.snapshot.infos[row].rival) if cycle.snapshot.is_conflict[row] else None


def errors(cycle: Cycle, row: int) -> list[str]:
    """What the machine said of itself in its last reading, while that counts."""
    return [clean(error) for error in cycle.snapshot.infos[row].errors] if cycle.snapshot.error_count[row] > 0 else []


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
        "provisional": sum(machine.is_provisional for machine in cycle.site.machines),
        "wrong_pool": int(np.count_nonzero(~snapshot.is_expected_pool & (snapshot.up == 1.0))),
        "conflict": int(np.count_nonzero(snapshot.is_conflict)),
        "suspect": int(np.count_nonzero(snapshot.suspect)),
        "with_errors": int(np.count_nonzero(snapshot.error_count > 0.0)),
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
    columns: dict[str, Sequence[object]] = {
        "up": truths(snapshot.up[chosen]),
        "fault": names(snapshot.fault[chosen], FAULTS),
        "state": names(snapshot.state[chosen], OPERATING_STATES),
        "age_s": numbers(snapshot.age_s[chosen]),
        "hashrate_hs": numbers(snapshot.hashrate_hs[chosen]),
        "hashrate_window_s": numbers(snapshot.hashrate_window_s[chosen]),
        "power_w": numbers(snapshot.power_w[chosen]),
        "power_source": names(np.where(has_power, snapshot.power_source[chosen], 0).astype(np.uint8), POWER_SOURCES),
        "power_age_s": numbers(np.where(has_power, snapshot.power_age_s[chosen], np.nan)),
        "calibration_ratio": numbers(snapshot.calibration_ratio[chosen]),
        "meter_doubt": [list(meter_doubts(bits)) for bits in snapshot.meter_doubt[chosen].tolist()],
        "temperature_c": temperatures(snapshot.temperature_c[chosen]),
        "work_ratio": numbers(snapshot.work_ratio[chosen]),
        "suspect": [list(suspicions(bits)) for bits in snapshot.suspect[chosen].tolist()],
        "margin_usd_h": numbers(money.margin_usd_h[chosen]),
        "margin_error_usd_h": numbers(money.margin_error_usd_h[chosen]),
        "kept_margin_usd_h": numbers(money.kept_margin_usd_h[chosen]),
        "power_usd_kwh": numbers(cycle.site.by_tariff(cycle.power)[chosen]),
        "breakeven_usd_kwh": numbers(money.breakeven_usd_kwh[chosen]),
        "breakeven_hashprice_usd_ph_day": numbers(money.breakeven_hashprice_usd_ph_day[chosen]),
        "breakeven_btc_usd": numbers(money.breakeven_btc_usd[chosen]),
        "dispatch": names(money.dispatch[chosen], DISPATCHES),
        "presets": preset_documents(cycle, rows),
        "unpriced": names(money.reason[chosen], REASONS),
        "action": names(decision.action[chosen], ACTIONS),
        "reasons": [list(reasons(why)) for why in decision.reasons[chosen].tolist()],
    }
    values = zip(*columns.values(), strict=True)
    return [
        _told(cycle, row, ids[row]) | dict(zip(columns, told, strict=True))
        for row, told in zip(rows, values, strict=True)
    ]


def _told(cycle: Cycle, row: int, id: str) -> Document:
    """The texts of one machine: what it is, where its numbers come from, what it complains about."""
    info, machine = cycle.snapshot.infos[row], cycle.site.machines[row]
    return {
        "id": id,
        "provisional": machine.is_provisional,
        "ip": _text(info.address or machine.address),
        "make": _text(info.make),
        "model": _text(info.model or machine.model),
        "mode": _text(info.mode),
        "tariff": _text(machine.tariff),
        "pool": _text(info.pool),
        "hashrate_key": _text(info.hashrate_key),
        "power_key": _text(info.power_key),
        "power_side": _text(info.power_side),
        "conflict_with": rival(cycle, row),
        "errors": errors(cycle, row),
    }


def preset_documents(cycle: Cycle, rows: Sequence[int]) -> list[Document | None]:
    """Per chosen machine what its presets mean at the prices of now, None for one that lists none.

    `power` says whose watts they are: "firmware", or "calibrated" where they are corrected by the machine's meter.
    """
    money = cycle.presets
    columns, lists = money.columns, money.columns.lists.lists
    place_of = {row: place for place, row in enumerate(columns.rows.tolist())}

    def name(place: int, preset: int) -> str | None:
        return _text(lists[columns.line[place]][preset].name) if preset >= 0 else None

    def told(place: int) -> Document:
        presets = lists[columns.line[place]]
        return {
            "count": len(presets),
            "tuned": sum(preset.is_tuned is True for preset in presets),
            "age_s": number(cycle.snapshot.at_s - columns.told_s[place]),
            "in_force": name(place, int(columns.in_force[place])),
            "marginal_j_per_th": number(money.marginal_j_per_th[place]),
            "cutoff_j_per_th": number(money.cutoff_j_per_th[place]),
            "best": name(place, int(money.best[place])),
            "best_hashrate_hs": number(money.best_hashrate_hs[place]),
            "best_power_w": number(money.best_power_w[place]),
            "gain_usd_h": number(money.gain_usd_h[place]),
            "power": "calibrated" if money.is_calibrated[place] else "firmware",
        }

    return [told(place_of[row]) if row in place_of else None for row in rows]


def temperatures(table: Floats) -> list[dict[str, float]]:
    """Per row what was measured where: `{"board_0": 61.0, "inlet": 24.0}`; a place without a sensor is left out."""
    return [
        {name: value for name, value in zip(_SENSOR_NAMES, row, strict=True) if math.isfinite(value)}
        for row in table.tolist()
    ]


def _text(value: str | None) -> str | None:
    return clean(value) or None if value else None


def pdu_rows(cycle: Cycle, rows: Sequence[int]) -> list[Document]:
    """One object per chosen PDU, with its outlets and its other rows."""
    table, ids = cycle.snapshot.pdus, unique_names(cycle.snapshot.pdus.ids)
    outlets, others = _outlet_documents(cycle, rows), _row_documents(cycle, rows)
    return [
        {
            "id": ids[row],
            "name": _text(table.names[row]),
            "model": _text(table.models[row]),
            "serial": _text(table.serials[row]),
            "profile": _text(table.profiles[row]),
            "engine": _text(table.engines[row]),
            "up": None if math.isnan(table.up[row]) else bool(table.up[row]),
            "fault": FAULTS[table.fault[row]],
            "last_seen": instant(table.last_seen_s[row]),
            "doubts": list(pdu_doubts(int(table.doubt[row]))),
            "warnings": [clean(words) for words in table.warnings[row]],
            "power_w": number(table.power_w[row]),
            "is_measured": bool(table.is_measured[row]),
            "resolution_w": number(table.resolution_w[row]),
            "energy_j": number(table.energy_j[row]),
            "temperature_c": number(table.temperature_c[row]),
            "rows": others[row],
            "outlets": outlets[row],
        }
        for row in rows
    ]


def _outlet_documents(cycle: Cycle, rows: Sequence[int]) -> dict[int, list[Document]]:
    """Outlets by PDU row."""
    table, machines = cycle.snapshot.pdus, unique_names(cycle.snapshot.ids)
    wanted = np.flatnonzero(np.isin(table.outlet_pdu, np.asarray(rows, dtype=np.int64)))
    columns: dict[str, Sequence[object]] = {
        "id": [clean(table.outlet_ids[outlet]) for outlet in wanted.tolist()],
        "name": [_text(table.outlet_names[outlet]) for outlet in wanted.tolist()],
        "on": truths(table.outlet_on[wanted]),
        "power_w": numbers(table.outlet_power_w[wanted]),
        "is_measured": table.outlet_is_measured[wanted].tolist(),
        "resolution_w": numbers(table.outlet_resolution_w[wanted]),
        "current_a": numbers(table.outlet_current_a[wanted]),
        "energy_j": numbers(table.outlet_energy_j[wanted]),
        "machine": [machines[row] if row >= 0 else None for row in table.outlet_machine[wanted].tolist()],
    }
    return _by_pdu(rows, table.outlet_pdu[wanted], columns)


def _row_documents(cycle: Cycle, rows: Sequence[int]) -> dict[int, list[Document]]:
    """Units, inlets, phases, lines and banks by PDU row."""
    table = cycle.snapshot.pdus
    wanted = np.flatnonzero(np.isin(table.row_pdu, np.asarray(rows, dtype=np.int64)))
    columns: dict[str, Sequence[object]] = {
        "kind": names(table.row_kind[wanted], KINDS),
        "id": [clean(table.row_ids[row]) for row in wanted.tolist()],
        "name": [_text(table.row_names[row]) for row in wanted.tolist()],
        "power_w": numbers(table.row_power_w[wanted]),
        "is_measured": table.row_is_measured[wanted].tolist(),
        "current_a": numbers(table.row_current_a[wanted]),
        "current_limit_a": numbers(table.row_current_limit_a[wanted]),
        "voltage_v": numbers(table.row_voltage_v[wanted]),
        "doubts": [list(pdu_doubts(bits)) for bits in table.row_doubt[wanted].tolist()],
    }
    return _by_pdu(rows, table.row_pdu[wanted], columns)


def _by_pdu(
    rows: Sequence[int], of_pdu: npt.NDArray[np.int32], columns: Mapping[str, Sequence[object]]
) -> dict[int, list[Document]]:
    found: dict[int, list[Document]] = {row: [] for row in rows}
    for pdu, *told in zip(of_pdu.tolist(), *columns.values(), strict=True):
        found[pdu].append(dict(zip(columns, told, strict=True)))
    return found


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
        "btc_usd_raw": number(valuation.btc_usd_raw),
        "published": published_document(valuation.cross_check),
        "power_usd_kwh": number(valuation.power_usd_per_kwh),
        "power_source": _text(valuation.power_source),
        "power_state": valuation.power_state.value,
        "power_as_of": instant(valuation.power_as_of_s),
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


def tariff_rows(power: Sequence[PowerPrice]) -> list[Document]:
    """The price of every tariff in use; the site's own has no name and comes first."""
    return [
        {
            "tariff": _text(price.tariff),
            "power_usd_kwh": number(price.usd_per_kwh) if price.is_usable else None,
            "source": _text(price.source),
            "state": price.state.value,
            "as_of": instant(price.as_of_s),
            "profit_share": number(price.profit_share),
        }
        for price in power
    ]


UNUSABLE = (InputState.MISSING, InputState.STALE_HARD, InputState.CONFLICT)
"""States of an input that nothing is decided with."""


def alarms(cycle: Cycle) -> list[str]:
    """What is wrong with the prices that everything rests on, in words; nothing where all is well."""
    told = []
    check = cycle.valuation.cross_check
    if check.is_alarm:
        told.append(f"our hashprice is {check.difference:+.1%} off the one of {clean(check.source, 32)}")
    states = {
        **{input.value: state for input, state in cycle.valuation.states.items()},
        **{_price_in_words(price): price.state for price in cycle.power},
    }
    told += [f"{name} {state.value}".replace("_", " ") for name, state in states.items() if state in UNUSABLE]
    if any(quote.source == ASSUMED_FEES for quote in cycle.valuation.used.get(MarketInput.BLOCK_FEES_BTC, ())):
        told.append(f"nobody tells the fees: {ASSUMED_FEES_RATIO:.0%} of the subsidy is assumed")
    return told


def _price_in_words(price: PowerPrice) -> str:
    return f"power price of {clean(price.tariff)}" if price.tariff else "power price"


def published_document(check: CrossCheck) -> Document | None:
    """A hashprice that others publish beside ours, null where nobody does; `difference` is ours over theirs less 1."""
    if not check.source:
        return None
    return {
        "usd_ph_day": number(check.usd_ph_day),
        "difference": number(check.difference),
        "alarm": check.is_alarm,
        "state": check.state.value,
        "age_s": number(check.age_s),
        "source": clean(check.source, 32),
    }


def outlook_document(cycle: Cycle) -> Document:
    """The next retarget and hashprice behind it, each number with its standard deviation; `silences` says why a part
    of it is null. Nothing here has a part in the advice."""
    outlook = cycle.outlook
    forecast, hashprice = outlook.forecast, outlook.hashprice
    document: Document = dict.fromkeys((
        "blocks_seen", "blocks_left", "change_ratio", "change_sigma_ratio", "retarget_at", "retarget_in_s",
        "hashprice_usd_ph_day", "hashprice_mean_usd_ph_day", "hashprice_sigma_usd_ph_day", "difficulty",
        "drawdown_ratio", "lag_ratio",
    ))  # fmt: skip
    if not isinstance(forecast, Silence):
        document |= {
            "blocks_seen": forecast.blocks_seen,
            "blocks_left": forecast.blocks_left,
            "change_ratio": number(forecast.change_ratio),
            "change_sigma_ratio": number(forecast.sigma_ratio),
            "retarget_at": instant(forecast.retarget_at_s),
            "retarget_in_s": number(forecast.retarget_at_s - cycle.at_s),
        }
    if not isinstance(hashprice, Silence):
        document |= {
            "hashprice_usd_ph_day": number(hashprice.usd_ph_day),
            "hashprice_mean_usd_ph_day": number(hashprice.mean_usd_ph_day),
            "hashprice_sigma_usd_ph_day": number(hashprice.sigma_usd_ph_day),
            "difficulty": number(hashprice.difficulty),
        }
    for name, ratio in (("drawdown_ratio", outlook.drawdown_ratio), ("lag_ratio", outlook.lag_ratio)):
        document[name] = None if isinstance(ratio, Silence) else number(ratio)
    return document | {"silences": {part: reason.value for part, reason in outlook.silences.items()}}


def _middle(valuation: Valuation, input: MarketInput) -> float:
    """The value in use of an input that `Valuation` has no field for; NaN when its quotes may not be used."""
    if (input, valuation.states[input]) == DISPUTED_FEES:
        return valuation.used[input][0].value  # the best source's
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


def worth_part(appraisal: Appraisal | None) -> Document:
    """`worth` as the last part of a document; nothing where the operator has said nothing that a verdict is made of."""
    if appraisal is None:
        return {}
    verdicts = _counts(appraisal.worth.verdict, KEEPS)
    compared = [each for each in appraisal.feeders if math.isfinite(each.alternative_usd_kwh)]
    if not verdicts and not compared:
        return {}
    below, _ = _total(np.array([each.below_w for each in compared], np.float64))
    return {
        "worth": {
            "at": instant(appraisal.at_s),
            "verdicts": verdicts,
            "unknown": len(appraisal.ids) - sum(verdicts.values()),
            "below_alternative_w": below,
            "below_alternative_feeders": sum(each.below_w > 0.0 for each in compared),
            "feeders": feeder_rows(compared),
        }
    }


def feeder_rows(feeders: Sequence[FeederValue]) -> list[Document]:
    """One object per feeder."""
    names = unique_names(tuple(each.feeder for each in feeders))
    return [
        {
            "feeder": name,
            "machines": each.machines,
            "unpriced": each.unpriced,
            "priced_ratio": each.priced_ratio,
            "power_w": number(each.power_w),
            "mining_usd_kwh": number(each.mining_usd_kwh),
            "alternative_usd_kwh": number(each.alternative_usd_kwh),
            "below_alternative_w": number(each.below_w),
            "is_worth_more": each.is_worth_more,
        }
        for name, each in zip(names, feeders, strict=True)
    ]


def action_counts(action: npt.NDArray[np.uint8]) -> dict[str, int]:
    """Machines per recommended action."""
    counts = np.bincount(action, minlength=len(Action)).tolist()
    return dict(zip(ACTIONS, counts, strict=True))
