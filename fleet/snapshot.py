"""The fleet as a table: one row per machine, one numpy column per quantity, at one instant.

Observed columns say what is; capable columns say what would be if the machine ran. A missing quantity is NaN and its
`*_reason` column says why; what is too old turns into NaN with reason STALE here, so no formula asks about age.

`Observations` is what the agent's table keeps (the last good value of each quantity and when it came); `assemble`
turns it into a `Snapshot`. Units: H/s, W, degrees Celsius, rpm, Unix seconds, seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from enum import IntFlag
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from fleet.readings import FAULT_CODES, CapableSource, FaultKind, OperatingState, PowerSource, Reason, RowKind, Sensor
from fleet.site import Site

Floats = npt.NDArray[np.float64]
Codes = npt.NDArray[np.uint8]
Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int32]
Scalar = TypeVar("Scalar", bound=np.generic)

SENSOR_SLOTS: tuple[tuple[Sensor, int], ...] = (
    *((Sensor.BOARD, i) for i in range(4)),
    *((Sensor.CHIP, i) for i in range(4)),
    (Sensor.INLET, 0),
    (Sensor.OUTLET, 0),
    (Sensor.PSU, 0),
    (Sensor.REGULATOR, 0),
)
"""What each column of `temperature_c` holds."""

FAN_SLOTS = 5

WORK_SLOTS = ("shares_accepted", "shares_rejected", "shares_stale", "difficulty_accepted", "difficulty_rejected")
"""What each column of `work_total` counts; the names are those of `MinerReading`."""

STATES: tuple[OperatingState, ...] = (
    *(state for state in OperatingState if state is not OperatingState.UNREACHABLE),
    OperatingState.UNREACHABLE,  # came later: journals hold the codes of the others
)
STATE_CODES: dict[OperatingState, int] = {state: i for i, state in enumerate(STATES)}


class Suspect(IntFlag):
    """What a machine says that other evidence contradicts, as bits of one column."""

    HASHRATE = 1 << 0  # far above what its model or the machine itself expects: not used
    POWER = 1 << 1  # far above its nameplate, or nothing while it hashes: not used
    WORK = 1 << 2  # the work that the pool accepted does not fit the hashrate: told, and used nevertheless


class MeterDoubt(IntFlag):
    """What speaks against the meter of a machine, or against the machine by its meter, as bits of one column."""

    POWER_WITHOUT_HASH = 1 << 0  # it draws power and has not hashed for a while
    HASH_WITHOUT_POWER = 1 << 1  # it proves work that its meter does not see: the meter is another's, and not used
    RATIO = 1 << 2  # metered and reported watts are further apart than firmware explains
    CONTESTED = 1 << 3  # inventory and outlet names disagree about it: it has no meter
    REPLACED = 1 << 4  # its PDU has another serial than before: it has no meter until the operator restarts the agent
    EXCESS = 1 << 5  # its meter shows what no machine like it can draw: the meter is not its own alone, and not used


class PduDoubt(IntFlag):
    """What a PDU shows that somebody should look at, as bits of one column."""

    NEAR_LIMIT = 1 << 0  # a breaker or line carries more than it may carry for long
    AT_LIMIT = 1 << 1  # and is about to open
    IMBALANCE = 1 << 2  # its phases carry different currents
    SUM = 1 << 3  # its outlets do not make its total
    FROZEN = 1 << 4  # it tells the same for long while its machines change
    REPLACED = 1 << 5  # another serial than before


ROW_KINDS: tuple[RowKind, ...] = tuple(RowKind)
KIND_CODES: dict[RowKind, int] = {kind: code for code, kind in enumerate(ROW_KINDS)}
"""Column code of each kind of PDU row, and back."""

CALIBRATED_BY = ("reported", "work")
"""What each column of a calibration multiplies: the machine's own watts, and its hashrate (then it is J per hash)."""

WATCHED = 2
"""Conditions of a machine and its meter that have to last before they are a doubt."""


@dataclass(frozen=True, slots=True)
class MachineInfo:
    """The descriptive part of a row: texts that change rarely and are nobody's input to a formula."""

    address: str = ""
    make: str = ""
    model: str = ""
    firmware: str = ""
    mac: str = ""
    serial: str = ""
    driver: str = ""
    mode: str = ""  # the machine's own word
    pool: str = ""  # host of the pool that got the work last
    hashrate_key: str = ""  # the machine's names for the numbers that decide about money
    power_key: str = ""
    power_side: str = ""  # what its watts are: "ac", "dc" or "model"
    errors: tuple[str, ...] = ()  # "code: words"
    rival: str = ""  # where another one with the same MAC or serial answered last


def _absent() -> Floats:
    return np.empty(0)


def _absent_codes() -> Codes:
    return np.empty(0, np.uint8)


def _absent_truths() -> Bools:
    return np.empty(0, bool)


def _absent_rows() -> Ints:
    return np.empty(0, np.int32)


def _nans(*shape: int) -> Floats:
    return np.full(shape, np.nan)


