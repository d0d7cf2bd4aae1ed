"""Stock Antminer firmware (S17, S19, S21, T21 ...) over the cgminer API: `summary` and `stats` at every look.

The machine refuses joined commands, so each costs a connection. `version` is asked once per identity, `pools` at every
tenth look: both change rarely. Money is counted on `GHS 30m`, which averages with zeros until half an hour has passed,
so before that the average since the start stands in, with its true window. Most firmware reports no watts at all.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from collectors.miners import cgminer, makes
from collectors.miners.transport import exchange
from fleet.ports import PollError
from fleet.readings import FaultKind, MinerReading, OperatingState, Sensor, Temperature
from fleet.units import GIGA, MEGA, TERA

DRIVER = "antminer"
MAKE = "Antminer"
POOLS_EVERY = 10

LONG_WINDOW_S = 1800.0
WARM_UP_S = 300.0
MAX_SLOTS = 16  # S9 numbers its boards from 6; no machine has a slot past 16
MAX_FANS = 8

HISTORY_ONLY = "hashrate_history_only"
POOLS_MISSING = "pools_missing"
BOARD_ID_MODEL = "model_is_a_board_id"

_UNIT_HS = {"GH": GIGA, "GH/S": GIGA, "GHS": GIGA, "MH": MEGA, "MH/S": MEGA, "MHS": MEGA, "TH": TERA, "TH/S": TERA}

Fields = Mapping[str, Any]


class AntminerStock:
    """One stock Antminer; at most one connection is open at any time."""

    def __init__(self, host: str, port: int, deadline_s: float) -> None:
        self._host = host
        self._port = port
        self._deadline_s = deadline_s
        self._version: cgminer.Reply | None = None
        self._pools: cgminer.Reply | None = None
        self._looks = 0

    async def read(self) -> MinerReading:
        """One look. Errors: PollError; IDENTITY when another model than before answers at this address."""
        return await self.read_until(asyncio.get_running_loop().time() + self._deadline_s)

    async def read_until(self, deadline_at: float, version: cgminer.Reply | None = None) -> MinerReading:
        """The same by a deadline of the loop's clock, with a `version` reply where the caller has just got one."""
        version = version or self._version or await self._ask("version", deadline_at)
        if version is not self._version:
            _check_is_stock(version)
        summary = await self._ask("summary", deadline_at)
        stats = await self._ask("stats", deadline_at)
        was, is_now = _type_of(version), _type_of(stats)
        if was is not None and is_now is not None and was != is_now:
            self._version = self._pools = None
            self._looks = 0
            raise PollError(FaultKind.IDENTITY, f"was {was}, now {is_now}")
        self._version = version
        if self._looks % POOLS_EVERY == 0:
            self._pools = await self._ask_pools(deadline_at)
        self._looks += 1
        return _reading(version, summary, stats, self._pools)

    async def aclose(self) -> None:
        """Nothing is held between two looks."""

    async def _ask(self, command: str, deadline_at: float) -> cgminer.Reply:
        return await exchange(self._host, self._port, cgminer.encode(command), deadline_at)

    async def _ask_pools(self, deadline_at: float) -> cgminer.Reply | None:
        """Pools are an extra: an access list may cut them alone, and that must not cost the hashrate."""
        try:
            return await self._ask("pools", deadline_at)
        except PollError:
            return None


def parse(version: Fields, summary: Fields, stats: Fields, pools: Fields | None = None) -> MinerReading:
    """A reading from four decoded replies; pure. `pools` None = not answered.

    Errors: PollError of `cgminer.require` for a refused summary or stats; UNSUPPORTED for another maker or firmware;
            MALFORMED where neither reply has a single field.
    """
    _check_is_stock(version)
    return _reading(version, summary, stats, pools)


