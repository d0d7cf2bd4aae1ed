"""Revenue, cost, margin and breakevens, on columns: running machines by what they do, stopped ones by what they could do."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Codes = npt.NDArray[np.uint8]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Economics:
    """Money per machine and hour at one instant; NaN with `reason` (readings.Reason) where it cannot be said.

    `is_capable`: the row stands (stopped, asleep or warming up) and is priced by what it would do if it ran.
    """

    hashrate_hs: Floats  # the hashrate and power that the money below is made of
    power_w: Floats
    is_capable: Bools
    revenue_usd_h: Floats
    energy_cost_usd_h: Floats
    margin_usd_h: Floats
    margin_error_usd_h: Floats  # one standard deviation
    breakeven_usd_kwh: Floats
    efficiency_j_per_th: Floats
    reason: Codes