@dataclass(eq=False)
class PduColumns:
    """PDUs, their outlets, their other rows, and what hangs on them, as four tables.

    `outlet_pdu` and `row_pdu` are the PDU's row; `outlet_machine` is the (first) machine on an outlet or -1.
    A link joins a meter and a machine: `link_meter` counts the outlets and then the other rows, -1 is a meter that its
    PDU does not show; `link_ratio` is the machine's part of it, NaN = by what the machines on it should draw.
    `contested` and `replaced` are the machines that have no link for that reason.
    Columns of an older journal record are filled with "nobody said".
    """

    ids: tuple[str, ...] = ()
    up: Floats = field(default_factory=_absent)
    fault: Codes = field(default_factory=_absent_codes)
    last_seen_s: Floats = field(default_factory=_absent)
    power_w: Floats = field(default_factory=_absent)
    energy_j: Floats = field(default_factory=_absent)  # a total that never goes back (fleet.energy)
    temperature_c: Floats = field(default_factory=_absent)
    profiles: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    outlet_pdu: Ints = field(default_factory=_absent_rows)
    outlet_ids: tuple[str, ...] = ()
    outlet_machine: Ints = field(default_factory=_absent_rows)
    outlet_power_w: Floats = field(default_factory=_absent)
    outlet_is_measured: Bools = field(default_factory=_absent_truths)
    outlet_on: Floats = field(default_factory=_absent)  # 1, 0, NaN = unknown
    outlet_at_s: Floats = field(default_factory=_absent)
    # what follows came later
    serials: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    engines: tuple[str, ...] = ()  # what spoke SNMP
    warnings: tuple[tuple[str, ...], ...] = ()  # of the profile, about the last reading
    is_measured: Bools = field(default_factory=_absent_truths)  # the unit's total
    resolution_w: Floats = field(default_factory=_absent)
    doubt: Codes = field(default_factory=_absent_codes)  # bits of PduDoubt, those of its rows included
    changed_s: Floats = field(default_factory=_absent)  # when any of its numbers last changed
    outlet_names: tuple[str, ...] = ()
    outlet_resolution_w: Floats = field(default_factory=_absent)
    outlet_energy_j: Floats = field(default_factory=_absent)  # as the device counts it
    outlet_current_a: Floats = field(default_factory=_absent)
    outlet_voltage_v: Floats = field(default_factory=_absent)
    row_pdu: Ints = field(default_factory=_absent_rows)
    row_ids: tuple[str, ...] = ()
    row_names: tuple[str, ...] = ()
    row_kind: Codes = field(default_factory=_absent_codes)  # ROW_KINDS
    row_unit: Ints = field(default_factory=_absent_rows)  # equal for rows of one unit of a chain
    row_power_w: Floats = field(default_factory=_absent)
    row_is_measured: Bools = field(default_factory=_absent_truths)
    row_resolution_w: Floats = field(default_factory=_absent)
    row_energy_j: Floats = field(default_factory=_absent)
    row_current_a: Floats = field(default_factory=_absent)
    row_current_resolution_a: Floats = field(default_factory=_absent)
    row_current_limit_a: Floats = field(default_factory=_absent)
    row_voltage_v: Floats = field(default_factory=_absent)
    row_at_s: Floats = field(default_factory=_absent)
    row_doubt: Codes = field(default_factory=_absent_codes)
    link_meter: Ints = field(default_factory=_absent_rows)
    link_machine: Ints = field(default_factory=_absent_rows)
    link_ratio: Floats = field(default_factory=_absent)
    link_is_shared: Bools = field(default_factory=_absent_truths)
    link_is_by_name: Bools = field(default_factory=_absent_truths)
    contested: Ints = field(default_factory=_absent_rows)
    replaced: Ints = field(default_factory=_absent_rows)

    def __post_init__(self) -> None:
        for names, size in (
            (_LATER_OF_PDU, len(self.ids)), (_LATER_OF_OUTLET, len(self.outlet_ids)), (_LATER_OF_ROW, len(self.row_ids))
        ):  # fmt: skip
            for name, blank in names.items():
                if len(getattr(self, name)) != size:
                    setattr(self, name, blank(size))
        if not len(self.link_machine) and (self.outlet_machine >= 0).any():
            self.link_meter = np.flatnonzero(self.outlet_machine >= 0).astype(np.int32)
            self.link_machine = self.outlet_machine[self.link_meter]
        for name, blank in _LATER_OF_LINK.items():
            if len(getattr(self, name)) != len(self.link_machine):
                setattr(self, name, blank(len(self.link_machine)))


def _no_texts(n: int) -> tuple[str, ...]:
    return ("",) * n


def _falses(n: int) -> Bools:
    return np.zeros(n, bool)


def _zeros(n: int) -> Codes:
    return np.zeros(n, np.uint8)


