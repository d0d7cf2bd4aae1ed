"""What one look at one device gives: a reading, or a fault with its kind.

None means "the device did not say", never zero. A collector returns a reading or raises `ports.PollError`; the poller
turns that error into a `Fault`. Objects per device live only here, at the edge: past the table there are only columns.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, StrEnum


class FaultKind(StrEnum):
    """Why a poll gave no reading, sorted by what the operator would do about it."""

    REFUSED = "refused"  # the host is up, the API is not
    UNREACHABLE = "unreachable"  # no answer at connect
    TIMEOUT = "timeout"  # connected, then silent past the deadline
    DENIED = "denied"  # credentials or access list
    MALFORMED = "malformed"  # bytes that no repair could read
    OVERSIZE = "oversize"  # longer than any honest reply
    UNSUPPORTED = "unsupported"  # we have no driver or profile for it
    IDENTITY = "identity"  # another machine answers at this address


@dataclass(frozen=True, slots=True)
class Fault:
    """One failed poll. `detail` is for people: bounded, printable, free of secrets.

    `wait_s`: how long the other side asked to be left alone; 0 = it did not.
    """

    kind: FaultKind
    detail: str = ""
    wait_s: float = 0.0


class OperatingState(StrEnum):
    """What the evidence says a machine is doing; `unknown` where there is none."""

    MINING = "mining"
    WARMING_UP = "warming_up"
    SLEEPING = "sleeping"
    IDLE = "idle"
    FAULTED = "faulted"
    UNREACHABLE = "unreachable"  # never said by a machine: the table's word where the last look found nobody
    UNKNOWN = "unknown"


class Sensor(StrEnum):
    """Where a temperature is taken; boards and chips are told apart from air."""

    __hash__ = str.__hash__  # the one of Enum runs in Python, and every look hashes a dozen

    BOARD = "board"
    CHIP = "chip"
    INLET = "inlet"
    OUTLET = "outlet"
    PSU = "psu"
    REGULATOR = "regulator"


@dataclass(slots=True, unsafe_hash=True)
class Temperature:
    """Hottest value of one place. `index` is the machine's own board number where its boards are numbered within 0..3,
    else the board's position from 0; air, coolant and power supply have 0. Changed by nobody; not frozen, because every
    look makes half a dozen."""

    sensor: Sensor
    index: int
    celsius: float


@dataclass(frozen=True, slots=True)
class Board:
    """One hash board, told only where somebody asked for everything. `id` as the machine numbers it."""

    id: str
    hashrate_hs: float | None = None
    hashrate_window_s: float | None = None
    hashrate_expected_hs: float | None = None
    chips: int | None = None
    frequency_hz: float | None = None
    voltage_v: float | None = None
    hardware_errors: float | None = None
    serial: str | None = None


@dataclass(frozen=True, slots=True)
class MachineError:
    """One error that a machine reports about itself: its own code, and what that means in words."""

    code: str
    text: str


@dataclass(frozen=True, slots=True)
class Preset:
    """One point at which a firmware offers to run a machine. Both numbers are the firmware's own opinion.

    `name` is None where the firmware gives it none. `is_tuned`: whether this very machine was tuned for it; None = the
    firmware knows no such thing.
    """

    name: str | None
    hashrate_hs: float
    power_w: float
    is_tuned: bool | None = None


@dataclass(slots=True)
class MinerReading:
    """One answer of one machine. Units: H/s, W, degrees Celsius, rpm, seconds; None = not said.

    `hashrate_hs` is the money window (5 to 30 minutes, never longer than the uptime), `hashrate_window_s` its length,
    `hashrate_key` and `power_key` the names under which the machine gave the two numbers that decide about money.
    `reported_power_w` is the machine's own number; `power_side` says what it is: "ac", "dc" or "model" (an estimate of
    the firmware). `dc_power_w` is what goes to the boards where a machine says both.
    `algorithm` is "sha256" only where that is proven by make and model; None = not proven.
    `way` is how this machine is asked and what was learned about that, for the driver that asks it after a restart.
    `pace_s`: this make is not asked more often than so; 0 = as often as the operator likes.
    `slow_age_s`: how old the answers are that are not asked at every look (pools, modes, errors; temperatures and fans
    of some makes); None = everything is of this look.
    A reading is filled by its driver and changed by nobody after that. It is not frozen, because that would double the
    cost of making one, which is a good part of a look.
    """

    driver: str
    make: str
    model: str | None = None
    firmware: str | None = None
    mac: str | None = None  # 12 lower-case hex digits
    serial: str | None = None
    hostname: str | None = None
    algorithm: str | None = None
    state: OperatingState = OperatingState.UNKNOWN
    hashrate_hs: float | None = None
    hashrate_window_s: float | None = None
    hashrate_key: str | None = None
    hashrate_now_hs: float | None = None
    hashrate_expected_hs: float | None = None
    reported_power_w: float | None = None
    power_side: str | None = None
    power_key: str | None = None
    power_limit_w: float | None = None
    dc_power_w: float | None = None
    mode: str | None = None  # the machine's own word for its power mode, preset or profile
    presets: tuple[Preset, ...] = ()  # told by the rare looks that ask for them; () = not asked, or none
    temperatures: tuple[Temperature, ...] = ()
    fans_rpm: tuple[float | None, ...] = ()
    uptime_s: float | None = None
    shares_accepted: float | None = None
    shares_rejected: float | None = None
    shares_stale: float | None = None
    difficulty_accepted: float | None = None
    difficulty_rejected: float | None = None
    pool_host: str | None = None  # host of the pool that gets the work, never the account
    pool_alive: bool | None = None
    errors: tuple[MachineError, ...] = ()
    boards: tuple[Board, ...] = ()
    way: str | None = None
    pace_s: float = 0.0
    slow_age_s: float | None = None
    warnings: tuple[str, ...] = ()  # closed words: what was repaired, missing or suspect in this reply


class RowKind(StrEnum):
    """What a PDU row measures. Rows of different kinds see the same load and are never added."""

    UNIT = "unit"
    INLET = "inlet"
    PHASE = "phase"  # of one inlet: its watts add up to the inlet's
    LINE = "line"  # a conductor: only its current
    BANK = "bank"  # outlets behind one breaker
    GROUP = "group"  # outlets that the operator put together; groups overlap and are never summed
    OUTLET = "outlet"
    PROBE = "probe"


class Quality(StrEnum):
    MEASURED = "measured"  # the device meters active power
    ESTIMATED = "estimated"  # a formula, a configured voltage, VA taken as W
    MISSING = "missing"


class Gap(StrEnum):
    """Why a PDU gives no value for something that its family has."""

    SENTINEL = "sentinel"  # the device says "not available" in its own way
    IMPLAUSIBLE = "implausible"  # out of bounds, or a state that means nothing
    WRONG_TYPE = "wrong_type"  # text where a number is due, and the like


class Counting(StrEnum):
    """What an energy counter counts from."""

    LIFETIME = "lifetime"
    RESETTABLE = "resettable"  # since somebody set it back


@dataclass(frozen=True, slots=True)
class PduRow:
    """One row of a PDU: the unit itself, an inlet, a phase, a bank, an outlet, a probe. `id` is unique in its kind."""

    kind: RowKind
    id: str  # as printed on the device, "1".."48", "AA1"; "2.7" is number 7 of the second unit of a chain
    name: str | None = None  # what somebody called it
    unit: str | None = None  # which unit of a chain, None where the agent speaks for one
    power_w: float | None = None
    power_quality: Quality = Quality.MISSING
    power_resolution_w: float | None = None
    energy_j: float | None = None
    energy_counting: Counting = Counting.RESETTABLE
    energy_wraps_j: float | None = None  # where the counter starts again from zero, None = not known
    energy_since: str | None = None  # when it was set back, in the device's words
    apparent_power_va: float | None = None
    power_factor: float | None = None
    current_a: float | None = None
    current_resolution_a: float | None = None
    current_limit_a: float | None = None  # rating of the breaker or the line
    voltage_v: float | None = None
    frequency_hz: float | None = None
    is_on: bool | None = None  # of an outlet; of a bank: the breaker is closed
    phase: str | None = None  # what an outlet or a bank hangs on
    bank: str | None = None
    temperature_c: float | None = None
    humidity_ratio: float | None = None
    gaps: tuple[tuple[str, Gap], ...] = ()  # (field, why): what the device has and does not tell


@dataclass(frozen=True, slots=True)
class PduReading:
    """One answer of one PDU. `power_w` is the declared unit total, by the profile's rule; None = it has none."""

    profile: str
    model: str | None = None
    serial: str | None = None
    firmware: str | None = None
    name: str | None = None
    uptime_s: float | None = None
    power_w: float | None = None
    power_quality: Quality = Quality.MISSING
    power_resolution_w: float | None = None
    energy_j: float | None = None
    energy_counting: Counting = Counting.RESETTABLE
    energy_wraps_j: float | None = None
    energy_since: str | None = None
    rows: tuple[PduRow, ...] = ()
    warnings: tuple[str, ...] = ()
    engine: str = ""  # what spoke SNMP


