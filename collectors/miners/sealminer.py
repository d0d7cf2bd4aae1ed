"""SEALMINER (bdminer, cgminer API on TCP 4028): `stats` holds nearly all, `summary` the counters of work.

Both have hashrate windows, and they disagree: those of `summary` follow the difficulty of single shares (its 5 s value
was 368 TH/s on a 231 TH/s machine), those of `stats` count hashes. Money is counted on `MHS(5m)` of `stats`; windows
longer than the uptime are averaged with zeros. `MHS(Ideal)` is what the boards do at their present frequencies, and
their own ideals add up to it; `MHS(Rated)`, the nameplate, stands in where it is missing. The power supply measures
both sides: `PSU Input Power` at the wall and `PSU Output Power` to the boards.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator

from collectors.miners import cgminer, evidence, pools
from collectors.miners.make import Ask, Make, Said, When
from collectors.miners.nested import Fields
from fleet.ports import PollError
from fleet.readings import Board, FaultKind, MachineError, MinerReading, Sensor, Temperature
from fleet.site import normalise_mac
from fleet.units import MEGA

KEY = "sealminer"
NAME = "SEALMINER"

COUNTERS_MISSING = "work_counters_missing"

MAX_BOARDS = 16
MAX_FANS = 16
MAX_ERRORS = 32
SENSORS = 4

_WINDOWS = (
    ("MHS(5m)", 300.0), ("MHS(15m)", 900.0), ("MHS(30m)", 1800.0), ("MHS(2m)", 120.0), ("MHS(1m)", 60.0),
    ("MHS(Avg)", 0.0),
)  # fmt: skip
_SENSOR_KEYS = tuple(tuple(f"{i} Temp {j}" for j in range(SENSORS)) for i in range(MAX_BOARDS))
_FAN_KEYS = tuple(f"{i} Speed" for i in range(MAX_FANS))

# Bitdeer's letter is the algorithm: the A series hashes SHA-256, the DL series scrypt.
_SHA256 = re.compile(r"A[0-9]")
_ASLEEP = ("suspend", "sleep", "standby")
_CODES = re.compile(r"[^\s,;|]{1,32}")


def _version(reply: Fields) -> str | None:
    """bdminer's version: what there is of a firmware name where `stats` has none."""
    text = cgminer.text(cgminer.row(reply, "VERSION").get("BDMiner"))
    return None if text is None else sys.intern(f"bdminer {text}")


def read(said: Said) -> MinerReading:
    """One look. Errors: PollError of `stats` that did not come; MALFORMED where nothing is in them."""
    stats = cgminer.row(said.get("stats"), "STATS")
    if not stats:
        raise said.faults.get("stats") or PollError(FaultKind.MALFORMED, "stats: nothing in them")
    totals = cgminer.row(said.get("summary"), "SUMMARY")
    get, work = stats.get, totals.get
    pool: pools.Pools | None = said.get("pools")
    warnings: list[str] = []

    model = cgminer.text(get("Model"))
    uptime_s = evidence.not_negative(get("Elapsed", work("Elapsed")))
    now_hs = evidence.scaled(get("MHS(Sample)"), MEGA)
    money = evidence.counted(evidence.rates(stats, MEGA, _WINDOWS), now_hs, uptime_s, warnings)
    if not totals:
        warnings.append(COUNTERS_MISSING)
    if pool is None:
        warnings.append(pools.POOLS_MISSING)

    power_w = evidence.positive(get("PSU Input Power"))
    dc_w = evidence.not_negative(get("PSU Output Power"))
    errors = tuple(_errors(stats))
    return MinerReading(
        driver=KEY,
        make=NAME,
        model=model,
        firmware=cgminer.text(get("Firmware")) or cgminer.text(get("Software Version")) or said.get("version"),
        mac=normalise_mac(cgminer.text(get("MAC"))),
        serial=evidence.serial(get("Ctrl Board SN")),
        algorithm="sha256" if model is not None and _SHA256.match(model) else None,
        state=evidence.state(
            now_hs,
            None if money is None else money.hs,
            uptime_s,
            is_asleep=_is_asleep(get("PM State")),
            is_ramping=_is_ramping(stats),
            has_pool=_has_pool(stats, pool),
            has_error=bool(errors),
        ),
        hashrate_hs=None if money is None else money.hs,
        hashrate_window_s=None if money is None else money.window_s,
        hashrate_key=None if money is None else money.key,
        hashrate_now_hs=now_hs,
        hashrate_expected_hs=evidence.scaled(
            evidence.positive(get("MHS(Ideal)")) or evidence.positive(get("MHS(Rated)")), MEGA
        ),
        reported_power_w=power_w,
        power_side=None if power_w is None else "ac",
        power_key=None if power_w is None else "PSU Input Power",
        power_limit_w=evidence.positive(get("Power Limit")),
        dc_power_w=None if dc_w == 0.0 and now_hs else dc_w,
        mode=cgminer.text(get("Mining Mode")),
        temperatures=_temperatures(stats),
        fans_rpm=_fans_rpm(stats),
        uptime_s=uptime_s,
        shares_accepted=evidence.not_negative(work("Accepted")),
        shares_rejected=evidence.not_negative(work("Rejected")),
        shares_stale=evidence.not_negative(work("Stale")),
        difficulty_accepted=evidence.not_negative(work("Difficulty Accepted")),
        difficulty_rejected=evidence.not_negative(work("Difficulty Rejected")),
        pool_host=None if pool is None else pool.host,
        pool_alive=None if pool is None else pool.is_alive,
        errors=errors,
        boards=tuple(_boards(stats)) if said.is_deep else (),
        warnings=tuple(warnings),
    )


