"""The table of every metric: name, help, type, unit, labels, and how its columns come out of a cycle.

Each name stands here once. The page, `docs/metrics.md`, the dashboards and the alert rules derive from these rows; what
the agent counts about itself is declared here too (without `columns`) and handed over as a ready `Family`.
Series of a machine carry the label `machine` alone; everything descriptive stands on `machine_info`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from exporters.columns import (
    Codes,
    Column,
    Columns,
    View,
    advice,
    appraised,
    appraised_codes,
    buckets,
    feeders,
    machine_codes,
    machine_flags,
    machine_infos,
    machine_slots,
    machine_truths,
    machines,
    outlets,
    pdu_codes,
    pdu_flags,
    pdu_infos,
    pdu_row_flags,
    pdu_rows,
    pdus,
    preset_machines,
    single,
    site,
    while_leased,
    wired_outlets,
    wired_rows,
)
from exporters.wording import (
    ACTIONS,
    DISPATCHES,
    FAULTS,
    KEEPS,
    METER_DOUBTS,
    OPERATING_STATES,
    PDU_DOUBTS,
    POWER_SOURCES,
    REASONS,
    SUSPICIONS,
)
from fleet.cycle import Cycle
from fleet.retarget import Forecast, NextHashprice, Outlook, Silence
from fleet.snapshot import FAN_SLOTS, SENSOR_SLOTS, WORK_SLOTS
from fleet.tariff import PowerPrice

POLL_DURATION_EDGES_S = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0)
CYCLE_DURATION_EDGES_S = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
MERIT_EDGES_USD_PER_KWH = tuple(step / 200 for step in range(41))
"""0.000 to 0.200 by 0.005, the same on every gateway, so that the curves of many sites add up."""


class Kind(StrEnum):
    GAUGE = "gauge"
    COUNTER = "counter"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, eq=False, slots=True)
class Metric:
    """One row of the table. `unit` is empty for states and counts; `columns` is None for what the agent hands over."""

    name: str
    help: str
    kind: Kind
    unit: str
    labels: tuple[str, ...] = ()
    columns: Columns | None = None

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, eq=False, slots=True)
class Family:
    """A metric with its columns, ready to print."""

    metric: Metric
    columns: Sequence[Column]


def family(metric: Metric, values: Mapping[tuple[str, ...], float]) -> Family:
    """A family of the agent's own: label values, in the order of `metric.labels`, -> value (NaN = not printed)."""
    return Family(metric, [single(value, **_labels(metric, key)) for key, value in values.items()])


def histogram(
    metric: Metric, edges: Sequence[float], series: Mapping[tuple[str, ...], tuple[Sequence[float], float]]
) -> Family:
    """A histogram of the agent's own: label values -> (count per edge and one above the last, sum of all values)."""
    return Family(
        metric,
        [
            column
            for key, (counts, total) in series.items()
            for column in buckets(_labels(metric, key), edges, np.asarray(counts, dtype=np.float64), total)
        ],
    )


def _labels(metric: Metric, key: tuple[str, ...]) -> dict[str, str]:
    return dict(zip(metric.labels, key, strict=True))


def _power_source(cycle: Cycle) -> Codes:
    """The source in force; NONE where there are no watts that it could be the source of."""
    return np.where(np.isfinite(cycle.snapshot.power_w), cycle.snapshot.power_source, 0).astype(np.uint8)


def _state(cycle: Cycle) -> Codes:
    """The state of each machine that was ever looked at; of any other not even `unknown` is known."""
    return np.where(np.isnan(cycle.snapshot.up), len(OPERATING_STATES), cycle.snapshot.state).astype(np.uint8)


def _counted(name: str) -> Columns:
    """One of the counters of accepted and rejected work."""
    slot = WORK_SLOTS.index(name)
    return machines(lambda cycle: cycle.snapshot.work_total[:, slot])


def _quotes(view: View) -> Sequence[Column]:
    used = view.cycle.valuation.used
    return [
        single(quote.as_of_s, input=input.value, source=quote.source)
        for input, quotes in used.items()
        for quote in quotes
    ]


def _input_states(view: View) -> Sequence[Column]:
    return [single(1.0, input=input.value, state=state.value) for input, state in view.cycle.valuation.states.items()]


def _published(view: View) -> Sequence[Column]:
    check = view.cycle.valuation.cross_check
    return [single(check.usd_ph_day, source=check.source, state=check.state.value)] if check.source else []


def _alarm(view: View) -> Sequence[Column]:
    check = view.cycle.valuation.cross_check
    return [single(float(check.is_alarm))] if check.source else []


def _power_state(view: View) -> Sequence[Column]:
    valuation = view.cycle.valuation
    return [single(1.0, source=valuation.power_source, state=valuation.power_state.value)]


SITE_TARIFF = "(site)"
"""How the site's own tariff is labelled; no named one can have such a name."""


def _tariffs(value: Callable[[PowerPrice], float]) -> Columns:
    """One series per tariff in use."""
    return lambda view: [single(value(price), tariff=price.tariff or SITE_TARIFF) for price in view.cycle.power]


