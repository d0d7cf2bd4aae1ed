"""AxeOS (Bitaxe) and its sisters on NerdAxe, Lucky Miner and other boards: one page, `/api/system/info`, tells it all.

The little web server dies of frequent questions, so the make has a pace. `power` is what the regulator gives out plus a
constant: the DC side, below what the socket delivers. `vrTemp` is the regulator, far hotter than any board; `temp` is
the chip. A machine that pauses keeps showing its last rate: then that rate is history. NMAxe says the same in nested
objects of its own. What any of them says of Wi-Fi and of pool accounts is not read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from collectors.miners import evidence, pools
from collectors.miners.cgminer import flag, integer, number, text
from collectors.miners.make import HTTP_PORT, Ask, Make, Said, Via
from collectors.miners.nested import Fields, fields_at, rows_at
from fleet.ports import PollError
from fleet.readings import Board, FaultKind, MachineError, MinerReading, Sensor, Temperature
from fleet.site import normalise_mac
from fleet.units import GIGA, MEGA

PACE_S = 60.0
BITAXE, NERDAXE = "Bitaxe", "NerdAxe"
ESP_MINER = "ESP-Miner"  # a board under a name of its own, of which nothing says who makes it
MAX_FANS = 4
MAX_CHIPS = 64

_WINDOWS = (("hashRate_10m", 600.0), ("hashRate_3m", 180.0), ("hashRate_1m", 60.0), ("hashRate", None))

# The first digits of a board version are its family; firmware on boards of other makers has versions of its own.
_FAMILIES = {
    "10": "Max", "20": "Ultra", "30": "Hex", "40": "Supra", "60": "Gamma", "65": "Gamma Duo", "70": "Supra Hex",
    "80": "Gamma Turbo", "120": "Naja Duo", "130": "Gamma Hex",
}  # fmt: skip
_ONE_CHIP = {"BM1397": "Max", "BM1366": "Ultra", "BM1368": "Supra", "BM1370": "Gamma"}
_BOARD_VERSION = re.compile(r"[0-9]{3,4}")
_NAMES = ("deviceModel", "DeviceModel", "minerModel")
_MAKE_OF_NAME = (
    (re.compile("nerd", re.IGNORECASE), NERDAXE),
    (re.compile(r"\A(?:bitaxe|(?:max|ultra|hex|supra|gamma|naja)\b)", re.IGNORECASE), BITAXE),
    (re.compile(r"\Alv[0-9]", re.IGNORECASE), "LuckyMiner"),
    (re.compile(r"\Anm[a-z]*axe", re.IGNORECASE), "NMAxe"),
)
_SHA256_CHIP = re.compile(r"BM13[0-9]{2}", re.IGNORECASE)  # other series of the same maker hash something else


def read(said: Said) -> MinerReading:
    """One look. Errors: PollError MALFORMED where the page is not one of this firmware."""
    info = _flat(fields_at(said.get("system_info")))
    if all(info.get(key) is None for key in ("ASICModel", "hashRate", "hashRate_10m", "hashRate_3m")):
        raise PollError(FaultKind.MALFORMED, "system/info names neither a chip nor a rate")
    uptime_s = evidence.not_negative(info.get("uptimeSeconds"))
    now_hs = evidence.scaled(info.get("hashRate"), GIGA)
    money = evidence.money(evidence.rates(info, GIGA, _WINDOWS), uptime_s)
    is_paused = _is_paused(info)
    warnings = []
    if is_paused and (now_hs or (money and money.hs)):
        now_hs = money = None
        warnings.append(evidence.HISTORY_ONLY)
    if uptime_s is None:
        warnings.append(evidence.UPTIME_UNKNOWN)

    chip = text(info.get("ASICModel"))
    make, model = _machine(info, chip)
    watts = evidence.positive(info.get("power"))
    pool_host, pool_alive = _pool(info)
    errors = tuple(_errors(info))
    return MinerReading(
        driver="axeos",
        make=make,
        model=model,
        firmware=text(info.get("version")),
        mac=normalise_mac(text(info.get("macAddr"))),
        serial=evidence.serial(info.get("sn_str")),
        hostname=text(info.get("hostname")),
        algorithm="sha256" if _is_sha256(make, model, chip) else None,
        state=evidence.state(
            0.0 if is_paused else evidence.scaled(info.get("hashRate_3m"), GIGA) if now_hs is None else now_hs,
            money.hs if money else None,
            uptime_s,
            is_asleep=is_paused and not errors,
            has_pool=pool_alive,
            has_error=bool(errors),
        ),
        hashrate_hs=money.hs if money else None,
        hashrate_window_s=money.window_s if money else None,
        hashrate_key=money.key if money else None,
        hashrate_now_hs=now_hs,
        hashrate_expected_hs=_expected_hs(info),
        reported_power_w=watts,
        power_side=None if watts is None else "dc",
        power_key=None if watts is None else "power",
        temperatures=tuple(_temperatures(info)),
        fans_rpm=_fans_rpm(info),
        uptime_s=uptime_s,
        shares_accepted=evidence.not_negative(info.get("sharesAccepted")),
        shares_rejected=evidence.not_negative(info.get("sharesRejected")),
        pool_host=pool_host,
        pool_alive=pool_alive,
        errors=errors,
        boards=(_board(info, now_hs),) if said.is_deep else (),
        warnings=tuple(warnings),
    )


def _flat(page: Fields) -> Fields:
    """The page of an NMAxe under the names that the others use; any other page as it is.

    Its small cores are those of all chips together, and its one rate is an average of three minutes.
    """
    miner, asic, identity = fields_at(page, "miner"), fields_at(page, "asic"), fields_at(page, "identity")
    if not miner or not asic:
        return page
    cores, clock_mhz = number(asic.get("smallCoreCnt")), number(asic.get("freqReq"))
    return {
        "deviceModel": identity.get("hwModel"),
        "version": identity.get("fwVersion"),
        "hostname": identity.get("hostName"),
        "ASICModel": asic.get("model"),
        "asicCount": asic.get("count"),
        "frequency": clock_mhz,
        "coreVoltageActual": asic.get("vcoreReal"),
        "expectedHashrate": cores * clock_mhz / 1000.0 if cores and clock_mhz else None,
        "hashRate_3m": miner.get("hashRate"),
        "miningPaused": miner.get("paused"),
        "uptimeSeconds": miner.get("uptimeSeconds"),
        "sharesAccepted": miner.get("sAccepted"),
        "sharesRejected": miner.get("sRejected"),
        "power": fields_at(page, "power").get("power"),
        "temp": fields_at(page, "temps").get("asic"),
        "vrTemp": fields_at(page, "temps").get("vcore"),
        "fans": page.get("fans"),
        "stratumURL": fields_at(page, "stratum").get("url"),
    }


def _machine(info: Fields, chip: str | None) -> tuple[str, str | None]:
    """(make, model): by the name that the firmware gives, else by the board version of a Bitaxe, else by its one chip.

    The name comes first: boards of others carry versions that mean another board of the Bitaxe's.
    """
    named = next((name for key in _NAMES if (name := text(info.get(key))) is not None), None)
    if named is not None:
        make = next((make for sign, make in _MAKE_OF_NAME if sign.search(named)), ESP_MINER)
        return make, named[len(make) :].strip() if named.lower().startswith(f"{make.lower()} ") else named
    version = text(info.get("boardVersion")) or ""
    if _BOARD_VERSION.fullmatch(version) and (family := _FAMILIES.get(version[:-1])) is not None:
        return BITAXE, family
    return BITAXE, _ONE_CHIP.get((chip or "").upper()) if _chips(info) in (None, 1) else None


def _chips(info: Fields) -> int | None:
    """Newer AxeOS counts its chips no more, but lists them in its monitor."""
    return integer(info.get("asicCount")) or len(rows_at(info, "hashrateMonitor", "asics")) or None


def _is_sha256(make: str, model: str | None, chip: str | None) -> bool:
    """Proven by the chip; every NerdAxe by its name, too, as all of them are built of the same series of chips."""
    return bool(_SHA256_CHIP.match(chip or "")) or (make == NERDAXE and "axe" in (model or "").lower())


def _is_paused(info: Fields) -> bool | None:
    """Whether somebody paused the mining (AxeOS) or shut the chips down (NerdAxe); None = it does not say."""
    return _any_of([flag(info.get(key)) for key in ("miningPaused", "shutdown")])


def _any_of(said: list[bool | None]) -> bool | None:
    """Whether one of them says so; None where none says anything."""
    return True if True in said else False if False in said else None


def _expected_hs(info: Fields) -> float | None:
    """The firmware's own number, else small cores x chips x clock: every core tries one hash per tick."""
    expected_hs = evidence.scaled(info.get("expectedHashrate"), GIGA)
    if expected_hs:
        return expected_hs
    cores, chips, clock_mhz = number(info.get("smallCoreCount")), _chips(info), number(info.get("frequency"))
    if not cores or not chips or not clock_mhz:
        return None
    return evidence.scaled(cores * chips * clock_mhz, MEGA) or None