def _reading(version: Fields, summary: Fields, stats: Fields, pools: Fields | None) -> MinerReading:
    """`parse` for a version reply that has been checked; the check costs more than the rest of the identity."""
    cgminer.require(summary, "summary")
    cgminer.require(stats, "stats")
    totals = _merged(cgminer.section(summary, "SUMMARY"))
    details = _merged(cgminer.section(stats, "STATS"))
    if not totals and not details:
        raise PollError(FaultKind.MALFORMED, "summary and stats are empty")

    warnings = list(dict.fromkeys((*_warnings(version), *_warnings(summary), *_warnings(stats))))
    model = _model(version, stats)
    if model is not None and model.upper().startswith("BHB"):
        model = None
        warnings.append(BOARD_ID_MODEL)

    unit_hs = _UNIT_HS.get((cgminer.text(details.get("rate_unit")) or "GH").upper())
    uptime_s = _not_negative(totals.get("Elapsed", details.get("Elapsed")))
    now_hs = _rate(unit_hs, totals.get("GHS 5s"), details.get("GHS 5s"))
    hashrate_hs, window_s = _money_hashrate(totals, details, unit_hs, uptime_s)
    if now_hs == 0.0 and hashrate_hs and (window_s is None or window_s > LONG_WINDOW_S):
        hashrate_hs = window_s = None  # an idle machine keeps its average of hours: history, not state
        warnings.append(HISTORY_ONLY)

    expected_hs = _rate(unit_hs, details.get("total_rateideal"))
    power_w = _power_w(details)
    pool = _working_pool(pools)
    if pools is None or cgminer.status(pools).is_error:
        warnings.append(POOLS_MISSING)

    identity = _merged(cgminer.section(version, "VERSION"))
    return MinerReading(
        driver=DRIVER,
        make=MAKE,
        model=model,
        firmware=cgminer.text(details.get("CompileTime")) or cgminer.text(identity.get("CompileTime")),
        algorithm="sha256" if model is not None and makes.is_sha256_antminer(model) else None,
        state=_state(now_hs, hashrate_hs, uptime_s),
        hashrate_hs=hashrate_hs,
        hashrate_window_s=window_s,
        hashrate_now_hs=now_hs,
        hashrate_expected_hs=expected_hs or None,
        reported_power_w=power_w,
        power_side=None if power_w is None else "model",
        temperatures=tuple(_temperatures(details)),
        fans_rpm=_fans_rpm(details),
        uptime_s=uptime_s,
        shares_accepted=_not_negative(totals.get("Accepted")),
        shares_rejected=_not_negative(totals.get("Rejected")),
        difficulty_accepted=_not_negative(totals.get("Difficulty Accepted")),
        difficulty_rejected=_not_negative(totals.get("Difficulty Rejected")),
        pool_host=_host_of(pool),
        pool_alive=_pool_alive(pool, pools),
        warnings=tuple(warnings),
    )


# --- identity ----------------------------------------------------------------------------------------------------


def _check_is_stock(version: Fields) -> None:
    maker = makes.classify(version)
    if maker is None:
        cgminer.require(version, "version")
    if maker != makes.ANTMINER_STOCK:
        raise PollError(FaultKind.UNSUPPORTED, f"not stock Antminer firmware: {maker or 'unknown'}")


def _type_of(reply: Fields) -> str | None:
    rows = cgminer.section(reply, "VERSION") or cgminer.section(reply, "STATS")
    return cgminer.text(_merged(rows).get("Type"))


def _model(version: Fields, stats: Fields) -> str | None:
    """`Antminer S19 Pro (110T)` -> `S19 Pro`."""
    said = _type_of(version) or _type_of(stats)
    if said is None:
        return None
    bare = said.split(" (")[0].strip()
    return re.sub(r"(?i)^antminer\s*", "", bare).strip() or None


# --- hashrate ----------------------------------------------------------------------------------------------------


def _money_hashrate(
    totals: Fields, details: Fields, unit_hs: float | None, uptime_s: float | None
) -> tuple[float | None, float | None]:
    """(H/s, window in s): `GHS 30m` once half an hour has passed, else the average since the start."""
    if uptime_s is not None and uptime_s >= LONG_WINDOW_S:
        half_hour = _rate(unit_hs, totals.get("GHS 30m"), details.get("rate_30m"), details.get("GHS 30m"))
        if half_hour is not None:
            return half_hour, LONG_WINDOW_S
    average = _rate(unit_hs, totals.get("GHS av"), details.get("GHS av"))
    return average, None if average is None else uptime_s


def _rate(unit_hs: float | None, *candidates: object) -> float | None:
    """First candidate that is a number, in H/s. A unit that we do not know makes every rate unknown."""
    if unit_hs is None:
        return None
    values = (_not_negative(candidate) for candidate in candidates)
    return next((value * unit_hs for value in values if value is not None), None)


