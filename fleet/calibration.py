"""What a machine's own numbers are worth in metered watts, learned where a meter sees it and used where none does.

A machine that runs steadily on a meter of its own teaches two ratios: metered over reported watts, and metered watts
over hashrate for those that report none. Each is a mean over about a quarter of an hour, with the variance around it;
a sample that is far off moves it by a little only, so one bad reading costs nothing and a real change is followed.
The ratio of a model is the median of its machines, with their spread, so that one outlet in the wrong line of the
inventory cannot spoil it; one or two machines speak for their model only while they say what a right line would show.
Machines are of one model here if firmware and kind of watts agree too: another firmware has another opinion of the
same power supply.

Learning needs the meter's word and the machine's from within a minute, a PDU that still moves, and a meter whose steps
are small against what it reads; the rounding of the rest is part of the spread. Both functions change `Observations`
in place.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from fleet.doubts import RATIO_BAND, STILL_S
from fleet.readings import PowerSource
from fleet.snapshot import STEP_SIGMA, Observations, Snapshot, is_steady

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int32]
Bools = npt.NDArray[np.bool_]

WINDOW_S = 900.0
MAX_STEP_S = 120.0
"""Two samples further apart count as this: time in which nothing was learned makes no sample heavier."""

MAX_APART_S = 60.0
"""Between the machine's reading and the meter's."""

MAX_RESOLUTION_RATIO = 0.05
"""A meter of coarser steps teaches nothing."""

BOUNDS = np.array([[0.5, 2.0], [3e-12, 500e-12]])
"""What can be: firmware is 5 to 20 % off, not a factor of two; machines take 10 to 150 J/TH."""

MIN_SAMPLES = 10.0
"""Before a machine's own ratio counts."""

CLIP_SIGMAS, CLIP_RATIO = 3.0, 0.02
"""A sample counts as no further from the mean than the larger of these, once there is a mean."""

MIN_MACHINES = 3
MANY_SAMPLES = 60.0
FEW_SPREAD_RATIO = 0.05
"""A model needs three machines, or one that was seen so often and is within RATIO_BAND of its word (its hashrate
teaches also within that of the nameplate), and then nobody knows how machines differ: 5 %."""

MAD_SIGMA = 1.4826
"""Standard deviation of a normal distribution, in median absolute deviations."""


def learn_ratios(observed: Observations, snapshot: Snapshot) -> None:
    """Add what this instant teaches: a sample for each steady machine whose meter or reading is newer than the last.

    Missing: a machine that reports no watts teaches its watts per hash alone.
    """
    watts, step_w = snapshot.metered_power_w, snapshot.metered_resolution_w
    at_s = snapshot.at_s - np.minimum(snapshot.age_s, snapshot.metered_age_s)
    rows = np.flatnonzero(
        (snapshot.power_source == PowerSource.METERED)
        & is_steady(observed, snapshot)
        & (np.abs(snapshot.age_s - snapshot.metered_age_s) <= MAX_APART_S)
        & (step_w <= MAX_RESOLUTION_RATIO * watts)
        & ~_is_still(snapshot)
        & ~((at_s <= observed.ratio_at_s) & (observed.ratio_at_s <= snapshot.at_s))  # a clock may have been set back
    )
    passed_s = np.clip(at_s[rows] - observed.ratio_at_s[rows], 0.0, MAX_STEP_S)
    weight = 1.0 - np.exp(-np.nan_to_num(passed_s) / WINDOW_S)
    rounding = STEP_SIGMA * step_w[rows] / watts[rows]
    for column, said in enumerate((snapshot.reported_power_w, snapshot.hashrate_hs)):
        with np.errstate(invalid="ignore", divide="ignore"):
            ratio = watts[rows] / said[rows]
        low, high = BOUNDS[column]
        fits = (ratio >= low) & (ratio <= high)
        _add(observed, column, rows[fits], ratio[fits], rounding[fits], weight[fits])
    observed.ratio_at_s[rows] = at_s[rows]


def _is_still(snapshot: Snapshot) -> Bools:
    """Machines on a PDU that has told the same for minutes: it may never tell anything else."""
    pdus, n = snapshot.pdus, len(snapshot)
    is_still = snapshot.at_s - pdus.changed_s >= STILL_S
    if not is_still.any():
        return np.zeros(n, bool)
    of_meter = np.concatenate([is_still[pdus.outlet_pdu], is_still[pdus.row_pdu], [False]])
    return np.bincount(pdus.link_machine[of_meter[pdus.link_meter]], minlength=n) > 0


