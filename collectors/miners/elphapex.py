"""Elphapex (DG1, DG Home): the pages of stock Antminer firmware with other contents, all behind a digest login.

It hashes Scrypt, which the machine says itself, so money is never counted on it. A clock that stands at 0 belongs to a
machine that has not begun, not to a young one. Chip temperatures come in thousandths of a degree, the supply's in
tenths. `get_miner_conf` holds the pools' passwords: only hosts are taken from it.

Two keys of the pages that it took over mean nothing here. `temp_pcb` is 47, 46, 67, 66 on every board that was ever
recorded, on an idle DG-Home1 with chips of 26 degrees, in its empty slots, and on a DG1+ at full load. `hw` of a board
is the number of its chips, no count of errors.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from collectors.miners import cgminer, evidence, hardware, pools
from collectors.miners.cgminer import integer, text
from collectors.miners.make import HTTP_PORT, Ask, Make, Said, Via, When
from collectors.miners.nested import Fields, fields_at, rows_at
from fleet.ports import PollError
from fleet.readings import Board, FaultKind, MachineError, MinerReading, Sensor, Temperature
from fleet.site import normalise_mac
from fleet.units import KILO

MAX_BOARDS = 16
MAX_FANS = 16
MAX_SENSORS = 64

POOL_AS_CONFIGURED = "pool_as_configured"

_NO_THERMOMETER = [47.0, 46.0, 67.0, 66.0]

_WINDOWS = (("rate_15m", 900.0), ("rate_30m", 1800.0), ("rate_avg", 0.0))
_MODES = {0: "normal", 1: "sleep", 2: "high", 3: "low"}


class Identity(NamedTuple):
    """From `get_system_info`."""

    model: str | None = None
    firmware: str | None = None
    mac: str | None = None
    hostname: str | None = None
    algorithm: str | None = None


class Configured(NamedTuple):
    """From `get_miner_conf`: the host of the first pool, and the power mode."""

    host: str | None = None
    mode: str | None = None


class Work(NamedTuple):
    """From `pools`: which pool gets the work, and what all of them took."""

    host: str | None
    is_alive: bool | None
    accepted: float | None
    rejected: float | None
    stale: float | None


_NO_WORK = Work(None, None, None, None, None)


def read(said: Said) -> MinerReading:
    """One look. Errors: PollError DENIED where there is no login to ask with, MALFORMED where neither page says
    anything."""
    if "summary" not in said and "stats" not in said:
        raise PollError(FaultKind.DENIED, "tells nothing without a login")
    totals, details = cgminer.row(said.get("summary"), "SUMMARY"), cgminer.row(said.get("stats"), "STATS")
    if not totals and not details:
        raise PollError(FaultKind.MALFORMED, "summary and stats are empty")
    identity: Identity = said.get("get_system_info", Identity())
    configured: Configured = said.get("get_miner_conf", Configured())
    work: Work = said.get("pools", _NO_WORK)
    power: tuple[float | None, float | None] = said.get("get_power", (None, None))
    label = fields_at(said.get("stats"), "INFO") or fields_at(said.get("summary"), "INFO")

    rates, unit_hs = (totals, _unit_hs(totals)) if "rate_avg" in totals else (details, _unit_hs(details))
    uptime_s = evidence.not_negative(totals.get("elapsed", details.get("elapsed")))
    now_hs = evidence.scaled(rates.get("rate_5s"), unit_hs) if unit_hs else None
    money = evidence.money(evidence.rates(rates, unit_hs, _WINDOWS), uptime_s) if unit_hs else None
    warnings: list[str] = []
    money = evidence.trusted(money, now_hs, warnings)
    if "pools" not in said:
        warnings.append(pools.POOLS_MISSING if configured.host is None else POOL_AS_CONFIGURED)

    watts, psu_c = power
    errors = tuple(_errors(totals))
    boards = dict(_rows(details))
    return MinerReading(
        driver="elphapex",
        make="Elphapex",
        model=identity.model or text(label.get("type")),
        firmware=identity.firmware or text(label.get("miner_version")),
        mac=identity.mac or said.get("get_network_info"),
        serial=evidence.serial(label.get("dev_sn")),
        hostname=identity.hostname,
        algorithm=identity.algorithm,
        state=evidence.state(
            now_hs,
            money.hs if money else None,
            uptime_s or None,
            is_asleep=None if configured.mode is None else configured.mode == "sleep",
            has_pool=work.is_alive,
            has_error=bool(errors),
        ),
        hashrate_hs=money.hs if money else None,
        hashrate_window_s=money.window_s if money else None,
        hashrate_key=money.key if money else None,
        hashrate_now_hs=now_hs,
        hashrate_expected_hs=(evidence.scaled(rates.get("rate_ideal"), unit_hs) or None) if unit_hs else None,
        reported_power_w=watts,
        power_side=None if watts is None else "dc",
        power_key=None if watts is None else "power_output",
        mode=configured.mode,
        temperatures=tuple(_temperatures(boards, psu_c)),
        fans_rpm=_fans_rpm(details.get("fan")),
        uptime_s=uptime_s,
        shares_accepted=work.accepted,
        shares_rejected=work.rejected,
        shares_stale=work.stale,
        pool_host=work.host or configured.host,
        pool_alive=work.is_alive,
        errors=errors,
        boards=tuple(_boards(boards, _unit_hs(details))) if said.is_deep else (),
        warnings=tuple(warnings),
    )


def _unit_hs(row: Fields) -> float | None:
    """H/s of one unit; MH/s where none is named, None for a name that we do not know."""
    return evidence.unit_hs(text(row.get("rate_unit")) or "MH/s")


def _errors(totals: Fields) -> Iterator[MachineError]:
    """What is judged and not found good: "s" is success, an empty word no judgement."""
    for row in rows_at(totals, "status")[:MAX_SENSORS]:
        word, code = text(row.get("status")), integer(row.get("code"))
        if code or (word is not None and word.lower() != "s"):
            about = text(row.get("type"), 16) or "machine"
            yield MachineError(f"{about}_{code or 0}", text(row.get("msg")) or f"{about} not in order")


# --- boards and heat ---------------------------------------------------------------------------------------------


def _rows(details: Fields) -> Iterator[tuple[int, Fields]]:
    """Slots that hold a board: it has chips or a serial number."""
    for row in rows_at(details, "chain")[:MAX_BOARDS]:
        number = integer(row.get("index"))
        if number is not None and 0 <= number < MAX_BOARDS and (integer(row.get("asic_num")) or text(row.get("sn"))):
            yield number, row


def _temperatures(boards: Mapping[int, Fields], psu_c: float | None) -> Iterator[Temperature]:
    columns = evidence.board_indices(boards)
    for number, row in sorted(boards.items()):
        for sensor, key in ((Sensor.BOARD, "temp_pcb"), (Sensor.CHIP, "temp_chip")):
            found = row.get(key)
            said = found[:MAX_SENSORS] if isinstance(found, list) else []
            known = [c for value in said if (c := _celsius(value))]
            if known and known != _NO_THERMOMETER:
                yield Temperature(sensor, columns[number], max(known))
    if psu_c is not None:
        yield Temperature(Sensor.PSU, 0, psu_c)


def _celsius(value: object) -> float | None:
    """Degrees from degrees, tenths ("270") or thousandths ("25687"), told apart by what can be."""
    said = evidence.not_negative(value)
    if said is None:
        return None
    return evidence.celsius(said / 1000.0 if said >= 10_000.0 else said / 10.0 if said > 150.0 else said)


def _fans_rpm(fans: object) -> tuple[float | None, ...]:
    return tuple(evidence.not_negative(rpm) for rpm in fans[:MAX_FANS]) if isinstance(fans, list) else ()


def _boards(rows: Mapping[int, Fields], unit_hs: float | None) -> Iterator[Board]:
    for number, row in sorted(rows.items()):
        yield Board(
            id=str(number),
            hashrate_hs=evidence.scaled(row.get("rate_real"), unit_hs) if unit_hs else None,
            hashrate_expected_hs=(evidence.scaled(row.get("rate_ideal"), unit_hs) or None) if unit_hs else None,
            chips=integer(row.get("asic_num")),
            frequency_hz=evidence.scaled(row.get("freq_avg"), KILO) or None,
            serial=text(row.get("sn")),
        )


# --- what is kept ------------------------------------------------------------------------------------------------


def _system_info(answer: Any) -> Identity:
    info = fields_at(answer)
    return Identity(
        model=text(info.get("minertype")),
        firmware=text(info.get("system_filesystem_version")),
        mac=normalise_mac(text(info.get("macaddr"))),
        hostname=text(info.get("hostname")),
        algorithm=hardware.algorithm(info.get("Algorithm")),
    )


def _mac(answer: Any) -> str | None:
    return normalise_mac(text(fields_at(answer).get("macaddr")))


def _miner_conf(answer: Any) -> Configured:
    conf = fields_at(answer)
    rows = rows_at(conf, "pools")
    hosts = (pools.host_of(row.get("url")) for row in rows)
    mode = integer(conf.get("fc-work-mode"))
    return Configured(next((host for host in hosts if host), None), None if mode is None else _MODES.get(mode))


def _work(answer: Any) -> Work:
    """Accounts are dropped."""
    rows = [row for row in rows_at(answer, "POOLS") if text(row.get("url"))]
    pool = pools.by_priority(rows)
    return Work(
        host=pool.host,
        is_alive=pool.is_alive,
        accepted=evidence.whole(row.get("accepted") for row in rows),
        rejected=evidence.whole(row.get("rejected") for row in rows),
        stale=evidence.whole(row.get("stale") for row in rows),
    )


def _power(answer: Any) -> tuple[float | None, float | None]:
    """(watts out of the supply, its temperature)."""
    fields = fields_at(answer)
    return evidence.positive(fields.get("power_output")), _celsius(fields.get("power_temp"))


def _page(name: str, when: When, digest: Any = None, *, is_needed: bool = False) -> Ask:
    path = f"/cgi-bin/{name}.cgi"
    return Ask(name, path, Via.HTTP, HTTP_PORT, when=when, is_needed=is_needed, needs_login=True, digest=digest)


MAKE = Make(
    key="elphapex",
    name="Elphapex",
    asks=(
        _page("summary", When.EVERY, is_needed=True),
        _page("stats", When.EVERY, is_needed=True),
        _page("get_power", When.EVERY, _power),
        _page("get_system_info", When.ONCE, _system_info),
        _page("get_network_info", When.ONCE, _mac),
        _page("pools", When.SLOW, _work),
        _page("get_miner_conf", When.SLOW, _miner_conf),
    ),
    read=read,
    has_digest_login=True,
)