_LATER_OF_PDU: Mapping[str, Callable[[int], object]] = {
    **dict.fromkeys(("serials", "names", "engines"), _no_texts), "warnings": lambda n: ((),) * n,
    "is_measured": _falses, "resolution_w": _nans, "doubt": _zeros, "changed_s": _nans,
}  # fmt: skip
_LATER_OF_OUTLET: Mapping[str, Callable[[int], object]] = {
    "outlet_names": _no_texts,
    **dict.fromkeys(("outlet_resolution_w", "outlet_energy_j", "outlet_current_a", "outlet_voltage_v"), _nans),
}
_LATER_OF_ROW: Mapping[str, Callable[[int], object]] = {"row_doubt": _zeros}
_LATER_OF_LINK: Mapping[str, Callable[[int], object]] = {
    "link_ratio": np.ones, "link_is_shared": _falses, "link_is_by_name": _falses,
}  # fmt: skip


@dataclass(eq=False)
class Observations:
    """The last good value of each quantity per row and when it came; owned and changed by the agent's table.

    `up` is the result of the last poll: 1, 0, NaN = never polled. `seen_s` is the time of the last reading.
    Model and nameplate columns follow from what is known about the machine, not from one reading.
    `valid_for_s` is for how long a reading counts where its make may not be asked often (0 = two intervals).
    `rival_s`: when another address last showed the names of this machine (NaN = never, or no longer of interest).
    `steady_*` are the machine's own last steady values, kept for ever: they feed the capable columns.
    `work_*`: `fleet.work` says how they hang together; `ratio_*` and `calibration_*`: `fleet.calibration`; `doubt*` and
    `dark_*`: `fleet.doubts`.
    """

    up: Floats
    fault: Codes
    polled_s: Floats
    seen_s: Floats
    valid_for_s: Floats
    rival_s: Floats
    hashrate_hs: Floats
    hashrate_window_s: Floats
    hashrate_now_hs: Floats
    hashrate_expected_hs: Floats
    reported_power_w: Floats
    power_limit_w: Floats
    temperature_c: Floats
    fan_rpm: Floats
    uptime_s: Floats
    error_count: Floats
    warning_count: Floats
    state: Codes
    is_sha256: Bools
    is_expected_pool: Bools
    steady_hashrate_hs: Floats
    steady_power_w: Floats
    model_code: Ints  # equal for machines of the same model, -1 = model not known
    nameplate_hashrate_hs: Floats
    nameplate_power_w: Floats
    work_said: Floats  # (n, WORK_SLOTS): the counters of the last reading
    work_counted: Floats  # up to where they are in the totals
    work_total: Floats
    work_at_s: Floats
    work_shares: Floats  # of the window that is being filled
    work_proven_h: Floats  # hashes
    work_claimed_h: Floats
    work_ratio: Floats  # of the last full window
    is_work_suspect: Bools
    ratio_mean: Floats  # (n, CALIBRATED_BY): metered watts per what it says, of its own meter
    ratio_variance: Floats
    ratio_samples: Floats
    ratio_at_s: Floats  # of the newest sample
    calibration_code: Ints  # equal for machines of the same model and firmware, -1 = not known
    calibration_ratio: Floats  # (n, CALIBRATED_BY): the ones in force, its own or its model's
    calibration_spread: Floats  # (n, CALIBRATED_BY): their relative standard deviation
    doubt: Codes  # bits of MeterDoubt
    doubt_since_s: Floats  # (n, WATCHED): since when each condition of `fleet.doubts` holds
    dark_work: Floats  # looks with new work since its meter went dark
    dark_total: Floats  # accepted shares when it was last looked at for that
    dark_seen_s: Floats

    @classmethod
    def empty(cls, n: int) -> Observations:
        return cls(
            up=_nans(n), fault=np.zeros(n, np.uint8), polled_s=_nans(n), seen_s=_nans(n),
            valid_for_s=np.zeros(n), rival_s=_nans(n),
            hashrate_hs=_nans(n), hashrate_window_s=_nans(n), hashrate_now_hs=_nans(n), hashrate_expected_hs=_nans(n),
            reported_power_w=_nans(n), power_limit_w=_nans(n), error_count=_nans(n), warning_count=_nans(n),
            temperature_c=np.full((n, len(SENSOR_SLOTS)), np.nan), fan_rpm=np.full((n, FAN_SLOTS), np.nan),
            uptime_s=_nans(n), state=np.full(n, STATE_CODES[OperatingState.UNKNOWN], np.uint8),
            is_sha256=np.zeros(n, bool), is_expected_pool=np.ones(n, bool),
            steady_hashrate_hs=_nans(n), steady_power_w=_nans(n),
            model_code=np.full(n, -1, np.int32), nameplate_hashrate_hs=_nans(n), nameplate_power_w=_nans(n),
            work_said=_nans(n, len(WORK_SLOTS)), work_counted=_nans(n, len(WORK_SLOTS)),
            work_total=_nans(n, len(WORK_SLOTS)), work_at_s=_nans(n), work_shares=np.zeros(n),
            work_proven_h=np.zeros(n), work_claimed_h=np.zeros(n), work_ratio=_nans(n),
            is_work_suspect=np.zeros(n, bool),
            ratio_mean=_nans(n, len(CALIBRATED_BY)), ratio_variance=_nans(n, len(CALIBRATED_BY)),
            ratio_samples=np.zeros((n, len(CALIBRATED_BY))), ratio_at_s=_nans(n),
            calibration_code=np.full(n, -1, np.int32), calibration_ratio=_nans(n, len(CALIBRATED_BY)),
            calibration_spread=_nans(n, len(CALIBRATED_BY)),
            doubt=np.zeros(n, np.uint8), doubt_since_s=_nans(n, WATCHED),
            dark_work=np.zeros(n), dark_total=_nans(n), dark_seen_s=_nans(n),
        )  # fmt: skip

    def grown(self, n: int) -> Observations:
        """The same rows followed by empty ones, `n` in all."""
        more = Observations.empty(n - len(self.up))
        return Observations(
            **{f.name: np.concatenate([getattr(self, f.name), getattr(more, f.name)]) for f in fields(self)}
        )

    def first(self, n: int) -> Observations:
        """The first `n` rows; what is written there is written here."""
        return Observations(**{f.name: getattr(self, f.name)[:n] for f in fields(self)})