def _tariff_states(view: View) -> Sequence[Column]:
    return [
        single(1.0, tariff=price.tariff or SITE_TARIFF, source=price.source, state=price.state.value)
        for price in view.cycle.power
    ]


def _merit(view: View) -> Sequence[Column]:
    """Running, priced machines: the watts that go out when power costs more than the edge."""
    money, is_running = view.cycle.economics, view.cycle.snapshot.is_running
    is_counted = is_running & np.isfinite(money.breakeven_usd_kwh) & np.isfinite(money.power_w)
    if not is_counted.any():
        return []
    at, watts = money.breakeven_usd_kwh[is_counted], money.power_w[is_counted]
    bucket = np.searchsorted(np.array(MERIT_EDGES_USD_PER_KWH), at, side="left")
    # Whole watts, because a histogram's counts are integers to every reader.
    counts = np.rint(np.bincount(bucket, weights=watts, minlength=len(MERIT_EDGES_USD_PER_KWH) + 1))
    return buckets({}, MERIT_EDGES_USD_PER_KWH, counts, float(watts @ at))


def _valid_until(view: View) -> Sequence[Column]:
    # It outlives the lease, unlike the advice: alerts compare it with the clock.
    return [single(view.lease_valid_until_s)]


def _forecast(value: Callable[[Forecast], float]) -> Columns:
    return site(lambda c: math.nan if isinstance(c.outlook.forecast, Silence) else value(c.outlook.forecast))


def _next_hashprice(value: Callable[[NextHashprice], float]) -> Columns:
    return site(lambda c: math.nan if isinstance(c.outlook.hashprice, Silence) else value(c.outlook.hashprice))


def _ratio(part: Callable[[Outlook], float | Silence]) -> Columns:
    def value(cycle: Cycle) -> float:
        told = part(cycle.outlook)
        return math.nan if isinstance(told, Silence) else told

    return site(value)


def _silences(view: View) -> Sequence[Column]:
    return [single(1.0, part=part, reason=reason.value) for part, reason in view.cycle.outlook.silences.items()]


def _appraised_at(view: View) -> Sequence[Column]:
    return [] if view.appraisal is None else [single(view.appraisal.at_s)]


_SENSORS = [{"sensor": sensor.value, "index": str(index)} for sensor, index in SENSOR_SLOTS]
_FANS = [{"fan": str(index)} for index in range(FAN_SLOTS)]
_M = ("machine",)
_ROW = ("pdu", "kind", "row")
_USD_H = "usd_per_hour"
_AT = "timestamp_seconds"

# fmt: off
MACHINE_UP = Metric("hashwatt_machine_up",
    "1 if the last poll of the machine gave a reading, 0 if not.",
    Kind.GAUGE, "", _M, machines(lambda c: c.snapshot.up))
MACHINE_STATE = Metric("hashwatt_machine_state",
    "1 for what the evidence says that the machine is doing.",
    Kind.GAUGE, "", ("machine", "state"), machine_codes("state", (*OPERATING_STATES, None), _state))
MACHINE_HASHRATE = Metric("hashwatt_machine_hashrate_hashes_per_second",
    "Hashrate over the machine's money window (5 to 30 minutes).",
    Kind.GAUGE, "hashes_per_second", _M, machines(lambda c: c.snapshot.hashrate_hs))
MACHINE_HASHRATE_WINDOW = Metric("hashwatt_machine_hashrate_window_seconds",
    "Length of the window over which the machine averaged that hashrate; no series where it does not say so.",
    Kind.GAUGE, "seconds", _M, machines(lambda c: c.snapshot.hashrate_window_s))
MACHINE_EXPECTED_HASHRATE = Metric("hashwatt_machine_expected_hashrate_hashes_per_second",
    "Hashrate that the machine itself expects of its model and preset.",
    Kind.GAUGE, "hashes_per_second", _M, machines(lambda c: c.snapshot.hashrate_expected_hs))
MACHINE_POWER = Metric("hashwatt_machine_power_watts",
    "Wall power that economics uses, from the best source at hand.",
    Kind.GAUGE, "watts", _M, machines(lambda c: c.snapshot.power_w))
MACHINE_METERED_POWER = Metric("hashwatt_machine_metered_power_watts",
    "Power metered at the machine's own meter: an outlet, the sum of its cords, a bank.",
    Kind.GAUGE, "watts", _M, machines(lambda c: c.snapshot.metered_power_w))
MACHINE_REPORTED_POWER = Metric("hashwatt_machine_reported_power_watts",
    "Power that the machine says it draws.",
    Kind.GAUGE, "watts", _M, machines(lambda c: c.snapshot.reported_power_w))
MACHINE_POWER_LIMIT = Metric("hashwatt_machine_power_limit_watts",
    "Power that the machine was told not to exceed; some do.",
    Kind.GAUGE, "watts", _M, machines(lambda c: c.snapshot.power_limit_w))
