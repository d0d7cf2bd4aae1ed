"""Accepted work: counters that never go back, and the hashrate that they prove.

A machine's own counters start again when it restarts, when its pools change, or when it pleases. What we publish only
grows: the sum of the steps forward. A counter that went back begins a new session, whose first value is no step.

Work that a pool accepted is the one number about hashing that a machine cannot make up: shares of difficulty d take
d * 2**32 hashes each on average, so accepted difficulty over a while is hashrate, with a relative error of one over the
root of the number of shares. Work is summed over as many shares as make that error small, beside the hashes that
the machine claims for the same time, and their ratio is kept until the next window closes.

Both functions change `Observations` in place, like `snapshot.learn_steady`; no machine is looked at by itself.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from fleet.snapshot import WORK_SLOTS, Observations
from fleet.units import HASHES_PER_DIFFICULTY_1

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

MIN_SHARES = 120.0
"""Shares that a window holds at least: a relative error of 9 %."""

PATIENCE = 10.0
"""Where shares do not come, a window ends only when this many times more were due: a pool that raises its share
difficulty makes them rarer, and that must not look like a machine that does not work."""

MAX_STEP_S = 600.0
"""Two readings further apart say nothing together: nobody knows what the machine claimed in between."""

SUSPECT_SIGMAS, SUSPECT_RATIO = 3.0, 0.30
"""Accepted and claimed hashrate disagree when they are apart by more than both of these. Shares of a firmware's fee are
not counted by every make, which explains up to 8 %."""

_SHARES, _DIFFICULTY = WORK_SLOTS.index("shares_accepted"), WORK_SLOTS.index("difficulty_accepted")


def count_work(observed: Observations) -> None:
    """Add what the counters went forward since they were last counted, and judge the windows that are full.

    Missing: a counter that is not said keeps its total; one said for the first time starts at 0.
    """
    step = observed.work_said - observed.work_counted
    is_step = step >= 0.0  # False where either is missing
    is_said = ~np.isnan(observed.work_said)
    np.copyto(observed.work_total, 0.0, where=is_said & np.isnan(observed.work_total))
    np.add(observed.work_total, step, out=observed.work_total, where=is_step)
    np.copyto(observed.work_counted, observed.work_said, where=is_said)
    _fill_windows(observed, step, is_step[:, _SHARES] & is_step[:, _DIFFICULTY])
    _close_windows(observed)


def _fill_windows(observed: Observations, step: Floats, is_step: Bools) -> None:
    passed_s = observed.seen_s - observed.work_at_s
    is_used = is_step & (passed_s > 0.0) & (passed_s <= MAX_STEP_S) & (observed.hashrate_hs > 0.0)
    observed.work_shares[is_used] += step[is_used, _SHARES]
    observed.work_proven_h[is_used] += step[is_used, _DIFFICULTY] * HASHES_PER_DIFFICULTY_1
    observed.work_claimed_h[is_used] += observed.hashrate_hs[is_used] * passed_s[is_used]
    observed.work_at_s[:] = observed.seen_s


def _close_windows(observed: Observations) -> None:
    shares, difficulty = observed.work_said[:, _SHARES], observed.work_said[:, _DIFFICULTY]
    with np.errstate(invalid="ignore", divide="ignore"):
        due = (
            observed.work_claimed_h / HASHES_PER_DIFFICULTY_1 * (shares / difficulty)
        )  # shares that the claim is worth
        evidence = np.fmax(observed.work_shares, due / PATIENCE)
        is_full = (evidence >= MIN_SHARES) & np.isfinite(evidence)
        ratio = observed.work_proven_h / observed.work_claimed_h
        is_apart = np.abs(ratio - 1.0) > np.fmax(SUSPECT_SIGMAS / np.sqrt(evidence), SUSPECT_RATIO)
    observed.work_ratio[is_full] = ratio[is_full]
    observed.is_work_suspect[is_full] = is_apart[is_full]
    for window in (observed.work_shares, observed.work_proven_h, observed.work_claimed_h):
        window[is_full] = 0.0