@dataclass(frozen=True, eq=False)
class Snapshot:
    """The fleet at `at_s`. All arrays have one entry per machine and are read-only; the module says what NaN means.

    The columns behind `pdus` came later: a journal record without them is read as if nobody had said anything.
    """

    at_s: float
    ids: tuple[str, ...]
    infos: tuple[MachineInfo, ...]
    # observed
    up: Floats  # 1, 0, NaN = never polled
    fault: Codes  # readings.FAULT_CODES
    last_seen_s: Floats
    age_s: Floats  # of the readings; NaN = never seen
    hashrate_hs: Floats
    hashrate_reason: Codes
    hashrate_expected_hs: Floats
    reported_power_w: Floats
    metered_power_w: Floats
    metered_age_s: Floats
    power_w: Floats  # the one economics uses, by the ranking of PowerSource
    power_source: Codes
    power_age_s: Floats
    power_reason: Codes
    temperature_c: Floats  # (n, SENSOR_SLOTS)
    fan_rpm: Floats  # (n, FAN_SLOTS)
    uptime_s: Floats
    state: Codes  # STATES
    is_sha256: Bools
    is_expected_pool: Bools
    is_running: Bools  # hashes, past its warm-up, and its meter does not say otherwise
    # capable
    hashrate_if_running_hs: Floats
    hashrate_if_running_source: Codes
    power_if_running_w: Floats
    power_if_running_source: Codes
    standby_w: Floats
    pdus: PduColumns
    hashrate_window_s: Floats = field(default_factory=_absent)
    power_limit_w: Floats = field(default_factory=_absent)
    error_count: Floats = field(default_factory=_absent)  # that the machine reports about itself
    warning_count: Floats = field(default_factory=_absent)  # repaired, missing or doubtful in its last reply
    work_total: Floats = field(default_factory=_absent)  # (n, WORK_SLOTS), counted since the agent started
    work_ratio: Floats = field(default_factory=_absent)  # hashrate by accepted work over the one that is claimed
    suspect: Codes = field(default_factory=_absent_codes)  # bits of Suspect
    is_conflict: Bools = field(default_factory=_absent_truths)  # its names answer at two addresses
    metered_resolution_w: Floats = field(default_factory=_absent)  # the step of its meter, 0 = it says none
    power_sigma_ratio: Floats = field(default_factory=_absent)  # where the meter or the calibration says it
    calibration_ratio: Floats = field(default_factory=_absent)  # metered over reported watts, its own or its model's
    calibration_spread_ratio: Floats = field(default_factory=_absent)  # relative standard deviation of that
    meter_doubt: Codes = field(default_factory=_absent_codes)  # bits of MeterDoubt

    def __post_init__(self) -> None:
        for name, blank in _LATER_COLUMNS.items():
            if len(getattr(self, name)) != len(self.ids):
                object.__setattr__(self, name, blank(len(self.ids)))

    def __len__(self) -> int:
        return len(self.ids)


_LATER_COLUMNS: Mapping[str, Callable[[int], npt.NDArray[np.generic]]] = {
    "hashrate_window_s": _nans, "power_limit_w": _nans, "error_count": _nans, "warning_count": _nans,
    "work_total": lambda n: _nans(n, len(WORK_SLOTS)), "work_ratio": _nans,
    "suspect": _zeros, "is_conflict": _falses, "metered_resolution_w": _nans, "power_sigma_ratio": _nans,
    "calibration_ratio": _nans, "calibration_spread_ratio": _nans, "meter_doubt": _zeros,
}  # fmt: skip

STANDBY_W = 30.0
"""Draw of a sleeping control board; 25 W (LuxOS) to 30 W (stock Antminer) are published, both as claims."""

DARK_RATIO = 0.2
"""A machine metered below this share of its running power does not hash, whatever its last answer said. One board of
three still draws 0.3 of it or more; a sleeping machine 0.01."""

LEAST_J_PER_HASH = 3e-12
"""3 J/TH: a quarter of what the best machine takes. Who hashes on less is metered at another's outlet."""

STEADY_TOLERANCE_RATIO = 0.15
"""A machine is steady while what it does now lies this close to its window: neither ramping nor just stopped."""