MACHINE_POWER_SOURCE = Metric("hashwatt_machine_power_source",
    "1 for the source of hashwatt_machine_power_watts.",
    Kind.GAUGE, "", ("machine", "source"), machine_codes("source", POWER_SOURCES, _power_source))
MACHINE_CALIBRATION = Metric("hashwatt_machine_power_calibration_ratio",
    "Metered over reported power as learned from the machine's own meter, or else from others of its model.",
    Kind.GAUGE, "ratio", _M, machines(lambda c: c.snapshot.calibration_ratio))
MACHINE_CALIBRATION_SPREAD = Metric("hashwatt_machine_power_calibration_spread_ratio",
    "Relative standard deviation of that ratio.",
    Kind.GAUGE, "ratio", _M, machines(lambda c: c.snapshot.calibration_spread_ratio))
MACHINE_METER_DOUBT = Metric("hashwatt_machine_meter_doubt",
    "1 for what its meter says against the machine, or speaks against its meter: power_without_hash, ratio, "
    "hash_without_power and excess (then it is not used), contested and replaced (then it has none).",
    Kind.GAUGE, "", ("machine", "reason"), machine_flags("reason", METER_DOUBTS, lambda c: c.snapshot.meter_doubt))
MACHINE_TEMPERATURE = Metric("hashwatt_machine_temperature_celsius",
    "Temperature by place: board, chip, inlet, outlet, psu, regulator.",
    Kind.GAUGE, "celsius", ("machine", "sensor", "index"), machine_slots(lambda c: c.snapshot.temperature_c, _SENSORS))
MACHINE_FAN_SPEED = Metric("hashwatt_machine_fan_speed_rpm",
    "Fan speed in revolutions per minute.",
    Kind.GAUGE, "rpm", ("machine", "fan"), machine_slots(lambda c: c.snapshot.fan_rpm, _FANS))
MACHINE_UPTIME = Metric("hashwatt_machine_uptime_seconds",
    "Time since the mining process of the machine started.",
    Kind.GAUGE, "seconds", _M, machines(lambda c: c.snapshot.uptime_s))
MACHINE_SHARES_ACCEPTED = Metric("hashwatt_machine_shares_accepted_total",
    "Shares that the pool accepted; a machine that starts its own count again goes on from here.",
    Kind.COUNTER, "", _M, _counted("shares_accepted"))
MACHINE_SHARES_REJECTED = Metric("hashwatt_machine_shares_rejected_total",
    "Shares that the pool rejected.",
    Kind.COUNTER, "", _M, _counted("shares_rejected"))
MACHINE_SHARES_STALE = Metric("hashwatt_machine_shares_stale_total",
    "Shares that came too late.",
    Kind.COUNTER, "", _M, _counted("shares_stale"))
MACHINE_DIFFICULTY_ACCEPTED = Metric("hashwatt_machine_difficulty_accepted_total",
    "Sum of the difficulties of accepted shares; times 2^32 it is hashes.",
    Kind.COUNTER, "", _M, _counted("difficulty_accepted"))
MACHINE_DIFFICULTY_REJECTED = Metric("hashwatt_machine_difficulty_rejected_total",
    "Sum of the difficulties of rejected shares.",
    Kind.COUNTER, "", _M, _counted("difficulty_rejected"))
MACHINE_WORK_RATIO = Metric("hashwatt_machine_work_ratio",
    "Hashrate that accepted work proves over the hashrate that the machine claims, over some 120 shares.",
    Kind.GAUGE, "ratio", _M, machines(lambda c: c.snapshot.work_ratio))
MACHINE_SUSPECT = Metric("hashwatt_machine_suspect",
    "1 for what the machine says against other evidence: hashrate and power are then not used, work is only told.",
    Kind.GAUGE, "", ("machine", "quantity"), machine_flags("quantity", SUSPICIONS, lambda c: c.snapshot.suspect))
MACHINE_ERRORS = Metric("hashwatt_machine_errors",
    "Errors that the machine reports about itself; the status document has the words.",
    Kind.GAUGE, "", _M, machines(lambda c: c.snapshot.error_count))
MACHINE_WARNINGS = Metric("hashwatt_machine_warnings",
    "What was repaired, missing or doubtful in the machine's last reply.",
    Kind.GAUGE, "", _M, machines(lambda c: c.snapshot.warning_count))
MACHINE_WRONG_POOL = Metric("hashwatt_machine_wrong_pool",
    "1 while a machine that answers works for a pool that pools.expected does not name; no series otherwise.",
    Kind.GAUGE, "", _M, machine_truths(lambda c: ~c.snapshot.is_expected_pool & (c.snapshot.up == 1.0)))
MACHINE_CONFLICT = Metric("hashwatt_machine_conflict",
    "1 while one MAC or serial answers at two addresses; no series otherwise.",
    Kind.GAUGE, "", _M, machine_truths(lambda c: c.snapshot.is_conflict))
MACHINE_UNPRICED = Metric("hashwatt_machine_unpriced",
    "1 for the reason why the machine has no margin and no advice; no series for one that has.",
    Kind.GAUGE, "", ("machine", "reason"), machine_codes("reason", REASONS, lambda c: c.economics.reason))
