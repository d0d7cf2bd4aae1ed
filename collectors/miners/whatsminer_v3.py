"""WhatsMiner, API v3 (TCP 4433, framed JSON): the summary alone at every look, in one connection.

Nothing joins here, so each question costs a connection. `get.device.info` holds identity, mode, errors and whether the
machine works: all of it shows in the hashrate first, so it is asked at every tenth look, like the pools. Boards one by
one are for probes: the summary has the temperature of each board and the hottest chip of the machine, which stands at
place 0 until somebody asks for everything. This firmware counts no shares.

Money is counted on `hash-15min`, there is no shorter window above a minute. Watts are those of five minutes, at the
input of the power supply: they are what its `vin` and `iin` make (220.5 V x 14.8 A beside 3268 W).
A machine whose mining program is stopped answers the status with a sentence; then it is what `working` says.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

from collectors.miners import cgminer, evidence, pools, whatsminer_errors
from collectors.miners.make import FRAMED_PORT, Ask, Excuse, Make, Said, Via, When
from collectors.miners.nested import Fields, fields_at
from collectors.miners.whatsminer import (
    MAX_BOARDS,
    NAME,
    NO_POOLS,
    Model,
    board_number,
    fans,
    model_of,
)
from fleet.ports import PollError
from fleet.readings import Board, FaultKind, MachineError, MinerReading, Sensor, Temperature
from fleet.site import normalise_mac
from fleet.units import MEGA, TERA

KEY = "whatsminer_v3"
INFO_MISSING = "device_info_missing"

_WINDOWS = (("hash-15min", 900.0), ("hash-1min", 60.0), ("hash-average", 0.0))
_REALTIME = "hash-realtime"
_BOARD_WINDOWS = (("hash-average", 0.0), (_REALTIME, None))
_MODES = {"0": "Low", "1": "Normal", "2": "High"}  # the words that API v1 and v2 have for the same three


@dataclass(frozen=True, slots=True)
class Info:
    """What `get.device.info` says, kept between looks. `is_liquid`: it knows the temperature of a coolant."""

    model: Model | None = None
    firmware: str | None = None
    mac: str | None = None
    serial: str | None = None
    hostname: str | None = None
    mode: str | None = None
    is_working: bool | None = None
    errors: tuple[MachineError, ...] = ()
    board_serials: tuple[str | None, ...] = ()
    psu_c: float | None = None
    is_liquid: bool = False


_NO_INFO = Info()


def _info(answer: object) -> Info:
    message = fields_at(answer, "msg")
    miner, power = fields_at(message, "miner"), fields_at(message, "power")
    network, system = fields_at(message, "network"), fields_at(message, "system")
    mode = cgminer.word(power.get("mode"))
    return Info(
        model=model_of(miner.get("type")),
        firmware=cgminer.word(system.get("fwversion")),
        mac=normalise_mac(cgminer.text(network.get("mac"))),
        serial=evidence.serial(miner.get("miner-sn")),
        hostname=cgminer.word(network.get("hostname")),
        mode=None if mode is None else _MODES.get(mode, mode),
        is_working=cgminer.flag(miner.get("working")),
        errors=whatsminer_errors.listed(message.get("error-code")),
        board_serials=_board_serials(miner),
        psu_c=evidence.celsius(power.get("temp0")),
        is_liquid=evidence.celsius(power.get("liquid-temperature")) is not None,
    )


def _board_serials(miner: Fields) -> tuple[str | None, ...]:
    """`pcbsn0`, `pcbsn1` ... up to the first that is not there."""
    keys = takewhile(lambda key: key in miner, (f"pcbsn{i}" for i in range(MAX_BOARDS)))
    return tuple(cgminer.text(miner[key]) for key in keys)


def _pools(answer: object) -> pools.Pools:
    """The account stands beside each URL; it ends here. An answer without pools is not one of no pools."""
    message = fields_at(answer, "msg")
    if "pools" not in message:
        return NO_POOLS
    return pools.chosen([_seen(row) for row in cgminer.section(message, "pools")])


def _seen(row: Fields) -> pools.Seen:
    word = cgminer.text(row.get("status"))
    return pools.Seen(
        row.get("url"), bool(cgminer.flag(row.get("stratum-active"))), None if word is None else word.lower() == "alive"
    )


def read(said: Said) -> MinerReading:
    """One look. Errors: PollError of a summary that did not come; MALFORMED where nothing is in it.

    A machine that says it does not work need not say more.
    """
    totals = fields_at(said.get("get_miner_status_summary"), "msg", "summary")
    info: Info = said.get("get_device_info", _NO_INFO)
    if not totals and info.is_working is not False:
        raise said.faults.get("get_miner_status_summary") or PollError(FaultKind.MALFORMED, "summary: nothing in it")
    get = totals.get
    pool: pools.Pools = said.get("get_miner_status_pools", NO_POOLS)
    model = info.model

    uptime_s = evidence.not_negative(get("elapsed"))
    now_hs = evidence.scaled(get(_REALTIME), TERA)
    warnings: list[str] = []
    money = evidence.counted(evidence.rates(totals, TERA, _WINDOWS), now_hs, uptime_s, warnings)
    if info is _NO_INFO:
        warnings.append(INFO_MISSING)
    if pool is NO_POOLS:
        warnings.append(pools.POOLS_MISSING)
    if pool.others:
        warnings.append(pools.SEVERAL_HOSTS)

    power_key = "power-5min" if evidence.positive(get("power-5min")) is not None else "power-realtime"
    power_w = evidence.positive(get(power_key))
    rows = cgminer.section(fields_at(said.get("get_miner_status_edevs"), "msg"), "edevs")[:MAX_BOARDS]
    boards = [(board_number(row, ("id",), i), row) for i, row in enumerate(rows)]
    return MinerReading(
        driver=KEY,
        make=NAME,
        model=None if model is None else model.name,
        firmware=info.firmware,
        mac=info.mac,
        serial=info.serial,
        hostname=info.hostname,
        algorithm=None if model is None else model.algorithm,
        state=evidence.state(
            now_hs if totals else 0.0,  # of a machine that says it does not work
            None if money is None else money.hs,
            uptime_s,
            # "not working" is one word for stopped and for broken: the errors tell them apart
            is_asleep=info.is_working is False and not info.errors,
            is_ramping=_is_ramping(get("up-freq-finish")),
            has_pool=None if pool is NO_POOLS else pool.has_work,
            has_error=bool(info.errors),
        ),
        hashrate_hs=None if money is None else money.hs,
        hashrate_window_s=None if money is None else money.window_s,
        hashrate_key=None if money is None else money.key,
        hashrate_now_hs=now_hs,
        hashrate_expected_hs=evidence.scaled(evidence.positive(get("factory-hash")), TERA),
        reported_power_w=power_w,
        power_side=None if power_w is None else "ac",
        power_key=None if power_w is None else power_key,
        power_limit_w=evidence.positive(get("power-limit")),
        mode=info.mode,
        temperatures=_temperatures(totals, boards, info.psu_c),
        fans_rpm=fans(
            get("fan-speed-in"),
            get("fan-speed-out"),
            is_liquid=info.is_liquid or (model is not None and model.is_liquid),
        ),
        uptime_s=uptime_s,
        pool_host=pool.host,
        pool_alive=pool.is_alive,
        errors=info.errors,
        boards=tuple(_board(number, row, i, info, uptime_s) for i, (number, row) in enumerate(boards))
        if said.is_deep
        else (),
        warnings=tuple(warnings),
    )


def _is_ramping(finished: object) -> bool | None:
    word = cgminer.flag(finished)
    return None if word is None else not word


def _temperatures(totals: Fields, boards: Sequence[tuple[int, Fields]], psu_c: float | None) -> tuple[Temperature, ...]:
    heat = evidence.Heat()
    said = totals.get("board-temperature")
    for place, degrees in enumerate(said[:MAX_BOARDS] if isinstance(said, list) else ()):
        heat.feel(Sensor.BOARD, place, degrees)
    places = evidence.board_indices(number for number, _ in boards)
    for number, row in boards or ((0, totals),):
        heat.feel(Sensor.CHIP, places.get(number, 0), row.get("chip-temp-max"))
    heat.feel(Sensor.INLET, 0, totals.get("environment-temperature"))
    if psu_c is not None:
        heat.feel(Sensor.PSU, 0, psu_c)
    return heat.temperatures()


def _board(number: int, row: Fields, position: int, info: Info, uptime_s: float | None) -> Board:
    """A board that hashes nothing now keeps its average, too: then the 0 counts."""
    rate = evidence.money(evidence.rates(row, TERA, _BOARD_WINDOWS), uptime_s)
    now_hs = evidence.scaled(row.get(_REALTIME), TERA)
    if evidence.is_history(rate, now_hs):
        rate = evidence.Rate(0.0, None, _REALTIME)
    return Board(
        id=str(number),
        hashrate_hs=None if rate is None else rate.hs,
        hashrate_window_s=None if rate is None else rate.window_s,
        hashrate_expected_hs=evidence.scaled(evidence.positive(row.get("factory-hash")), TERA),
        chips=cgminer.integer(evidence.not_negative(row.get("effective-chips"))),
        frequency_hz=evidence.scaled(evidence.positive(row.get("freq")), MEGA),
        serial=info.board_serials[position] if position < len(info.board_serials) else None,
    )


def _framed(name: str, what: str, when: When, parameter: str | None = None, **more: Any) -> Ask:
    return Ask(name, what, via=Via.FRAMED, port=FRAMED_PORT, parameter=parameter, when=when, **more)


MAKE = Make(
    key=KEY,
    name=NAME,
    asks=(
        _framed("get_miner_status_summary", "get.miner.status", When.EVERY, "summary"),
        _framed("get_device_info", "get.device.info", When.SLOW, is_needed=False, digest=_info),
        _framed("get_miner_status_pools", "get.miner.status", When.SLOW, "pools", is_needed=False, digest=_pools),
        _framed("get_miner_status_edevs", "get.miner.status", When.DEEP, "edevs", is_needed=False),
    ),
    read=read,
    excuse=Excuse("get_device_info", lambda info: info.is_working is False),
)
