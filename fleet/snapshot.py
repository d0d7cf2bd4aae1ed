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

import numpy as np
import numpy.typing as npt

from fleet.readings import FAULT_CODES, CapableSource, FaultKind, OperatingState, PowerSource, Reason, Sensor
from fleet.site import Site

Floats = npt.NDArray[np.float64]
Codes = npt.NDArray[np.uint8]
Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int32]

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


@dataclass(eq=False)
class PduColumns:
    """PDUs and their outlets as two tables; `outlet_pdu` is the PDU row and `outlet_machine` the machine row or -1."""

    ids: tuple[str, ...] = ()
    up: Floats = field(default_factory=lambda: np.empty(0))
    fault: Codes = field(default_factory=lambda: np.empty(0, np.uint8))
    last_seen_s: Floats = field(default_factory=lambda: np.empty(0))
    power_w: Floats = field(default_factory=lambda: np.empty(0))
    energy_j: Floats = field(default_factory=lambda: np.empty(0))
    temperature_c: Floats = field(default_factory=lambda: np.empty(0))
    profiles: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    outlet_pdu: Ints = field(default_factory=lambda: np.empty(0, np.int32))
    outlet_ids: tuple[str, ...] = ()
    outlet_machine: Ints = field(default_factory=lambda: np.empty(0, np.int32))
    outlet_power_w: Floats = field(default_factory=lambda: np.empty(0))
    outlet_is_measured: Bools = field(default_factory=lambda: np.empty(0, bool))
    outlet_on: Floats = field(default_factory=lambda: np.empty(0))  # 1, 0, NaN = unknown
    outlet_at_s: Floats = field(default_factory=lambda: np.empty(0))


def _nans(*shape: int) -> Floats:
    return np.full(shape, np.nan)