def _state(now_hs: float | None, hashrate_hs: float | None, uptime_s: float | None) -> OperatingState:
    """From evidence only. Stock firmware does not say on 4028 whether it sleeps: a sleeping machine is `idle` here."""
    if now_hs is None and not hashrate_hs:
        return OperatingState.UNKNOWN
    if uptime_s is not None and uptime_s < WARM_UP_S:
        return OperatingState.WARMING_UP
    return OperatingState.IDLE if now_hs == 0.0 else OperatingState.MINING


# --- power, heat, air --------------------------------------------------------------------------------------------


def _power_w(details: Fields) -> float | None:
    """Watts where a firmware has them at all; 0 and -1 are its ways to say that it has not."""
    for key in ("chain_power", "power", "Power", "watt"):
        watts = cgminer.number(details.get(key))
        if watts is not None and watts > 0.0:
            return watts
    return None


def _temperatures(details: Fields) -> Iterator[Temperature]:
    """Hottest PCB and chip sensor of each board, by the board's own number; a board of zeros is absent."""
    for slot in range(1, MAX_SLOTS + 1):
        for sensor, keys in _SENSOR_KEYS[slot - 1]:
            for key in keys:
                if (said := details.get(key)) is not None and (hottest := _hottest_c(said)) is not None:
                    yield Temperature(sensor, slot, hottest)
                    break


_SENSOR_KEYS = tuple(
    (
        (Sensor.BOARD, (f"temp_pcb{slot}", f"temp_out_pcb_{slot}")),
        (Sensor.CHIP, (f"temp_chip{slot}", f"temp_out_chip_{slot}", f"temp2_{slot}")),
    )
    for slot in range(1, MAX_SLOTS + 1)
)
_DEGREES = re.compile(r"[0-9]+(?:\.[0-9]+)?")


def _hottest_c(said: object) -> float | None:
    """`73-45-64-65` -> 73.0; zeros are absent sensors, 255 and the like are none at all."""
    values = map(float, _DEGREES.findall(said[:64])) if isinstance(said, str) else [cgminer.number(said)]
    return max((value for value in values if value is not None and 0.0 < value <= 150.0), default=None)


def _fans_rpm(details: Fields) -> tuple[float | None, ...]:
    """Speeds of the fans that are there. S17 and older list eight places and turn a few: `fan_num` tells how many."""
    places = [f"fan{i}" for i in range(1, MAX_FANS + 1) if f"fan{i}" in details]
    speeds = [_not_negative(details[place]) for place in places]
    count = cgminer.integer(details.get("fan_num"))
    if count is None or not 0 <= count < len(speeds):
        return tuple(speeds)
    turning = [speed for speed in speeds if speed]
    return (*turning[:count], *[0.0] * (count - len(turning)))


# --- pools -------------------------------------------------------------------------------------------------------


def _working_pool(pools: Fields | None) -> Fields | None:
    """The pool that gets the work: stratum active, lowest number first. None where no pool says so."""
    rows = cgminer.section(pools, "POOLS") if pools is not None else ()
    return next((row for row in rows if cgminer.flag(row.get("Stratum Active"))), None)


def _host_of(pool: Fields | None) -> str | None:
    """Host of a pool URL without scheme, port and account."""
    url = cgminer.text(pool.get("URL"), 256) if pool is not None else None
    if url is None:
        return None
    try:
        return cgminer.text((urlsplit(url if "//" in url else f"//{url}").hostname or "").lower())
    except ValueError:
        return None


def _pool_alive(pool: Fields | None, pools: Fields | None) -> bool | None:
    """Whether the working pool is alive; without one, False if pools are listed and every one is dead."""
    if pool is not None:
        word = cgminer.text(pool.get("Status"))
        return None if word is None else word.lower() == "alive"
    rows = cgminer.section(pools, "POOLS") if pools is not None else ()
    return False if rows and all(row.get("Status") == "Dead" for row in rows) else None


# --- fields ------------------------------------------------------------------------------------------------------


def _merged(rows: tuple[Fields, ...]) -> dict[str, Any]:
    """STATS comes as an identity row and a data row; nothing is in both."""
    return {key: value for row in rows for key, value in row.items()}


def _not_negative(value: object) -> float | None:
    result = cgminer.number(value)
    return result if result is not None and result >= 0.0 else None


def _warnings(reply: Fields) -> tuple[str, ...]:
    own = reply.warnings if isinstance(reply, cgminer.Reply) else ()
    return own if cgminer.status(reply).letter else (*own, cgminer.NO_STATUS)
