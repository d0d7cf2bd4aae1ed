"""Proto Rig: HTTP `/api/v1`. Every look asks what it mines, what its sensors say and what its pools took.

The rig gives two sums of watts that disagree with its own supplies; the supplies meter what comes in, so their sum is
the AC side and what goes out the DC side. Rates come in GH/s in one answer and in TH/s, with their unit, in the other.
As with every average since the start, this one serves only while it is younger than half an hour. The pages are open on
most rigs; where they are not, the operator's password opens them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import orjson

from collectors.miners import evidence, pools
from collectors.miners.cgminer import flag, integer, text
from collectors.miners.evidence import Rate
from collectors.miners.make import HTTP_PORT, Ask, Credential, Login, Make, Said, Via, When, token_at
from collectors.miners.nested import Fields, at, fields_at, rows_at
from fleet.ports import PollError
from fleet.readings import Board, FaultKind, MachineError, MinerReading, Sensor, Temperature
from fleet.site import normalise_mac
from fleet.units import GIGA

MAX_BOARDS = 16
MAX_FANS = 16
MAX_ERRORS = 32

SUPPLIES_MISSING = "supplies_missing"


class System(NamedTuple):
    """What stays the same while the machine is the same one."""

    make: str = "Proto"
    model: str | None = None
    firmware: str | None = None
    serial: str | None = None
    hostname: str | None = None
    is_rig: bool = False  # of which every one hashes SHA-256


class Work(NamedTuple):
    """What the pools took, all together, and which of them gets the work."""

    host: str | None
    is_alive: bool | None
    accepted: float | None
    rejected: float | None
    difficulty_accepted: float | None
    difficulty_rejected: float | None


_NO_WORK = Work(None, None, None, None, None, None)


def read(said: Said) -> MinerReading:
    """One look. Errors: PollError MALFORMED where `/mining` has no status."""
    mining = fields_at(said.get("mining"), "mining-status")
    if not mining:
        raise PollError(FaultKind.MALFORMED, "mining has no mining-status")
    telemetry = fields_at(said.get("telemetry_full"))
    system: System = said.get("system", System())
    work: Work = said.get("pools", _NO_WORK)
    errors: tuple[MachineError, ...] = said.get("errors", ())

    uptime_s = evidence.not_negative(mining.get("mining_uptime_s"))
    now_hs = evidence.scaled(mining.get("hashrate_ghs"), GIGA)
    warnings: list[str] = []
    money = evidence.trusted(_money(mining, now_hs, uptime_s), now_hs, warnings)
    if uptime_s is None:
        warnings.append(evidence.UPTIME_UNKNOWN)
    if "pools" not in said:
        warnings.append(pools.POOLS_MISSING)

    watts_in, watts_out = _supplies_w(telemetry)
    power_w, power_side, power_key = watts_in, "ac", "psus.power.input"
    if power_w is None:
        power_w, power_side, power_key = (
            evidence.positive(mining.get("power_usage_watts")),
            "model",
            "power_usage_watts",
        )
        warnings.append(SUPPLIES_MISSING)

    word = (text(mining.get("status")) or "").lower()
    return MinerReading(
        driver="proto",
        make=system.make,
        model=system.model,
        firmware=system.firmware,
        mac=said.get("network"),
        serial=system.serial,
        hostname=system.hostname,
        algorithm="sha256" if system.is_rig else None,
        state=evidence.state(
            now_hs,
            money.hs if money else None,
            uptime_s,
            is_asleep=word in _ASLEEP if word else None,
            is_ramping=True if word in _RAMPING else False if word in _HASHING else None,
            has_pool=False if word == "nopools" else work.is_alive,
            has_error=word == "error" or bool(errors),
        ),
        hashrate_hs=money.hs if money else None,
        hashrate_window_s=money.window_s if money else None,
        hashrate_key=money.key if money else None,
        hashrate_now_hs=now_hs,
        hashrate_expected_hs=evidence.scaled(mining.get("ideal_hashrate_ghs"), GIGA) or None,
        reported_power_w=power_w,
        power_side=None if power_w is None else power_side,
        power_key=None if power_w is None else power_key,
        power_limit_w=evidence.positive(mining.get("power_target_watts")),
        dc_power_w=watts_out,
        temperatures=tuple(_temperatures(mining, telemetry)),
        fans_rpm=said.get("cooling", ()),
        uptime_s=uptime_s,
        shares_accepted=work.accepted,
        shares_rejected=work.rejected,
        difficulty_accepted=work.difficulty_accepted,
        difficulty_rejected=work.difficulty_rejected,
        pool_host=work.host,
        pool_alive=work.is_alive,
        errors=errors,
        boards=tuple(_boards(telemetry, said.get("hardware", {}))) if said.is_deep else (),
        warnings=tuple(warnings),
    )


_HASHING = ("mining", "degradedmining")
_RAMPING = ("poweringon", "starting", "uninitialized")
_ASLEEP = ("stopped", "curtailed", "poweringoff")


def _money(mining: Fields, now_hs: float | None, uptime_s: float | None) -> Rate | None:
    """The average since the mining began while that is half an hour or less, else the rate of now, window unsaid."""
    is_fresh = uptime_s is not None and uptime_s <= evidence.MONEY_WINDOW_MAX_S
    average_hs = evidence.scaled(mining.get("average_hashrate_ghs"), GIGA) if is_fresh or now_hs is None else None
    if average_hs is not None:
        return Rate(average_hs, uptime_s, "average_hashrate_ghs")
    return None if now_hs is None else Rate(now_hs, None, "hashrate_ghs")


def _supplies_w(telemetry: Fields) -> tuple[float | None, float | None]:
    """Watts (into, out of) all supplies together; None as soon as one of them does not say."""
    supplies = rows_at(telemetry, "psus")
    watts_in, watts_out = (evidence.whole(at(row, "power", side) for row in supplies) for side in ("input", "output"))
    return watts_in or None, watts_out or None


# --- heat --------------------------------------------------------------------------------------------------------


def _temperatures(mining: Fields, telemetry: Fields) -> Iterator[Temperature]:
    """Each board's mean, the hottest air on either side of them, the hottest place of a supply, and the one number
    that there is about chips: the mean of all, at index 0 because it belongs to no board."""
    rows = dict(_numbered(telemetry))
    columns = evidence.board_indices(rows)
    for number, row in sorted(rows.items()):
        if (degrees := evidence.celsius(at(row, "temperature", "average"))) is not None:
            yield Temperature(Sensor.BOARD, columns[number], degrees)
    for sensor, found in (
        (Sensor.INLET, [at(row, "temperature", "inlet") for row in rows.values()]),
        (Sensor.OUTLET, [at(row, "temperature", "outlet") for row in rows.values()]),
        (Sensor.PSU, [at(row, "temperature", "hotspot") for row in rows_at(telemetry, "psus")]),
        (Sensor.CHIP, [mining.get("average_asic_temp_c")]),
    ):
        known = [degrees for value in found if (degrees := evidence.celsius(value)) is not None]
        if known:
            yield Temperature(sensor, 0, max(known))


def _numbered(telemetry: Fields) -> Iterator[tuple[int, Fields]]:
    for row in rows_at(telemetry, "hashboards")[:MAX_BOARDS]:
        number = integer(row.get("index"))
        if number is not None and 0 <= number < MAX_BOARDS:
            yield number, row


# --- boards ------------------------------------------------------------------------------------------------------


def _boards(telemetry: Fields, chips: dict[str, int]) -> Iterator[Board]:
    for number, row in sorted(_numbered(telemetry), key=lambda board: board[0]):
        serial = text(row.get("serial_number"))
        unit_hs = evidence.unit_hs(at(row, "hashrate", "unit"))
        yield Board(
            id=str(number),
            hashrate_hs=evidence.scaled(at(row, "hashrate", "value"), unit_hs) if unit_hs else None,
            chips=chips.get(serial or ""),
            voltage_v=evidence.positive(at(row, "voltage", "value")),
            serial=serial,
        )


# --- what is kept ------------------------------------------------------------------------------------------------


def _system(answer: Any) -> System:
    info = fields_at(answer, "system-info")
    return System(
        make=text(info.get("manufacturer")) or "Proto",
        model=text(info.get("model")),
        firmware=text(at(info, "os", "version")),
        serial=evidence.serial(info.get("cb_sn")),
        hostname=text(at(info, "os", "hostname")),
        is_rig=any("rig" in (text(info.get(key)) or "").lower().split() for key in ("model", "product_name")),
    )


def _mac(answer: Any) -> str | None:
    info = fields_at(answer, "network-info")
    return normalise_mac(text(info.get("mac", info.get("mac_address"))))


def _work(answer: Any) -> Work:
    """Counters of all pools together: what the machine did, whichever pool took it. The account is dropped.

    The pool that gets the work is the active one of the best priority; none is active where all are dead.
    """
    rows = [row for row in rows_at(answer, "pools") if text(row.get("url"))]
    words = [(text(row.get("status")) or "").lower() for row in rows]
    active = [
        row for row, word in zip(rows, words, strict=True) if word == "active" and flag(row.get("enabled")) is not False
    ]
    working = min(active, key=pools.priority_of, default=None)
    return Work(
        host=None if working is None else pools.host_of(working.get("url")),
        is_alive=True if working is not None else False if words and set(words) == {"dead"} else None,
        accepted=evidence.whole(row.get("accepted") for row in rows),
        rejected=evidence.whole(row.get("rejected") for row in rows),
        difficulty_accepted=evidence.whole(row.get("difficulty_accepted_shares") for row in rows),
        difficulty_rejected=evidence.whole(row.get("difficulty_rejected_shares") for row in rows),
    )


def _fans_rpm(answer: Any) -> tuple[float | None, ...]:
    rows = rows_at(answer, "cooling-status", "fans")[:MAX_FANS]
    return tuple(evidence.not_negative(row.get("rpm")) for row in sorted(rows, key=_slot))


def _slot(row: Fields) -> float:
    return evidence.not_negative(row.get("slot")) or 0.0


def _errors(answer: Any) -> tuple[MachineError, ...]:
    """A list, empty where all is well; a code may be a word or a number. Older firmware lists what is over, too."""
    return tuple(
        MachineError(text(row.get("error_code")) or "unknown", text(row.get("message")) or "without words")
        for row in (rows_at(answer) or rows_at(answer, "errors"))[:MAX_ERRORS]
        if not evidence.positive(row.get("expired_at"))
    )


def _chips(answer: Any) -> dict[str, int]:
    """Chips of each board by its serial number; newer firmware tells this without a login."""
    rows = rows_at(answer, "hardware-info", "hashboards-info")[:MAX_BOARDS]
    told = ((text(row.get("hb_sn")), integer(row.get("mining_asic_count"))) for row in rows)
    return {serial: chips for serial, chips in told if serial is not None and chips is not None}


def _log_in(credential: Credential) -> Ask:
    """A rig has a password and no user."""
    body = orjson.dumps({"password": credential.password})
    return Ask("auth_login", "/api/v1/auth/login", via=Via.HTTP, port=HTTP_PORT, body=body)


def _bearer(answer: Any) -> Mapping[str, str]:
    return {"Authorization": f"Bearer {token_at(answer, 'access_token')}"}


def _page(name: str, path: str, when: When, digest: Any = None, *, is_needed: bool = False) -> Ask:
    return Ask(name, path, via=Via.HTTP, port=HTTP_PORT, when=when, is_needed=is_needed, digest=digest)


MAKE = Make(
    key="proto",
    name="Proto",
    asks=(
        _page("mining", "/api/v1/mining", When.EVERY, is_needed=True),
        _page("telemetry_full", "/api/v1/telemetry?level=miner,hashboard,psu", When.EVERY),
        _page("pools", "/api/v1/pools", When.EVERY, _work),
        _page("system", "/api/v1/system", When.ONCE, _system),
        _page("network", "/api/v1/network", When.ONCE, _mac),
        _page("errors", "/api/v1/errors", When.SLOW, _errors),
        _page("cooling", "/api/v1/cooling", When.SLOW, _fans_rpm),
        _page("hardware", "/api/v1/hardware", When.DEEP, _chips),
    ),
    read=read,
    login=Login(_log_in, _bearer),
)