@dataclass(eq=False)
class Observations:
    """The last good value of each quantity per row and when it came; owned and changed by the agent's table.

    `up` is the result of the last poll: 1, 0, NaN = never polled. `seen_s` is the time of the last reading.
    Model and nameplate columns follow from what is known about the machine, not from one reading.
    `valid_for_s` is for how long a reading counts where its make may not be asked often (0 = two intervals).
    `rival_s`: when another address last showed the names of this machine (NaN = never, or no longer of interest).
    `steady_*` are the machine's own last steady values, kept for ever: they feed the capable columns.
    `work_*`: `fleet.work` says how they hang together.
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


def _absent() -> Floats:
    return np.empty(0)


def _absent_codes() -> Codes:
    return np.empty(0, np.uint8)


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
    is_conflict: Bools = field(default_factory=lambda: np.empty(0, bool))  # its names answer at two addresses

    def __post_init__(self) -> None:
        for name, blank in _LATER_COLUMNS.items():
            if len(getattr(self, name)) != len(self.ids):
                object.__setattr__(self, name, blank(len(self.ids)))

    def __len__(self) -> int:
        return len(self.ids)


_LATER_COLUMNS: Mapping[str, Callable[[int], npt.NDArray[np.generic]]] = {
    "hashrate_window_s": _nans, "power_limit_w": _nans, "error_count": _nans, "warning_count": _nans,
    "work_total": lambda n: _nans(n, len(WORK_SLOTS)), "work_ratio": _nans,
    "suspect": lambda n: np.zeros(n, np.uint8), "is_conflict": lambda n: np.zeros(n, bool),
}  # fmt: skip

STANDBY_W = 30.0
"""Draw of a sleeping control board; 25 W (LuxOS) to 30 W (stock Antminer) are published, both as claims."""

DARK_RATIO = 0.2
"""A machine metered below this share of its running power does not hash, whatever its last answer said. One board of
three still draws 0.3 of it or more; a sleeping machine 0.01."""

STEADY_TOLERANCE_RATIO = 0.15
"""A machine is steady while what it does now lies this close to its window: neither ramping nor just stopped."""

IMPLAUSIBLE_HASHRATE_RATIO = 1.3
"""Of what is expected. Windows of 5 minutes scatter by a few percent; what lies above is a wrong unit or a lie."""

OVERCLOCK_RATIO = 1.5
"""What a machine expects of itself is believed up to this multiple of its nameplate."""

IMPLAUSIBLE_POWER_RATIO = 1.5
"""Reported watts above this multiple of the nameplate's are not the machine's: some firmware says 326 W for 80 W."""

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
    is_valid = age_s <= row_valid_for_s
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
    metered_w, metered_age_s = meter(pdus, len(site), now_s, valid_for_s)
    can_w, can_w_source = _capable(
        observed.steady_power_w, observed.model_code, site.power_configured_w, observed.nameplate_power_w
    )
    # the meter often sees an outlet go off before the next poll misses the machine
    is_dark = metered_w <= DARK_RATIO * np.nan_to_num(can_w)
    is_hashing = (hashrate_hs > 0.0) & ~np.isin(observed.state, STATES_WITHOUT_WORK)
    is_running = (observed.up == 1.0) & is_hashing & ~is_dark
    power_w, power_source, power_age_s = _rank_power(
        site, observed, hashrate_hs, is_running, metered_w, metered_age_s, reported_w, age_s
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
            metered_power_w=metered_w,
            metered_age_s=metered_age_s,
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
        )
    )


def meter(pdus: PduColumns, n: int, now_s: float, valid_for_s: float) -> tuple[Floats, Floats]:
    """Metered watts and their age per machine: the sum over its outlets, missing as soon as one of them is.

    Only rows that measure active power count; an estimate is never called metered.
    """
    mapped = pdus.outlet_machine >= 0
    machine = pdus.outlet_machine[mapped]
    age_s = now_s - pdus.outlet_at_s[mapped]
    usable = (age_s <= valid_for_s) & pdus.outlet_is_measured[mapped] & ~np.isnan(pdus.outlet_power_w[mapped])
    outlets = np.bincount(machine, minlength=n)
    heard = np.bincount(machine[usable], minlength=n)
    watts = np.bincount(machine[usable], weights=pdus.outlet_power_w[mapped][usable], minlength=n)
    oldest_s = np.zeros(n)
    np.maximum.at(oldest_s, machine[usable], age_s[usable])
    is_metered = (outlets > 0) & (heard == outlets)
    return np.where(is_metered, watts, np.nan), np.where(is_metered, oldest_s, np.nan)


def learn_steady(observed: Observations, snapshot: Snapshot) -> None:
    """Remember, in place, what each steadily running machine does: the basis of its capable columns.

    A machine that ramps up, or whose window still shows work that has stopped, is not steady; nor are watts that
    nobody measured or reported. Two machines that pass for one teach nothing about either.
    """
    drift = np.abs(observed.hashrate_now_hs / np.where(snapshot.hashrate_hs > 0, snapshot.hashrate_hs, np.nan) - 1.0)
    is_steady = snapshot.is_running & ~snapshot.is_conflict & ~(drift > STEADY_TOLERANCE_RATIO)
    observed.steady_hashrate_hs[is_steady] = snapshot.hashrate_hs[is_steady]
    has_watts = is_steady & (snapshot.power_source >= PowerSource.METERED) & (
        snapshot.power_source <= PowerSource.REPORTED
    )  # fmt: skip
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
    metered_w: Floats,
    metered_age_s: Floats,
    reported_w: Floats,
    age_s: Floats,
) -> tuple[Floats, Codes, Floats]:
    """Watts by metered > reported > configured > nameplate, with source and age.

    The last two are beliefs about a machine that hashes: they stand in only while it does. Nameplate watts scale with
    the hashrate, because one model name covers many bins.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        nameplate_w = observed.nameplate_power_w * hashrate_hs / observed.nameplate_hashrate_hs
    ladder = (
        (PowerSource.METERED, metered_w, metered_age_s),
        (PowerSource.REPORTED, np.where(reported_w > 0.0, reported_w, np.nan), age_s),  # what answers draws something
        (PowerSource.CONFIGURED, np.where(is_running, site.power_configured_w, np.nan), age_s),
        (PowerSource.NAMEPLATE, np.where(is_running, nameplate_w, np.nan), age_s),
    )
    watts, source, chosen_age_s = _first_known(
        [(code, column) for code, column, _ in ladder], [a for _, _, a in ladder]
    )
    return watts, source, chosen_age_s


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