def _add(
    observed: Observations, column: int, rows: npt.NDArray[np.intp], ratio: Floats, rounding: Floats, weight: Floats
) -> None:
    """One sample each. The first ones are a plain mean, until the window is as long as they are many."""
    samples = observed.ratio_samples[rows, column]
    is_first = samples == 0.0
    mean = np.where(is_first, ratio, observed.ratio_mean[rows, column])
    variance = np.where(is_first, 0.0, observed.ratio_variance[rows, column])
    share = np.maximum(weight, 1.0 / (samples + 1.0))
    off = ratio - mean
    most = np.maximum(CLIP_SIGMAS * np.sqrt(variance), CLIP_RATIO * mean)
    off = np.where(samples >= MIN_SAMPLES, np.clip(off, -most, most), off)
    observed.ratio_mean[rows, column] = mean + share * off
    observed.ratio_variance[rows, column] = (1.0 - share) * (variance + share * off**2) + share * (rounding * mean) ** 2
    observed.ratio_samples[rows, column] = samples + 1.0


def calibrate(observed: Observations) -> None:
    """Put the ratios in force: a machine's own once it was seen often enough, else its model's, else none."""
    low, high = RATIO_BAND
    word, work = observed.ratio_mean.T
    plate = observed.nameplate_power_w / observed.nameplate_hashrate_hs
    is_right = (word >= low) & (word <= high)
    looks_right = is_right | (work >= low * plate) & (work <= high * plate)
    of_column = ((observed.calibration_code, is_right), (observed.model_code, looks_right))
    for column, (code, speaks_alone) in enumerate(of_column):
        mean, samples = observed.ratio_mean[:, column], observed.ratio_samples[:, column]
        is_known = samples >= MIN_SAMPLES
        own = np.where(is_known, mean, np.nan)
        own_spread = np.where(is_known, np.sqrt(observed.ratio_variance[:, column]) / mean, np.nan)
        model, model_spread = model_ratio(own, own_spread, samples, code, speaks_alone)
        observed.calibration_ratio[:, column] = np.where(is_known, own, model)
        observed.calibration_spread[:, column] = np.where(is_known, own_spread, model_spread)


def model_ratio(own: Floats, spread: Floats, samples: Floats, code: Ints, speaks_alone: Bools) -> tuple[Floats, Floats]:
    """Per row the ratio of its model and its relative standard deviation for a machine that has none of its own.

    Shapes:  all (n,); `own` and `spread` NaN where a machine has not learned; `code` any number per model, -1 = model
             not known; `speaks_alone` marks who counts although fewer than MIN_MACHINES of its model have learned.
    Missing: NaN for a model that too few machines stand for.
    """
    codes, found = np.unique(code, return_inverse=True)
    places = found.astype(np.int32)
    size = len(codes)
    is_known = (code >= 0) & ~np.isnan(own)
    are_many = np.bincount(places[is_known], minlength=size) >= MIN_MACHINES
    known = np.flatnonzero(is_known & (speaks_alone | are_many[places]))
    of = places[known]
    count = np.bincount(of, minlength=size)
    learned = np.zeros(size)
    np.maximum.at(learned, of, samples[known])
    middle = _medians(own[known], of, size)
    apart = MAD_SIGMA * _medians(np.abs(own[known] - middle[of]), of, size) / middle
    within = _medians(spread[known], of, size)
    is_many = count >= MIN_MACHINES
    is_enough = is_many | (learned >= MANY_SAMPLES)
    ratio = np.where(is_enough, middle, np.nan)
    error = np.where(is_enough, np.hypot(np.where(is_many, apart, FEW_SPREAD_RATIO), within), np.nan)
    return ratio[places], error[places]


def _medians(values: Floats, code: Ints, size: int) -> Floats:
    """Median of the values of each code, NaN for a code without any."""
    ordered = values[np.lexsort((values, code))]
    count = np.bincount(code, minlength=size)
    last = np.cumsum(count) - 1
    middle = np.full(size, np.nan)
    some = np.flatnonzero(count)
    first = last[some] - count[some] + 1
    middle[some] = (ordered[first + (count[some] - 1) // 2] + ordered[first + count[some] // 2]) / 2.0
    return middle