def _errors(info: Fields) -> Iterator[MachineError]:
    if number(info.get("overheat_mode")) or flag(info.get("overheat_mode")):
        yield MachineError("overheat_mode", "overheated: the firmware has stopped the chips until somebody resets it")
    for key in ("power_fault", "hardware_fault"):
        if (fault := text(info.get(key))) is not None:
            yield MachineError(key, fault)


def _pool(info: Fields) -> tuple[str | None, bool | None]:
    """Host of the pool in use and, on NerdAxe, whether it is connected; its older firmware says so of all together."""
    stratum = fields_at(info, "stratum")
    on_fallback = flag(info.get("isUsingFallbackStratum", stratum.get("usingFallback")))
    host = pools.host_of(info.get("fallbackStratumURL" if on_fallback else "stratumURL"))
    connected = [flag(row.get("connected")) for row in rows_at(stratum, "pools")]
    connected.append(flag(info.get("isStratumConnected")))
    return host, _any_of(connected)


def _temperatures(info: Fields) -> Iterator[Temperature]:
    listed = info.get("asicTemps")
    chips = [info.get("temp"), info.get("temp2"), *(listed[:MAX_CHIPS] if isinstance(listed, list) else ())]
    for sensor, said in (
        (Sensor.CHIP, chips),
        (Sensor.BOARD, [info.get("boardtemp1"), info.get("boardtemp2")]),
        (Sensor.REGULATOR, [info.get("vrTemp"), info.get("vrTempInt")]),
    ):
        found = [c for value in said if (c := evidence.celsius(value)) is not None and c != -1.0]  # -1 = no sensor
        if found:
            yield Temperature(sensor, 0, max(found))