# --- state -------------------------------------------------------------------------------------------------------


def _is_asleep(said: object) -> bool | None:
    """`PM State` is "Running" in a machine that mines; only words of sleep prove sleep."""
    word = cgminer.text(said)
    return None if word is None else word.lower().startswith(_ASLEEP)


def _is_ramping(stats: Fields) -> bool | None:
    """Whether the frequency is still being raised; where that is not said, whether it is still being tuned."""
    raised = cgminer.flag(stats.get("Raise Freq Done"))
    if raised is not None:
        return not raised
    tuning = (cgminer.text(stats.get("Tune Status")) or "").lower()
    return "done" not in tuning if "tun" in tuning else None


def _has_pool(stats: Fields, pool: pools.Pools | None) -> bool | None:
    if cgminer.flag(stats.get("Stratum Disconnect")):
        return False
    return None if pool is None else pool.has_work


def _errors(stats: Fields) -> Iterator[MachineError]:
    """Codes that the machine shows, errors of its power supply, boards with bad chips, and those that are away where
    the machine is not told to rest."""
    is_asleep = _is_asleep(stats.get("PM State"))
    for code in _CODES.findall(cgminer.text(stats.get("Error Code")) or "")[:MAX_ERRORS]:
        yield MachineError(code, f"the machine reports error {code}")
    if chips := cgminer.text(stats.get("Error Chip")):
        yield MachineError("Error Chip", f"the machine reports errors of chips: {chips}")
    supply = cgminer.text(stats.get("PSU Error"))
    if supply is not None and supply.lower().removeprefix("0x").strip("0"):
        yield MachineError(f"PSU {supply}", f"the power supply reports error {supply}")
    for i in range(MAX_BOARDS):
        if evidence.positive(stats.get(f"{i} Bad Chip Count")) is not None:
            yield MachineError(f"{i} Bad Chip Count", f"board {i} has bad chips")
        if not is_asleep and cgminer.flag(stats.get(f"{i} Online")) is False:
            yield MachineError(f"{i} Online", f"board {i} is not online")


# --- places ------------------------------------------------------------------------------------------------------


def _temperatures(stats: Fields) -> tuple[Temperature, ...]:
    """Hottest of the four sensors of each board, and the power supply; the firmware names no place on the board."""
    heat = evidence.Heat()
    for board, keys in enumerate(_SENSOR_KEYS):
        for key in keys:
            if key in stats:
                heat.feel(Sensor.BOARD, board, stats[key])
    heat.feel(Sensor.PSU, 0, stats.get("PSU Temp AMB"))
    return heat.temperatures()


def _fans_rpm(stats: Fields) -> tuple[float | None, ...]:
    """Speeds of as many fans as the machine counts, else of those that it lists; the power supply's own is none."""
    count = cgminer.integer(stats.get("Fan Count"))
    if count is None or not 0 <= count <= MAX_FANS:
        return tuple(evidence.not_negative(stats[key]) for key in _FAN_KEYS if key in stats)
    return tuple(evidence.not_negative(stats.get(key)) for key in _FAN_KEYS[:count])


def _boards(stats: Fields) -> Iterator[Board]:
    """Boards with what they do now; longer windows are told only for the machine."""
    for i in range(MAX_BOARDS):
        if f"{i} Chip Count" not in stats and f"{i} MHS(Sample)" not in stats:
            continue
        yield Board(
            id=str(i),
            hashrate_hs=evidence.scaled(stats.get(f"{i} MHS(Sample)"), MEGA),
            hashrate_expected_hs=evidence.scaled(evidence.positive(stats.get(f"{i} MHS(Ideal)")), MEGA),
            chips=cgminer.integer(stats.get(f"{i} Chip Count")),
            frequency_hz=evidence.scaled(evidence.positive(stats.get(f"{i} Freq")), MEGA),
            serial=cgminer.text(stats.get(f"{i} SN")),
        )


MAKE = Make(
    key=KEY,
    name=NAME,
    asks=(
        Ask("stats", "stats", joins=True),
        Ask("summary", "summary", is_needed=False, joins=True),
        Ask("pools", "pools", when=When.SLOW, is_needed=False, joins=True, digest=pools.digest),
        Ask("version", "version", when=When.ONCE, is_needed=False, joins=True, digest=_version),
    ),
    read=read,
)