class Reason(IntEnum):
    """Why a number is missing; the companion column of every quantity. NONE stands beside a number that is there."""

    NONE = 0
    NEVER_SEEN = 1
    UNREACHABLE = 2  # no valid reading: the last poll failed and the old values ran out
    STALE = 3
    NOT_REPORTED = 4
    IMPLAUSIBLE = 5
    NOT_SHA256 = 6
    WRONG_POOL = 7
    NO_MARKET = 8
    NO_POWER = 9
    NO_HASHRATE = 10
    CONFLICT = 11
    NO_POWER_PRICE = 12  # of its own tariff: missing, too old or in dispute


class PowerSource(IntEnum):
    """Where the watts of a machine come from, NONE where there are none. Best first, but for SHARED, which came later
    and ranks behind METERED."""

    NONE = 0
    METERED = 1
    CALIBRATED = 2
    REPORTED = 3
    CONFIGURED = 4
    NAMEPLATE = 5
    SHARED = 6  # its part of a meter that sees several machines


class CapableSource(IntEnum):
    """Where a capable (what it would do if it ran) number comes from, best first."""

    NONE = 0
    STEADY = 1  # the machine's own last steady value
    MODEL_MEAN = 2  # mean of the same model on this site
    CONFIGURED = 3
    NAMEPLATE = 4


FAULT_CODES: dict[FaultKind | None, int] = {None: 0} | {kind: i for i, kind in enumerate(FaultKind, start=1)}
"""Column code of each fault kind; 0 = no fault."""

FAULT_KINDS: tuple[FaultKind | None, ...] = tuple(FAULT_CODES)
"""Fault kind of each column code, the inverse of FAULT_CODES."""