MACHINE_REVENUE = Metric("hashwatt_machine_revenue_usd_per_hour",
    "What the machine's work earns; of a standing machine, what it would earn.",
    Kind.GAUGE, _USD_H, _M, machines(lambda c: c.economics.revenue_usd_h))
MACHINE_ACCEPTED_REVENUE = Metric("hashwatt_machine_accepted_revenue_usd_per_hour",
    "What the machine earns by the work that its pool accepted, over some 120 shares; no margin rests on it.",
    Kind.GAUGE, _USD_H, _M, machines(lambda c: c.economics.accepted_revenue_usd_h))
MACHINE_ENERGY_COST = Metric("hashwatt_machine_energy_cost_usd_per_hour",
    "What the machine's power costs, site losses included.",
    Kind.GAUGE, _USD_H, _M, machines(lambda c: c.economics.energy_cost_usd_h))
MACHINE_MARGIN = Metric("hashwatt_machine_margin_usd_per_hour",
    "Revenue less energy cost.",
    Kind.GAUGE, _USD_H, _M, machines(lambda c: c.economics.margin_usd_h))
MACHINE_MARGIN_ERROR = Metric("hashwatt_machine_margin_error_usd_per_hour",
    "One standard deviation of the margin.",
    Kind.GAUGE, _USD_H, _M, machines(lambda c: c.economics.margin_error_usd_h))
MACHINE_KEPT_MARGIN = Metric("hashwatt_machine_kept_margin_usd_per_hour",
    "What the operator keeps of the margin where the host takes a share of what is above zero, else the margin itself.",
    Kind.GAUGE, _USD_H, _M, machines(lambda c: c.economics.kept_margin_usd_h))
MACHINE_BREAKEVEN = Metric("hashwatt_machine_breakeven_usd_per_kilowatt_hour",
    "Power price at which the margin is 0.",
    Kind.GAUGE, "usd_per_kilowatt_hour", _M, machines(lambda c: c.economics.breakeven_usd_kwh))
MACHINE_BREAKEVEN_HASHPRICE = Metric("hashwatt_machine_breakeven_hashprice_usd_per_ph_day",
    "Hashprice at which the margin is 0.",
    Kind.GAUGE, "usd_per_ph_day", _M, machines(lambda c: c.economics.breakeven_hashprice_usd_ph_day))
MACHINE_BREAKEVEN_BTC = Metric("hashwatt_machine_breakeven_btc_usd",
    "Price of one bitcoin at which the margin is 0, at the difficulty and reward of now.",
    Kind.GAUGE, "usd", _M, machines(lambda c: c.economics.breakeven_btc_usd))
MACHINE_DISPATCH = Metric("hashwatt_machine_dispatch",
    "1 for what the margin alone says: run, stop, or uncertain where it is smaller than its error or accepted work "
    "contradicts it. It is no advice, and there is no series without a margin.",
    Kind.GAUGE, "", ("machine", "verdict"), machine_codes("verdict", DISPATCHES, lambda c: c.economics.dispatch))
MACHINE_KEEP_VALUE = Metric("hashwatt_machine_keep_value_usd",
    "What keeping the machine is worth over the months that the operator names, less what its place costs.",
    Kind.GAUGE, "usd", _M, appraised(lambda a: a.worth.keep_usd))
MACHINE_KEEP_ERROR = Metric("hashwatt_machine_keep_value_error_usd",
    "One standard deviation of that worth, from that of the margin.",
    Kind.GAUGE, "usd", _M, appraised(lambda a: a.worth.keep_error_usd))
MACHINE_RESALE = Metric("hashwatt_machine_resale_usd",
    "What the machine would fetch today, by the operator's price per TH/s.",
    Kind.GAUGE, "usd", _M, appraised(lambda a: a.worth.resale_usd))
MACHINE_RETIRE = Metric("hashwatt_machine_retire",
    "1 for whether the machine is worth its place: keep, retire, or uncertain where the difference is smaller than its "
    "error. It turns nothing, and there is no series where a term of it is not told.",
    Kind.GAUGE, "", ("machine", "verdict"), appraised_codes("verdict", KEEPS, lambda a: a.worth.verdict))
MACHINE_PRESET_POWER = Metric("hashwatt_machine_preset_best_power_watts",
    "Power of the preset of its firmware that earns most at the prices of now: the firmware's own watts, times the "
    "machine's calibration where it has one. Only of machines that list presets; it is no advice.",
    Kind.GAUGE, "watts", _M, preset_machines(lambda m: m.best_power_w))
MACHINE_PRESET_GAIN = Metric("hashwatt_machine_preset_gain_usd_per_hour",
    "What that preset earns more than the one in force, 0 where it is the one; no series where none is known to be.",
    Kind.GAUGE, _USD_H, _M, preset_machines(lambda m: m.gain_usd_h))
