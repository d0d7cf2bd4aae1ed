"""The fleet as a table: one row per machine, one numpy column per quantity, at one instant.

Observed columns say what is; capable columns say what would be if the machine ran. A missing quantity is NaN and its
`*_reason` column says why; what is too old turns into NaN with reason STALE here, so no formula asks about age.

`Observations` is what the agent's table keeps (the last good value of each quantity and when it came); `assemble`
turns it into a `Snapshot`. Units: H/s, W, degrees Celsius, rpm, Unix seconds, seconds.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields

import numpy as np
import numpy.typing as npt

from fleet.readings import CapableSource, OperatingState, PowerSource, Reason, Sensor
from fleet.site import Site, fold_model

Floats = npt.NDArray[np.float64]
Codes = npt.NDArray[np.uint8]
Bools = npt.NDArray[np.bool_]

SENSOR_SLOTS: tuple[tuple[Sensor, int], ...] = (
    *((Sensor.BOARD, i) for i in range(4)),
    *((Sensor.CHIP, i) for i in range(4)),
    (Sensor.INLET, 0),
    (Sensor.OUTLET, 0),
    (Sensor.PSU, 0),
)
"""What each column of `temperature_c` holds."""

FAN_SLOTS = 5

STATE_CODES: dict[OperatingState, int] = {state: i for i, state in enumerate(OperatingState)}
STATES: tuple[OperatingState, ...] = tuple(OperatingState)


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
    outlet_pdu: npt.NDArray[np.int32] = field(default_factory=lambda: np.empty(0, np.int32))
    outlet_ids: tuple[str, ...] = ()
    outlet_machine: npt.NDArray[np.int32] = field(default_factory=lambda: np.empty(0, np.int32))
    outlet_power_w: Floats = field(default_factory=lambda: np.empty(0))
    outlet_is_measured: Bools = field(default_factory=lambda: np.empty(0, bool))
    outlet_on: Floats = field(default_factory=lambda: np.empty(0))  # 1, 0, NaN = unknown
    outlet_at_s: Floats = field(default_factory=lambda: np.empty(0))


def _nans(n: int) -> Floats:
    return np.full(n, np.nan)


@dataclass(eq=False)
class Observations:
    """The last good value of each quantity per row and when it came; owned and changed by the agent's table.

    `up` is the result of the last poll: 1, 0, NaN = never polled. `seen_s` is the time of the last reading.
    `steady_*` are the machine's own last steady values, kept for ever: they feed the capable columns.
    """

    up: Floats
    fault: Codes
    polled_s: Floats
    seen_s: Floats
    hashrate_hs: Floats
    hashrate_now_hs: Floats
    hashrate_expected_hs: Floats
    reported_power_w: Floats
    temperature_c: Floats
    fan_rpm: Floats
    uptime_s: Floats
    state: Codes
    is_sha256: Bools
    is_expected_pool: Bools
    steady_hashrate_hs: Floats
    steady_power_w: Floats
    steady_power_source: Codes

    @classmethod
    def empty(cls, n: int) -> Observations:
        return cls(
            up=_nans(n), fault=np.zeros(n, np.uint8), polled_s=_nans(n), seen_s=_nans(n),
            hashrate_hs=_nans(n), hashrate_now_hs=_nans(n), hashrate_expected_hs=_nans(n),
            reported_power_w=_nans(n),
            temperature_c=np.full((n, len(SENSOR_SLOTS)), np.nan), fan_rpm=np.full((n, FAN_SLOTS), np.nan),
            uptime_s=_nans(n), state=np.full(n, STATE_CODES[OperatingState.UNKNOWN], np.uint8),
            is_sha256=np.zeros(n, bool), is_expected_pool=np.ones(n, bool),
            steady_hashrate_hs=_nans(n), steady_power_w=_nans(n), steady_power_source=np.zeros(n, np.uint8),
        )  # fmt: skip

    def grown(self, n: int) -> Observations:
        """The same rows followed by empty ones, `n` in all."""
        more = Observations.empty(n - len(self.up))
        return Observations(
            **{f.name: np.concatenate([getattr(self, f.name), getattr(more, f.name)]) for f in fields(self)}
        )


@dataclass(frozen=True, eq=False)
class Snapshot:
    """The fleet at `at_s`. All arrays have one entry per machine and are read-only; see the module for NaN and reasons."""

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
    is_running: Bools  # hashes, and past its warm-up
    # capable
    hashrate_if_running_hs: Floats
    hashrate_if_running_source: Codes
    power_if_running_w: Floats
    power_if_running_source: Codes
    standby_w: Floats
    pdus: PduColumns

    def __len__(self) -> int:
        return len(self.ids)