IMPLAUSIBLE_HASHRATE_RATIO = 1.3
"""Of what is expected. Windows of 5 minutes scatter by a few percent; what lies above is a wrong unit or a lie."""

OVERCLOCK_RATIO = 1.5
"""What a machine expects of itself is believed up to this multiple of its nameplate."""

IMPLAUSIBLE_POWER_RATIO = 1.5
"""Reported watts above this multiple of the nameplate's are not the machine's: some firmware says 326 W for 80 W. Nor
are metered ones above this multiple of all that is said of the machine: then another hangs there too, or instead."""

ROUNDING_STEPS = 2.0
"""A meter may be off by so many of its steps; what draws little on a coarse one is in no doubt."""

METER_SIGMA_RATIO = 0.01
"""What a meter of its class is off by, beside its resolution."""

SHARE_SIGMA_RATIO = 0.05
"""How well anybody knows which part of a meter's watts is whose."""

STEP_SIGMA = 12.0**-0.5
"""Standard deviation of a value that was rounded to steps, in steps."""

SILENT_FAULTS = tuple(FAULT_CODES[kind] for kind in (FaultKind.REFUSED, FaultKind.UNREACHABLE, FaultKind.TIMEOUT))
"""Faults that mean that nobody answered; any other came from somebody."""

STATES_WITHOUT_WORK = tuple(
    STATE_CODES[state]
    for state in (
        OperatingState.WARMING_UP,
        OperatingState.SLEEPING,
        OperatingState.IDLE,
        OperatingState.FAULTED,
    )
)
"""A machine that says one of these does no steady work, whatever its average of the last half hour still shows."""


def assemble(
    site: Site,
    observed: Observations,
    infos: tuple[MachineInfo, ...],
    pdus: PduColumns,
    now_s: float,
    valid_for_s: float,
) -> Snapshot:
    """Freeze what is known at `now_s`: drop what is too old, choose the watts, fill the capable columns.

    Shapes:  `observed` and `infos` in row order of `site`; `valid_for_s` is two poll intervals.
    Missing: NaN with a reason; a failed poll leaves earlier values valid until they are too old.
    """
    age_s = now_s - observed.seen_s
    row_valid_for_s = np.fmax(observed.valid_for_s, valid_for_s)
    is_valid = np.abs(age_s) <= row_valid_for_s  # from a clock that was set back it is as old as nobody knows
    suspect = _suspicions(site, observed)
    is_lie = (suspect & Suspect.HASHRATE) > 0
    hashrate_hs = np.where(is_valid & ~is_lie, observed.hashrate_hs, np.nan)
    is_power_lie = (suspect & Suspect.POWER) > 0
    reported_w = np.where(is_valid & ~is_power_lie, observed.reported_power_w, np.nan)
    state = np.where(is_valid, observed.state, STATE_CODES[OperatingState.UNKNOWN])
    is_silent = (observed.up == 0.0) & np.isin(observed.fault, SILENT_FAULTS)
    state = np.where(is_silent, STATE_CODES[OperatingState.UNREACHABLE], state).astype(np.uint8)
    is_conflict = is_valid & (observed.up == 1.0) & (now_s - observed.rival_s <= row_valid_for_s)
    absence = _absence(observed, is_valid)
    is_hashing = (hashrate_hs > 0.0) & ~np.isin(observed.state, STATES_WITHOUT_WORK)
    is_answering = observed.up == 1.0
    is_working = is_answering & is_hashing
    should_w = _should_draw(site, observed, is_working, is_answering, reported_w)
    metered, shared = meter(pdus, should_w, is_working, now_s, valid_for_s)
    can_w, can_w_source = _capable(
        observed.steady_power_w, observed.model_code, site.power_configured_w, observed.nameplate_power_w
    )
    doubt = observed.doubt.copy()
    doubt[pdus.contested] |= np.uint8(MeterDoubt.CONTESTED)
    doubt[pdus.replaced] |= np.uint8(MeterDoubt.REPLACED)
    most_w = IMPLAUSIBLE_POWER_RATIO * np.fmax(reported_w, np.fmax(site.power_configured_w, observed.nameplate_power_w))
    is_excess = metered.exceeds(most_w)
    doubt[is_excess | shared.exceeds(most_w)] |= np.uint8(MeterDoubt.EXCESS)
    # the meter often sees an outlet go off before the next poll misses the machine; work that goes on is the stronger
    # evidence, and then it is the meter that is another's
    is_other = (doubt & MeterDoubt.HASH_WITHOUT_POWER) > 0
    is_dark = (metered.watts <= DARK_RATIO * np.nan_to_num(can_w)) & ~is_other
    is_running = is_working & ~is_dark
    believed, part = metered.unless(is_other | is_excess), shared.unless(shared.exceeds(most_w))
    power_w, power_source, power_age_s = _rank_power(
        site, observed, hashrate_hs, is_running, believed, part, reported_w, age_s
    )
    can_hs, can_hs_source = _capable(
        observed.steady_hashrate_hs, observed.model_code, site.hashrate_configured_hs, observed.nameplate_hashrate_hs
    )

    def valid(column: Floats) -> Floats:
        return np.where(is_valid if column.ndim == 1 else is_valid[:, None], column, np.nan)

    def reason(column: Floats, is_lie: Bools) -> Codes:
        why = np.where(is_valid & is_lie, Reason.IMPLAUSIBLE, absence)
        return np.where(np.isnan(column), why, Reason.NONE).astype(np.uint8)

    return _frozen(
        Snapshot(
            at_s=now_s,
            ids=site.ids,
            infos=infos,
            up=observed.up.copy(),
            fault=observed.fault.copy(),
            last_seen_s=observed.seen_s.copy(),
            age_s=age_s,
            hashrate_hs=hashrate_hs,
            hashrate_reason=reason(hashrate_hs, is_lie),
            hashrate_expected_hs=valid(observed.hashrate_expected_hs),
            reported_power_w=reported_w,
            metered_power_w=metered.watts,
            metered_age_s=metered.age_s,
            power_w=power_w,
            power_source=power_source,
            power_age_s=power_age_s,
            power_reason=reason(power_w, is_power_lie),
            temperature_c=valid(observed.temperature_c),
            fan_rpm=valid(observed.fan_rpm),
            uptime_s=valid(observed.uptime_s),
            state=state,
            is_sha256=observed.is_sha256.copy(),
            is_expected_pool=observed.is_expected_pool.copy(),
            is_running=is_running,
            hashrate_if_running_hs=can_hs,
            hashrate_if_running_source=can_hs_source,
            power_if_running_w=can_w,
            power_if_running_source=can_w_source,
            standby_w=np.full(len(site), STANDBY_W),
            pdus=pdus,
            hashrate_window_s=np.where(np.isnan(hashrate_hs), np.nan, observed.hashrate_window_s),
            power_limit_w=valid(observed.power_limit_w),
            error_count=valid(observed.error_count),
            warning_count=valid(observed.warning_count),
            work_total=valid(observed.work_total),
            work_ratio=np.where(is_valid & observed.is_sha256, observed.work_ratio, np.nan),
            suspect=np.where(is_valid, suspect, 0).astype(np.uint8),
            is_conflict=is_conflict,
            metered_resolution_w=metered.resolution_w,
            power_sigma_ratio=_power_sigma(power_source, metered, shared, observed, reported_w),
            calibration_ratio=observed.calibration_ratio[:, 0].copy(),
            calibration_spread_ratio=observed.calibration_spread[:, 0].copy(),
            meter_doubt=doubt,
        )
    )