MACHINE_MARGINAL = Metric("hashwatt_machine_marginal_joules_per_terahash",
    "Joules per terahash of the last step up to the preset in force, from the next lower one that is worth running.",
    Kind.GAUGE, "joules_per_terahash", _M, preset_machines(lambda m: m.marginal_j_per_th))
MACHINE_RECOMMENDED = Metric("hashwatt_machine_recommended",
    "1 for the action that is recommended; no series once the lease has run out.",
    Kind.GAUGE, "", ("machine", "action"), while_leased(machine_codes("action", ACTIONS, lambda c: c.decision.action)))
MACHINE_LAST_SEEN = Metric("hashwatt_machine_last_seen_timestamp_seconds",
    "Time of the last reading.",
    Kind.GAUGE, _AT, _M, machines(lambda c: c.snapshot.last_seen_s))
MACHINE_FAULT = Metric("hashwatt_machine_fault",
    "1 for the fault of the last poll; no series without one.",
    Kind.GAUGE, "", ("machine", "kind"), machine_codes("kind", FAULTS, lambda c: c.snapshot.fault))
MACHINE_INFO = Metric("hashwatt_machine_info",
    "What and where the machine is; always 1, join on machine. provisional is true where its id is only an address.",
    Kind.GAUGE, "info",
    ("machine", "ip", "make", "model", "firmware", "mac", "location", "feeder", "owner", "provisional"), machine_infos)

PDU_UP = Metric("hashwatt_pdu_up",
    "1 if the last poll of the PDU gave a reading, 0 if not.",
    Kind.GAUGE, "", ("pdu",), pdus(lambda c: c.snapshot.pdus.up))
PDU_POWER = Metric("hashwatt_pdu_power_watts",
    "Power of the whole PDU, by its own total.",
    Kind.GAUGE, "watts", ("pdu",), pdus(lambda c: c.snapshot.pdus.power_w))
PDU_ENERGY = Metric("hashwatt_pdu_energy_joules_total",
    "Energy that the PDU has counted; a counter that wraps or is set back goes on from here.",
    Kind.COUNTER, "joules", ("pdu",), pdus(lambda c: c.snapshot.pdus.energy_j))
PDU_TEMPERATURE = Metric("hashwatt_pdu_temperature_celsius",
    "Temperature that the PDU measures.",
    Kind.GAUGE, "celsius", ("pdu",), pdus(lambda c: c.snapshot.pdus.temperature_c))
PDU_FAULT = Metric("hashwatt_pdu_fault",
    "1 for the fault of the last poll; no series without one.",
    Kind.GAUGE, "", ("pdu", "kind"), pdu_codes("kind", FAULTS, lambda t: t.fault))
PDU_LAST_SEEN = Metric("hashwatt_pdu_last_seen_timestamp_seconds",
    "Time of the last reading.",
    Kind.GAUGE, _AT, ("pdu",), pdus(lambda c: c.snapshot.pdus.last_seen_s))
PDU_WARNINGS = Metric("hashwatt_pdu_warnings",
    "What was missing or doubtful in the PDU's last reply; the status document has the words.",
    Kind.GAUGE, "", ("pdu",), pdus(lambda c: np.array([float(len(words)) for words in c.snapshot.pdus.warnings])))
PDU_DOUBT = Metric("hashwatt_pdu_doubt",
    "1 for what somebody should look at: near_limit (80 % of a rating for 10 minutes), at_limit (95 %), imbalance of "
    "phases, sum of outlets unlike the total, frozen values, replaced by another serial.",
    Kind.GAUGE, "", ("pdu", "reason"), pdu_flags("reason", PDU_DOUBTS, lambda t: t.doubt))
PDU_INFO = Metric("hashwatt_pdu_info",
    "What and who the PDU is, and which engine speaks SNMP with it; always 1, join on pdu.",
    Kind.GAUGE, "info", ("pdu", "profile", "model", "serial", "name", "engine"), pdu_infos)
PDU_ROW_POWER = Metric("hashwatt_pdu_row_power_watts",
    "Power of a unit, inlet, phase or bank. Rows of different kinds see the same load and are never added.",
    Kind.GAUGE, "watts", _ROW, pdu_rows(lambda t: t.row_power_w))
PDU_CURRENT = Metric("hashwatt_pdu_current_amperes",
    "Current of a unit, inlet, phase, line or bank.",
    Kind.GAUGE, "amperes", _ROW, pdu_rows(lambda t: t.row_current_a))
PDU_CURRENT_LIMIT = Metric("hashwatt_pdu_current_limit_amperes",
    "Rating of its breaker or line.",
    Kind.GAUGE, "amperes", _ROW, pdu_rows(lambda t: t.row_current_limit_a))
PDU_VOLTAGE = Metric("hashwatt_pdu_voltage_volts",
    "Voltage of a unit, inlet, phase or bank.",
    Kind.GAUGE, "volts", _ROW, pdu_rows(lambda t: t.row_voltage_v))
