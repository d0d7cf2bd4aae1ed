"""Which preset of its firmware a machine should run: by the marginal joules of each step, not by the average.

A firmware with presets offers points of hashrate and watts. Only those on the lower convex hull are worth running, and
along it each step up costs more joules per terahash than the one before; so the best preset is the highest whose last
step still earns its power. The average of a machine may pay long after its last steps have ceased to.

Tables are (machines, presets) in any order, padded with NaN; an untuned preset should be NaN as well. Loops go over
presets, never over machines.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from fleet.units import HOURS_PER_DAY, TERA

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


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
    marginal = marginal_j_per_th(hashrate_hs, power_w)
    is_told = (hashrate_hs > 0.0) & (power_w > 0.0)
    lowest = _lowest(hashrate_hs, power_w, is_told)
    pays = marginal <= cutoff[:, np.newaxis]
    highest = np.where(pays, hashrate_hs, -np.inf).argmax(axis=1)
    chosen = np.where(pays.any(axis=1), highest, lowest)
    return np.where(is_told.any(axis=1) & ~np.isnan(cutoff), chosen, -1)


def _lowest(hashrate_hs: Floats, power_w: Floats, is_told: npt.NDArray[np.bool_]) -> Ints:
    """Column of the least hashrate, of the fewest watts among equals: where every hull begins."""
    hashrate = np.where(is_told, hashrate_hs, np.inf)
    is_least = is_told & (hashrate == hashrate.min(axis=1, keepdims=True))
    return np.asarray(np.where(is_least, power_w, np.inf).argmin(axis=1))
