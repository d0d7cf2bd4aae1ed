"""Which preset of its firmware a machine should run: by the marginal joules of each step, not by the average.

A firmware with presets offers points of hashrate and watts. Only those on the lower convex hull are worth running, and
along it each step up costs more joules per terahash than the one before; so the best preset is the highest whose last
step still earns its power. The average of a machine may pay long after its last steps have ceased to.

Tables are (machines, presets) in any order, padded with NaN; an untuned preset should be NaN as well. Loops go over
presets, never over machines.

Few machines tell their presets, and thousands of them tell the same list. So the lists are a table of their own, made
once, and a machine is a row in `PresetColumns` that points there: at each instant only the price, the calibration and
the preset in force are its own. What comes of it stands beside the decision and steers nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from fleet.economics import Economics, energy_cost_usd_per_hour, revenue_usd_per_hour
from fleet.readings import Preset, Reason
from fleet.site import Site
from fleet.snapshot import Snapshot
from fleet.tariff import PowerPrice
from fleet.units import HOURS_PER_DAY, TERA

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

VALID_FOR_S = 24 * 3600.0
"""How long a list counts: it is asked for every few hours, and a firmware that no longer answers may have another."""


def cutoff_j_per_th(
    hashprice_usd_ph_day: float, usd_per_kwh: Floats | float, realised_ratio: float = 1.0, overhead: float = 0.0
) -> Floats:
    """The joules per terahash above which hash costs more than it earns.

    Units:   USD/PH/day, USD/kWh, ratios -> J/TH; infinite where power costs nothing or less.
    Missing: NaN in, NaN out.
    """
    daily = np.asarray(HOURS_PER_DAY * (1.0 + overhead) * usd_per_kwh, dtype=np.float64)
    paid = np.where(daily > 0.0, daily, np.where(np.isnan(daily), np.nan, 1.0))
    return np.where(daily <= 0.0, np.inf, 1.0) * (hashprice_usd_ph_day * realised_ratio / paid)


def marginal_j_per_th(hashrate_hs: Floats, power_w: Floats) -> Floats:
    """Joules per terahash of the step up to each preset from the next lower one that is worth running.

    Units:   H/s, W -> J/TH, the shape of the tables. A step may be negative: less power for more hash.
    Missing: NaN for the lowest preset, for one that is not on the hull, and where a number is missing or not positive.
    """
    is_told = (hashrate_hs > 0.0) & (power_w > 0.0)
    hash_th = np.where(is_told, hashrate_hs / TERA, 0.0)  # never above another, so never a step
    watts = np.where(is_told, power_w, 0.0)
    marginal = np.full(hashrate_hs.shape, np.nan)
    rows = np.arange(len(hashrate_hs))
    at = _lowest(hashrate_hs, power_w, is_told)
    for _ in range(hashrate_hs.shape[1] - 1):
        more_th = hash_th - hash_th[rows, at, np.newaxis]
        is_above = is_told & (more_th > 0.0)
        slope = np.full(hashrate_hs.shape, np.inf)
        np.divide(watts - watts[rows, at, np.newaxis], more_th, out=slope, where=is_above)
        step = np.where(slope == slope.min(axis=1, keepdims=True), hash_th, np.inf).argmin(axis=1)
        is_step = is_above[rows, step]
        marginal[rows[is_step], step[is_step]] = slope[rows[is_step], step[is_step]]
        at = np.where(is_step, step, at)
    return marginal


def best_preset(hashrate_hs: Floats, power_w: Floats, cutoff: Floats) -> Ints:
    """Column of the preset that earns most, per machine, if it runs at all; whether it should is another question.

    Units:   H/s, W, J/TH (`cutoff_j_per_th`, one per machine).
    Missing: -1 where no preset is told or the cut-off is unknown.
    """
    ladder, steps = _ladder(hashrate_hs, power_w, marginal_j_per_th(hashrate_hs, power_w))
    return _climbed(ladder, steps, cutoff)


def _ladder(hashrate_hs: Floats, power_w: Floats, marginal: Floats) -> tuple[Ints, Floats]:
    """The presets worth running from the lowest upward, as columns, and the J/TH of the step to each next one.

    Shapes:  (machines, 1 + presets), -1 behind the highest, or everywhere; (machines, presets), NaN likewise.
    """
    is_told = (hashrate_hs > 0.0) & (power_w > 0.0)
    lowest = np.where(is_told.any(axis=1), _lowest(hashrate_hs, power_w, is_told), -1)
    order = np.where(np.isnan(marginal), np.inf, hashrate_hs).argsort(axis=1)
    steps = np.take_along_axis(marginal, order, axis=1)
    return np.column_stack([lowest, np.where(np.isnan(steps), -1, order)]), steps


def _climbed(ladder: Ints, steps: Floats, cutoff: Floats) -> Ints:
    """How high each machine may climb: every step costs more than the one before, so their number is the place."""
    height = np.count_nonzero(steps <= cutoff[:, np.newaxis], axis=1)
    return np.where(np.isnan(cutoff), -1, ladder[np.arange(len(ladder)), height])


def _lowest(hashrate_hs: Floats, power_w: Floats, is_told: npt.NDArray[np.bool_]) -> Ints:
    """Column of the least hashrate, of the fewest watts among equals: where every hull begins."""
    hashrate = np.where(is_told, hashrate_hs, np.inf)
    is_least = is_told & (hashrate == hashrate.min(axis=1, keepdims=True))
    return np.asarray(np.where(is_least, power_w, np.inf).argmin(axis=1))


# --- which machine has which -----------------------------------------------------------------------------------------


def _no_numbers() -> Floats:
    return np.empty(0)


def _no_places() -> Ints:
    return np.empty(0, np.int64)


@dataclass(frozen=True, eq=False)
class PresetLists:
    """The distinct lists of presets of a fleet as tables, one line each, as the firmware tells them.

    `marginal_j_per_th`, `ladder` and `steps` (`_ladder`) are of those alone that may be used: one that is not tuned
    would first cost hours of tuning.
    """

    lists: tuple[tuple[Preset, ...], ...] = ()
    hashrate_hs: Floats = field(default_factory=lambda: np.empty((0, 0)))
    power_w: Floats = field(default_factory=lambda: np.empty((0, 0)))
    marginal_j_per_th: Floats = field(default_factory=lambda: np.empty((0, 0)))
    ladder: Ints = field(default_factory=lambda: np.empty((0, 0), np.int64))
    steps: Floats = field(default_factory=lambda: np.empty((0, 0)))


def tabulate(lists: Sequence[tuple[Preset, ...]]) -> PresetLists:
    """The tables of some lists. A preset counts as usable unless its firmware says that it is not tuned."""
    if not any(lists):
        return PresetLists()
    shape = (len(lists), max(map(len, lists)))
    hashrate, power, usable = np.full(shape, np.nan), np.full(shape, np.nan), np.zeros(shape, bool)
    for line, presets in enumerate(lists):
        here = slice(0, len(presets))
        hashrate[line, here] = [preset.hashrate_hs for preset in presets]
        power[line, here] = [preset.power_w for preset in presets]
        usable[line, here] = [preset.is_tuned is not False for preset in presets]
    usable_hs = np.where(usable, hashrate, np.nan)
    marginal = marginal_j_per_th(usable_hs, power)
    return PresetLists(tuple(lists), hashrate, power, marginal, *_ladder(usable_hs, power, marginal))


@dataclass(frozen=True, eq=False)
class PresetColumns:
    """The machines that have told their presets; all columns have one entry for each of them.

    `rows`: their rows in the site. `line`: their list in `lists`. `in_force`: the preset that they run on, -1 where the
    firmware does not say, or names one that it does not list. `told_s`: when the list was heard (Unix time).
    """

    lists: PresetLists = field(default_factory=PresetLists)
    rows: Ints = field(default_factory=_no_places)
    line: Ints = field(default_factory=_no_places)
    in_force: Ints = field(default_factory=_no_places)
    told_s: Floats = field(default_factory=_no_numbers)


NO_PRESETS = PresetColumns()


@dataclass(frozen=True, eq=False)
class PresetMoney:
    """What their presets mean for the same machines at one instant, beside the decision.

    Watts are the firmware's opinion, times the calibration of the machine where it has one (`is_calibrated`). Of a
    standing machine all this is what it would be if it ran.
    """

    columns: PresetColumns = NO_PRESETS
    cutoff_j_per_th: Floats = field(default_factory=_no_numbers)  # more than this per terahash does not pay
    marginal_j_per_th: Floats = field(default_factory=_no_numbers)  # of the last step up to the preset in force
    best: Ints = field(default_factory=_no_places)  # the preset that earns most, -1 = not known
    best_hashrate_hs: Floats = field(default_factory=_no_numbers)
    best_power_w: Floats = field(default_factory=_no_numbers)
    gain_usd_h: Floats = field(default_factory=_no_numbers)  # of the best over the one in force, never below 0
    is_calibrated: Bools = field(default_factory=lambda: np.empty(0, bool))


NO_MONEY = PresetMoney()


def weigh(
    columns: PresetColumns,
    site: Site,
    snapshot: Snapshot,
    economics: Economics,
    hashprice_usd_ph_day: float,
    power: Sequence[PowerPrice],
) -> PresetMoney:
    """The best preset of each machine, and what it is worth against the one in force, before a host's share.

    Units:   USD/PH/day.  `power`: the price of each tariff in use, the site's first.
    Missing: no best preset for a machine without a margin, or whose list is too old; no gain and no last step where the
             preset in force is not known; no last step either for the lowest preset and one that is not worth running.
    """
    if not len(columns.rows):
        return NO_MONEY
    rows, line, lists, terms = columns.rows, columns.line, columns.lists, site.terms
    is_valid = (economics.reason[rows] == Reason.NONE) & (np.abs(snapshot.at_s - columns.told_s) <= VALID_FOR_S)
    known_ratio = snapshot.calibration_ratio[rows]
    ratio = np.where(np.isnan(known_ratio), 1.0, known_ratio)
    price = np.where(is_valid, site.by_tariff(power)[rows], np.nan)
    cutoff = cutoff_j_per_th(hashprice_usd_ph_day, price, terms.realised_ratio, terms.overhead)

    def at(table: Floats, preset: Ints) -> Floats:
        return np.where(preset >= 0, table[line, preset], np.nan)

    def margin_usd_h(preset: Ints) -> Floats:
        earned = revenue_usd_per_hour(hashprice_usd_ph_day, at(lists.hashrate_hs, preset), terms.realised_ratio)
        return earned - energy_cost_usd_per_hour(at(lists.power_w, preset) * ratio, terms.overhead, price)

    # A machine's own ratio stretches all its watts alike: which presets are steps, and in which order, stays as it was.
    chosen = _climbed(lists.ladder[line], lists.steps[line], cutoff / ratio)
    in_force = np.where(is_valid, columns.in_force, -1)
    gain = margin_usd_h(chosen) - margin_usd_h(in_force)
    best = np.where(gain < 0.0, in_force, chosen)  # it runs on one that counts as not tuned, and which earns more
    return PresetMoney(
        columns,
        cutoff_j_per_th=cutoff,
        marginal_j_per_th=at(lists.marginal_j_per_th, in_force) * ratio,
        best=best,
        best_hashrate_hs=at(lists.hashrate_hs, best),
        best_power_w=at(lists.power_w, best) * ratio,
        gain_usd_h=np.maximum(gain, 0.0),
        is_calibrated=~np.isnan(known_ratio),
    )