PDU_ROW_DOUBT = Metric("hashwatt_pdu_row_doubt",
    "1 for what somebody should look at on this row: near_limit, at_limit.",
    Kind.GAUGE, "", (*_ROW, "reason"), pdu_row_flags("reason", PDU_DOUBTS, lambda t: t.row_doubt))
PDU_ROW_INFO = Metric("hashwatt_pdu_row_info",
    "Which machine is metered at a row that is no outlet, and who says so; always 1.",
    Kind.GAUGE, "info", (*_ROW, "name", "machine", "by"), wired_rows)
OUTLET_INFO = Metric("hashwatt_outlet_info",
    "Name of the outlet, the machine on it, and who says so (inventory or name); always 1, once per machine.",
    Kind.GAUGE, "info", ("pdu", "outlet", "name", "machine", "by"), wired_outlets)
OUTLET_POWER = Metric("hashwatt_outlet_power_watts",
    "Power of one outlet.",
    Kind.GAUGE, "watts", ("pdu", "outlet"), outlets(lambda c: c.snapshot.pdus.outlet_power_w))
OUTLET_CURRENT = Metric("hashwatt_outlet_current_amperes",
    "Current of one outlet.",
    Kind.GAUGE, "amperes", ("pdu", "outlet"), outlets(lambda c: c.snapshot.pdus.outlet_current_a))
OUTLET_ON = Metric("hashwatt_outlet_on",
    "1 if the outlet is switched on, 0 if off.",
    Kind.GAUGE, "", ("pdu", "outlet"), outlets(lambda c: c.snapshot.pdus.outlet_on))

FEEDER_POWER = Metric("hashwatt_feeder_power_watts",
    "Power of the priced machines of a feeder; a standing one counts as what it would draw.",
    Kind.GAUGE, "watts", ("feeder",), feeders(lambda f: f.power_w))
FEEDER_UNPRICED = Metric("hashwatt_feeder_unpriced_machines",
    "Machines of the feeder without a margin: they are in none of its other numbers.",
    Kind.GAUGE, "", ("feeder",), feeders(lambda f: float(f.unpriced)))
FEEDER_MINING = Metric("hashwatt_feeder_mining_usd_per_kilowatt_hour",
    "What hash earns of a kilowatt-hour of the feeder, site losses included, before power is paid.",
    Kind.GAUGE, "usd_per_kilowatt_hour", ("feeder",), feeders(lambda f: f.mining_usd_kwh))
FEEDER_ALTERNATIVE = Metric("hashwatt_feeder_alternative_usd_per_kilowatt_hour",
    "What another use of the same power would pay, by the operator's word.",
    Kind.GAUGE, "usd_per_kilowatt_hour", ("feeder",), feeders(lambda f: f.alternative_usd_kwh))
FEEDER_BELOW = Metric("hashwatt_feeder_below_alternative_watts",
    "Power of those priced machines of the feeder that make less of it than the alternative pays. It turns nothing.",
    Kind.GAUGE, "watts", ("feeder",), feeders(lambda f: f.below_w))
APPRAISED_AT = Metric("hashwatt_appraisal_timestamp_seconds",
    "Time of the cycle that the worth of machines and feeders is of; it is found anew every 10 minutes.",
    Kind.GAUGE, _AT, (), _appraised_at)

HASHPRICE = Metric("hashwatt_hashprice_usd_per_petahash_day",
    "Expected revenue of 1 PH/s in a day, from difficulty, reward and price.",
    Kind.GAUGE, "usd_per_petahash_day", (), site(lambda c: c.valuation.hashprice_usd_ph_day))
BTC_USD = Metric("hashwatt_btc_usd",
    "Price of one bitcoin in USD, the mean of five minutes that everything is computed with.",
    Kind.GAUGE, "usd", (), site(lambda c: c.valuation.btc_usd))
BTC_USD_RAW = Metric("hashwatt_raw_btc_usd",
    "Price of one bitcoin in USD at this moment: the median of the sources that agree.",
    Kind.GAUGE, "usd", (), site(lambda c: c.valuation.btc_usd_raw))
INPUT_STATE = Metric("hashwatt_market_input_state",
    "1 for the state of each input of the hashprice: fresh, stale_soft, stale_hard, missing or conflict.",
    Kind.GAUGE, "", ("input", "state"), _input_states)
PUBLISHED = Metric("hashwatt_published_hashprice_usd_per_petahash_day",
    "Hashprice that others publish, for comparison alone: none of our numbers comes from it.",
    Kind.GAUGE, "usd_per_petahash_day", ("source", "state"), _published)
PUBLISHED_DIFFERENCE = Metric("hashwatt_published_hashprice_difference_ratio",
    "Our hashprice over the published one, less one.",
    Kind.GAUGE, "ratio", (), site(lambda c: c.valuation.cross_check.difference))
HASHPRICE_ALARM = Metric("hashwatt_published_hashprice_alarm",
    "1 while our hashprice and a current published one differ by more than 3 %; no new machine is stopped then.",
    Kind.GAUGE, "", (), _alarm)
