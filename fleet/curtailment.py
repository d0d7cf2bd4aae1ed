"""Which machines should run: hysteresis, minimum times, merit order, ramps, quorum and stale rules."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum, IntFlag, StrEnum

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Codes = npt.NDArray[np.uint8]
Bools = npt.NDArray[np.bool_]


class Action(IntEnum):
    """What we recommend for one machine. HOLD = no advice: leave it as it is."""

    RUN = 0
    STOP = 1
    PRESET = 2
    HOLD = 3


class Status(StrEnum):
    """Health of the decision itself."""

    OK = "ok"
    DEGRADED = "degraded"  # an input is past its soft age; decisions go on
    HOLD = "hold"  # no new economic stop
    DISABLED = "disabled"


class Mode(StrEnum):
    ADVISORY = "advisory"
    ARMED = "armed"


class Why(IntFlag):
    """The closed list of reason codes, as bits of one column; spelled in upper case on every wire."""

    MARGIN_NEGATIVE = 1 << 0
    MARGIN_RESTORED = 1 << 1
    HYSTERESIS_HOLD = 1 << 2
    MIN_UP = 1 << 3
    MIN_DOWN = 1 << 4
    RAMP = 1 << 5
    QUORUM = 1 << 6
    NEVER_STOP = 1 << 7
    UNREACHABLE = 1 << 8
    NEVER_SEEN = 1 << 9
    NOT_SHA256 = 1 << 10
    WRONG_POOL = 1 << 11
    NO_POWER = 1 << 12
    NO_HASHRATE = 1 << 13
    INPUT_STALE = 1 << 14
    INPUT_MISSING = 1 << 15
    INPUT_CONFLICT = 1 << 16
    HOLD_RELEASE = 1 << 17
    BOOT = 1 << 18
    CLOCK = 1 << 19
    STORAGE = 1 << 20
    OPERATOR = 1 << 21


@dataclass(frozen=True, slots=True)
class Policy:
    """The operator's rules. Money in USD, times in seconds, shares as ratios of the site's running power."""

    enabled: bool = True
    mode: Mode = Mode.ADVISORY
    stop_start_cost_usd: float = 0.10  # K, one stop and start of one machine
    stop_factor: float = 0.5  # stop when the loss since the last turn reaches this share of K
    start_factor: float = 0.25
    min_up_s: float = 1800.0
    min_down_s: float = 900.0
    quorum_ratio: float = 0.8
    stop_ramp_ratio: float = 0.20  # of site power per stop_ramp_s
    stop_ramp_s: float = 600.0
    start_ramp_ratio: float = 0.05
    start_ramp_s: float = 60.0
    hold_release_s: float = 900.0
    hold_keep: bool = False  # True: in hold, economic stops stay instead of returning to run
    max_step_s: float = 60.0  # a longer gap between two cycles accumulates no more than this
    lease_s: float = 120.0


@dataclass(frozen=True, eq=False)
class Memory:
    """What one decision hands to the next; all that must survive a restart. One entry per machine, in row order of `ids`.

    `stopped`: the advice in force is stop. `loss_usd`, `gain_usd`: the CUSUM accumulators. `since_s`: Unix time of the
    last turn (NaN = never turned). Budgets are what the ramps still allow now, in W; `decision` counts turns.
    """

    ids: tuple[str, ...] = ()
    stopped: Bools = field(default_factory=lambda: np.zeros(0, bool))
    loss_usd: Floats = field(default_factory=lambda: np.zeros(0))
    gain_usd: Floats = field(default_factory=lambda: np.zeros(0))
    since_s: Floats = field(default_factory=lambda: np.empty(0))
    at_s: float = float("nan")
    hold_since_s: float = float("nan")
    stop_budget_w: float = float("nan")
    start_budget_w: float = float("nan")
    decision: int = 0


@dataclass(frozen=True, eq=False)
class Decision:
    """The advice of one cycle: one action and its reasons per machine, and the health of the whole."""

    status: Status
    status_reasons: Why
    action: Codes  # Action
    reasons: npt.NDArray[np.uint32]  # bits of Why
    earliest_reversal_s: Floats  # Unix time; NaN = at once
    changed: Bools  # turned in this cycle
    site_power_w: float  # running power that the advice refers to
    shed_w: float  # power that the stops in force give up
    quorum: float  # share of the machines expected to answer that did; NaN = nobody expected