def _fans_rpm(info: Fields) -> tuple[float | None, ...]:
    """NerdAxe lists its fans; elsewhere a second fan of 0 rpm is one that the board does not have."""
    listed = rows_at(info, "fans")[:MAX_FANS]
    if listed:
        return tuple(evidence.not_negative(row.get("rpm")) for row in listed)
    first = evidence.not_negative(info.get("fanrpm", info.get("fanSpeed")))  # a Lucky Miner; its `fanspeed` is percent
    second = evidence.positive(info.get("fan2rpm", info.get("fanrpm2")))
    return (first, second) if second is not None else () if first is None else (first,)


def _board(info: Fields, now_hs: float | None) -> Board:
    clock_mhz = info.get("actualFrequency", info.get("frequency"))
    return Board(
        id="0",
        hashrate_hs=now_hs,
        hashrate_expected_hs=_expected_hs(info),
        chips=_chips(info),
        frequency_hz=evidence.scaled(clock_mhz, MEGA) or None,
        voltage_v=evidence.scaled(info.get("coreVoltageActual"), 1e-3) or None,
    )


MAKE = Make(
    key="axeos",
    name="Bitaxe",
    asks=(Ask("system_info", "/api/system/info", via=Via.HTTP, port=HTTP_PORT),),
    read=read,
    pace_s=PACE_S,
)