DIFFICULTY = Metric("hashwatt_network_difficulty",
    "Network difficulty in force.",
    Kind.GAUGE, "", (), site(lambda c: c.valuation.difficulty))
NEXT_CHANGE = Metric("hashwatt_network_difficulty_next_change_ratio",
    "Forecast of the relative change of difficulty at the next retarget; none in the first 504 blocks of an epoch.",
    Kind.GAUGE, "ratio", (), _forecast(lambda f: f.change_ratio))
NEXT_CHANGE_STDDEV = Metric("hashwatt_network_difficulty_next_change_stddev",
    "One standard deviation of that ratio, by luck and by hashrate that comes and goes until then.",
    Kind.GAUGE, "", (), _forecast(lambda f: f.sigma_ratio))
RETARGET_AT = Metric("hashwatt_network_retarget_timestamp_seconds",
    "Estimated time of the next retarget.",
    Kind.GAUGE, _AT, (), _forecast(lambda f: f.retarget_at_s))
RETARGET_BLOCKS = Metric("hashwatt_network_retarget_blocks",
    "Blocks until the next retarget.",
    Kind.GAUGE, "", (), _forecast(lambda f: f.blocks_left))
NEXT_HASHPRICE = Metric("hashwatt_hashprice_next_usd_per_petahash_day",
    "Hashprice behind the next retarget at the forecast difficulty and today's price and fees.",
    Kind.GAUGE, "usd_per_petahash_day", (), _next_hashprice(lambda h: h.usd_ph_day))
NEXT_HASHPRICE_STDDEV = Metric("hashwatt_hashprice_next_stddev_usd_per_petahash_day",
    "One standard deviation of that, by the difficulty alone.",
    Kind.GAUGE, "usd_per_petahash_day", (), _next_hashprice(lambda h: h.sigma_usd_ph_day))
DRAWDOWN = Metric("hashwatt_network_hashrate_drawdown_ratio",
    "How far the estimate of network hashrate lies below its peak of about a year, weekly means.",
    Kind.GAUGE, "ratio", (), _ratio(lambda o: o.drawdown_ratio))
DIFFICULTY_LAG = Metric("hashwatt_network_difficulty_lag_ratio",
    "How far the estimate of network hashrate lies above what the difficulty in force implies; below 0, difficulty is "
    "about to fall.",
    Kind.GAUGE, "ratio", (), _ratio(lambda o: o.lag_ratio))
OUTLOOK_SILENT = Metric("hashwatt_outlook_silent",
    "1 for the reason why forecast, hashprice, drawdown or lag is not told; no series for one that is.",
    Kind.GAUGE, "", ("part", "reason"), _silences)
QUOTE_AS_OF = Metric("hashwatt_quote_as_of_timestamp_seconds",
    "As-of time of each quote that the hashprice uses.",
    Kind.GAUGE, _AT, ("input", "source"), _quotes)
POWER_PRICE = Metric("hashwatt_power_price_usd_per_kilowatt_hour",
    "All-in marginal price of power now, by the site's own tariff.",
    Kind.GAUGE, "usd_per_kilowatt_hour", (), site(lambda c: c.valuation.power_usd_per_kwh))
POWER_PRICE_STATE = Metric("hashwatt_power_price_state",
    "1 for the source and the state of that price.",
    Kind.GAUGE, "", ("source", "state"), _power_state)
POWER_PRICE_AS_OF = Metric("hashwatt_power_price_as_of_timestamp_seconds",
    "Start of the interval that the power price is of; absent where it does not age.",
    Kind.GAUGE, _AT, (), site(lambda c: c.valuation.power_as_of_s))
TARIFF_PRICE = Metric("hashwatt_tariff_power_price_usd_per_kilowatt_hour",
    "All-in marginal price of power now, by each tariff in use; (site) is the site's own.",
    Kind.GAUGE, "usd_per_kilowatt_hour", ("tariff",), _tariffs(lambda p: p.usd_per_kwh if p.is_usable else math.nan))
TARIFF_STATE = Metric("hashwatt_tariff_power_price_state",
    "1 for the source and the state of each tariff's price; machines whose tariff has none are not advised.",
    Kind.GAUGE, "", ("tariff", "source", "state"), _tariff_states)
TARIFF_AS_OF = Metric("hashwatt_tariff_power_price_as_of_timestamp_seconds",
    "Start of the interval that each tariff's price is of; absent where it does not age.",
    Kind.GAUGE, _AT, ("tariff",), _tariffs(lambda p: p.as_of_s))

SHED = Metric("hashwatt_curtailment_recommended_shed_watts",
    "Power that the recommended stops give up.",
    Kind.GAUGE, "watts", (), advice(lambda c: c.decision.shed_w))
STATUS = Metric("hashwatt_curtailment_status",
    "1 for the health of the decision: ok, degraded, hold or disabled.",
    Kind.GAUGE, "", ("status",), advice(lambda _: 1.0, lambda c: {"status": c.decision.status.value}))
MODE = Metric("hashwatt_curtailment_mode",
    "1 for the mode of the recommendation: advisory or armed.",
    Kind.GAUGE, "", ("mode",), advice(lambda _: 1.0, lambda c: {"mode": c.policy.mode.value}))