@dataclass(frozen=True, eq=False)
class Metered:
    """What meters say of each machine: W, seconds, and the steps (W) in which they say it; NaN = not metered."""

    watts: Floats
    age_s: Floats
    resolution_w: Floats

    def unless(self, rows: Bools) -> Metered:
        """The same without these machines."""
        return Metered(*(np.where(rows, np.nan, column) for column in (self.watts, self.age_s, self.resolution_w)))

    def exceeds(self, most_w: Floats) -> Bools:
        """Machines for which that is too much, beyond what a meter rounds; none where nobody knows the most."""
        is_more: Bools = self.watts - ROUNDING_STEPS * np.nan_to_num(self.resolution_w) > most_w
        return is_more


def _should_draw(
    site: Site, observed: Observations, is_working: Bools, is_answering: Bools, reported_w: Floats
) -> Floats:
    """Watts that each machine should draw now; NaN for one that is silent, or does nobody knows what.

    One that warms up or has failed may draw anything: there only its own word counts.
    """
    works_w = _else(reported_w, _else(site.power_configured_w, observed.nameplate_power_w))
    said_w = np.where(reported_w > 0.0, reported_w, np.nan)
    is_asleep = observed.state == STATE_CODES[OperatingState.SLEEPING]
    stands_w = np.where(is_asleep, STANDBY_W, said_w)
    return np.where(is_working, works_w, np.where(is_answering, stands_w, np.nan))


def meter(
    pdus: PduColumns, should_w: Floats, is_working: Bools, now_s: float, valid_for_s: float
) -> tuple[Metered, Metered]:
    """What meters say of each machine, first of those that have theirs alone, then of those that share one.

    A machine draws the sum over its cords, which is missing as soon as one of them is. Only rows that measure active
    power count; an estimate is never called metered, nor what a PDU says that has stood still.

    Shapes:  `should_w` (n,): what each machine on a shared meter should draw now, NaN = not known; then nobody on that
             meter has a part of it. Stated shares are of machines that all work: while one does not, nobody has his.
    """
    n, machine, at = len(should_w), pdus.link_machine, pdus.link_meter

    def column(outlets: npt.NDArray[Scalar], rows: npt.NDArray[Scalar], none: object) -> npt.NDArray[Scalar]:
        """By link; the last entry is the meter that is not there, number -1."""
        told: npt.NDArray[Scalar] = np.concatenate([outlets, rows, np.array([none], outlets.dtype)])[at]
        return told

    watts = column(pdus.outlet_power_w, pdus.row_power_w, np.nan)
    age_s = now_s - column(pdus.outlet_at_s, pdus.row_at_s, np.nan)
    is_measured = column(pdus.outlet_is_measured, pdus.row_is_measured, False)
    step_w = np.nan_to_num(column(pdus.outlet_resolution_w, pdus.row_resolution_w, np.nan))
    still = (pdus.doubt & PduDoubt.FROZEN) > 0
    is_still = column(still[pdus.outlet_pdu], still[pdus.row_pdu], False)
    ratio = pdus.link_ratio
    if (by_draw := np.isnan(ratio)).any():
        ratio = np.where(by_draw, _parts(at, np.where(by_draw, should_w[machine], 0.0)), ratio)
    if (stated := pdus.link_is_shared & ~by_draw).any():
        ratio = np.where(stated & _has_any(at, stated & ~is_working[machine]), np.nan, ratio)
    is_said = is_measured & ~is_still & (watts >= 0.0)
    usable = (np.abs(age_s) <= valid_for_s) & is_said & ~np.isnan(ratio)
    owner = machine[usable]
    is_whole = np.bincount(machine, minlength=n) == np.bincount(owner, minlength=n)
    is_shared = np.bincount(machine[pdus.link_is_shared], minlength=n) > 0
    total_w: Floats = np.bincount(owner, weights=(watts * ratio)[usable], minlength=n).astype(np.float64)
    total_step_w: Floats = np.bincount(owner, weights=(step_w * ratio)[usable], minlength=n).astype(np.float64)
    oldest_s = np.full(n, -np.inf)
    np.maximum.at(oldest_s, owner, age_s[usable])
    is_metered = is_whole & np.isfinite(oldest_s)
    every = Metered(total_w, oldest_s, total_step_w)
    return every.unless(~is_metered | is_shared), every.unless(~is_metered | ~is_shared)


def _has_any(meter: Ints, links: Bools) -> Bools:
    """Links whose meter has one of these."""
    has_any: Bools = (np.bincount(meter + 1, weights=links) > 0)[meter + 1]
    return has_any


def _parts(meter: Ints, should_w: Floats) -> Floats:
    """Each link's part of what all links of its meter should draw; one that is not known spoils its meter."""
    total_w = np.bincount(meter + 1, weights=should_w)[meter + 1]
    return should_w / np.where(total_w > 0.0, total_w, np.nan)


TEACHES = np.isin(
    np.arange(len(PowerSource)),
    (PowerSource.METERED, PowerSource.SHARED, PowerSource.CALIBRATED, PowerSource.REPORTED),
)
"""By PowerSource code: watts that somebody measured or reported, which say what a machine draws when it runs."""


def is_steady(observed: Observations, snapshot: Snapshot) -> Bools:
    """Machines that run and do now what their window shows: neither ramping nor just stopped, and nobody's double."""
    drift = np.abs(observed.hashrate_now_hs / np.where(snapshot.hashrate_hs > 0, snapshot.hashrate_hs, np.nan) - 1.0)
    return snapshot.is_running & ~snapshot.is_conflict & ~(drift > STEADY_TOLERANCE_RATIO)


def learn_steady(observed: Observations, snapshot: Snapshot) -> None:
    """Remember, in place, what each steadily running machine does: the basis of its capable columns.

    A machine that ramps up, or whose window still shows work that has stopped, is not steady; nor are watts that
    nobody measured or reported, or on which no machine could hash so much. Two machines that pass for one teach
    nothing about either.
    """
    rows = is_steady(observed, snapshot)
    observed.steady_hashrate_hs[rows] = snapshot.hashrate_hs[rows]
    has_watts = rows & TEACHES[snapshot.power_source] & (snapshot.power_w >= LEAST_J_PER_HASH * snapshot.hashrate_hs)
    observed.steady_power_w[has_watts] = snapshot.power_w[has_watts]


def _suspicions(site: Site, observed: Observations) -> Codes:
    """Bits of Suspect per row. Without anything to compare with there is no suspicion."""
    plate_hs = _else(site.hashrate_configured_hs, observed.nameplate_hashrate_hs)
    plate_w = _else(site.power_configured_w, observed.nameplate_power_w)
    # A machine that is overclocked may do what it expects of itself, but a wrong unit is wrong in both numbers.
    is_own_believed = ~(observed.hashrate_expected_hs > OVERCLOCK_RATIO * plate_hs)
    most_hs = np.fmax(plate_hs, np.where(is_own_believed, observed.hashrate_expected_hs, np.nan))
    is_hashrate = observed.hashrate_hs > IMPLAUSIBLE_HASHRATE_RATIO * most_hs
    watts = observed.reported_power_w
    is_power = (watts > IMPLAUSIBLE_POWER_RATIO * plate_w) | ((watts <= 0.0) & (observed.hashrate_hs > 0.0))
    is_work = observed.is_work_suspect & observed.is_sha256
    suspect = np.zeros(len(watts), np.uint8)
    for bit, rows in ((Suspect.HASHRATE, is_hashrate), (Suspect.POWER, is_power), (Suspect.WORK, is_work)):
        suspect[rows] |= np.uint8(bit)
    return suspect


def _else(first: Floats, second: Floats) -> Floats:
    return np.where(np.isnan(first), second, first)