VALID_UNTIL = Metric("hashwatt_curtailment_valid_until_timestamp_seconds",
    "End of the last lease; it has run out when time() is past it.",
    Kind.GAUGE, _AT, (), _valid_until)
MERIT = Metric("hashwatt_merit_watts",
    "Watts of running machines over their breakeven power price in USD/kWh.",
    Kind.HISTOGRAM, "watts", (), _merit)

POLL_DURATION = Metric("hashwatt_poll_duration_seconds",
    "How long one look at one device takes.",
    Kind.HISTOGRAM, "seconds", ("driver",))
POLL_LAG = Metric("hashwatt_poll_lag_seconds",
    "How late a look starts.",
    Kind.HISTOGRAM, "seconds", ("driver",))
POLLS = Metric("hashwatt_polls_total",
    "Looks by outcome: ok or the kind of fault.",
    Kind.COUNTER, "", ("driver", "outcome"))
WORKER_RESTARTS = Metric("hashwatt_workers_restarts_total",
    "Collector processes that were replaced.",
    Kind.COUNTER, "", ("worker",))
POLLS_MISSED = Metric("hashwatt_polls_missed_total",
    "Looks that started over a second late, or that never took place.",
    Kind.COUNTER, "", ("worker", "cause"))
CYCLES = Metric("hashwatt_cycles_total",
    "Cycles thought and published.",
    Kind.COUNTER, "", ())
CYCLE_DURATION = Metric("hashwatt_cycle_duration_seconds",
    "How long one cycle takes, from freezing the table to the last sink.",
    Kind.HISTOGRAM, "seconds", ())
SINK_ERRORS = Metric("hashwatt_sink_errors_total",
    "Cycles that a sink failed to take.",
    Kind.COUNTER, "", ("sink",))
MQTT_CONNECTED = Metric("hashwatt_mqtt_connected",
    "1 while the broker accepts us.",
    Kind.GAUGE, "", ())
MQTT_MESSAGES = Metric("hashwatt_mqtt_messages_total",
    "MQTT messages by outcome: accepted, refused, offline, full.",
    Kind.COUNTER, "", ("outcome",))
STORAGE_OK = Metric("hashwatt_storage_ok",
    "1 if the journal could be written the last time.",
    Kind.GAUGE, "", ())
HISTORY_SIZE = Metric("hashwatt_history_size_bytes",
    "What the history of accounts and prices takes of the disk.",
    Kind.GAUGE, "bytes", ())
HISTORY_ERRORS = Metric("hashwatt_history_errors_total",
    "Times that the history could not be read or written, and hours given up because of it.",
    Kind.COUNTER, "", ())
HISTORY_WRITTEN = Metric("hashwatt_history_written_timestamp_seconds",
    "Up to when the history is written.",
    Kind.GAUGE, _AT, ())
HISTORY_SERVER_OK = Metric("hashwatt_history_server_ok",
    "1 while the second home of the history takes what it is given.",
    Kind.GAUGE, "", ())
HISTORY_BEHIND = Metric("hashwatt_history_rows_behind",
    "Hours, days and five minutes of prices that the second home of the history has not got yet.",
    Kind.GAUGE, "", ())
CLOCK_TRUSTED = Metric("hashwatt_clock_trusted",
    "1 if the gateway's clock may be used for prices and leases.",
    Kind.GAUGE, "", ())
AGENT_INFO = Metric("hashwatt_agent_info",
    "The agent that answers; always 1.",
    Kind.GAUGE, "info", ("version", "site", "boot_id"))
AGENT_START = Metric("hashwatt_agent_start_timestamp_seconds",
    "Time at which the agent started.",
    Kind.GAUGE, _AT, ())
AGENT_CPU = Metric("hashwatt_agent_cpu_seconds_total",
    "CPU time of the agent's processes.",
    Kind.COUNTER, "seconds", ("process",))
AGENT_MEMORY = Metric("hashwatt_agent_resident_memory_bytes",
    "Resident memory of the agent's processes.",
    Kind.GAUGE, "bytes", ("process",))
AGENT_FILES = Metric("hashwatt_agent_open_files",
    "Open file descriptors of the agent's processes.",
    Kind.GAUGE, "", ("process",))
# fmt: on

TABLE: tuple[Metric, ...] = tuple(row for row in list(globals().values()) if isinstance(row, Metric))
"""Every metric, in the order above; so a name cannot be forgotten here."""


def markdown() -> str:
    """The page `docs/metrics.md`."""
    lines = [
        "# Metrics",
        "",
        "Written by `exporters.metrics.markdown()`; a test compares. A value that is missing or too old has no series.",
        "",
        "| name | type | labels | meaning |",
        "|---|---|---|---|",
    ]
    lines += [f"| `{row.name}` | {row.kind} | {', '.join(row.labels) or '-'} | {row.help} |" for row in TABLE]
    return "\n".join(lines) + "\n"