def _absence(observed: Observations, is_valid: Bools) -> Codes:
    """Why a quantity of each row would be missing."""
    reason = np.full(len(is_valid), Reason.NOT_REPORTED, np.uint8)
    reason[~is_valid] = Reason.STALE
    reason[~is_valid & (observed.up == 0.0)] = Reason.UNREACHABLE
    reason[np.isnan(observed.seen_s) & ~(observed.up == 0.0)] = Reason.NEVER_SEEN
    return reason


def _rank_power(
    site: Site,
    observed: Observations,
    hashrate_hs: Floats,
    is_running: Bools,
    metered: Metered,
    shared: Metered,
    reported_w: Floats,
    age_s: Floats,
) -> tuple[Floats, Codes, Floats]:
    """Watts by metered > shared > calibrated > reported > configured > nameplate, with source and age.

    Calibrated watts are learned from machines that run, and the last two are beliefs about one that does: these stand
    in only while it runs. Nameplate watts scale with the hashrate, because one model name covers many bins.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        nameplate_w = observed.nameplate_power_w * hashrate_hs / observed.nameplate_hashrate_hs
    calibrated_w = _calibrated(observed.calibration_ratio, reported_w) * _else(reported_w, hashrate_hs)
    ladder = (
        (PowerSource.METERED, metered.watts, metered.age_s),
        (PowerSource.SHARED, shared.watts, shared.age_s),
        (PowerSource.CALIBRATED, np.where(is_running, calibrated_w, np.nan), age_s),
        (PowerSource.REPORTED, np.where(reported_w > 0.0, reported_w, np.nan), age_s),  # what answers draws something
        (PowerSource.CONFIGURED, np.where(is_running, site.power_configured_w, np.nan), age_s),
        (PowerSource.NAMEPLATE, np.where(is_running, nameplate_w, np.nan), age_s),
    )
    watts, source, chosen_age_s = _first_known(
        [(code, column) for code, column, _ in ladder], [a for _, _, a in ladder]
    )
    return watts, source, chosen_age_s


def _calibrated(column: Floats, reported_w: Floats) -> Floats:
    """The calibration that fits a machine: by its own watts where it says any, else by its hashrate."""
    return np.where(np.isnan(reported_w), column[:, 1], column[:, 0])


def _power_sigma(
    source: Codes, metered: Metered, shared: Metered, observed: Observations, reported_w: Floats
) -> Floats:
    """Relative standard deviation of the watts where a meter or a calibration says it, NaN elsewhere."""

    def of_meter(sees: Metered, ratio: float) -> Floats:
        step = STEP_SIGMA * sees.resolution_w / np.where(sees.watts > 0.0, sees.watts, np.nan)
        return np.hypot(ratio, np.nan_to_num(step))

    spread = _calibrated(observed.calibration_spread, reported_w)
    return np.select(
        [source == PowerSource.METERED, source == PowerSource.SHARED, source == PowerSource.CALIBRATED],
        [
            of_meter(metered, METER_SIGMA_RATIO),
            of_meter(shared, SHARE_SIGMA_RATIO),
            np.hypot(METER_SIGMA_RATIO, spread),
        ],
        np.nan,
    )


def _capable(steady: Floats, model_code: Ints, configured: Floats, nameplate: Floats) -> tuple[Floats, Codes]:
    value, source, _ = _first_known(
        [
            (CapableSource.STEADY, steady),
            (CapableSource.MODEL_MEAN, model_mean(steady, model_code)),
            (CapableSource.CONFIGURED, configured),
            (CapableSource.NAMEPLATE, nameplate),
        ],
        [np.zeros(len(steady))] * 4,
    )
    return value, source


def _first_known(
    ladder: list[tuple[PowerSource, Floats]] | list[tuple[CapableSource, Floats]], ages_s: list[Floats]
) -> tuple[Floats, Codes, Floats]:
    """Per row the first column of the ladder that is not NaN, its code and its age."""
    n = len(ages_s[0])
    value, code, age_s = np.full(n, np.nan), np.zeros(n, np.uint8), np.full(n, np.nan)
    for (step, column), step_age_s in zip(ladder, ages_s, strict=True):
        take = np.isnan(value) & ~np.isnan(column)
        value[take], code[take], age_s[take] = column[take], step, step_age_s[take]
    return value, code, age_s


def model_mean(values: Floats, model_code: Ints) -> Floats:
    """Per row the mean of the known values of its model; NaN where the model is not known or no value is."""
    known = (model_code >= 0) & ~np.isnan(values)
    size = int(model_code.max(initial=-1)) + 1
    count = np.bincount(model_code[known], minlength=size)
    total = np.bincount(model_code[known], weights=values[known], minlength=size)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = total / np.where(count > 0, count, np.nan)
    return np.where(model_code >= 0, np.append(mean, np.nan)[model_code], np.nan)


def _frozen(snapshot: Snapshot) -> Snapshot:
    for f in fields(snapshot):
        column = getattr(snapshot, f.name)
        if isinstance(column, np.ndarray):
            column.setflags(write=False)
    return snapshot
