"""Braiins OS from 25.07: REST pages under /api/v1, each behind a login.

Two pages carry the look, the statistics with windows from 5 s to a day and the details with the state; the boards tell
the heat. While its mining program is down only the details answer, and they say why. The watts are the tuner's
approximation. With power scaling the target in force (`tuner-state`) is below the configured one, so the target in
force is the limit. `generated_work` of the pool counters is in no unit that fits the shares, and stays unread.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import orjson

from collectors.miners import evidence, hardware, pools
from collectors.miners.cgminer import flag, integer, text
from collectors.miners.evidence import Rate
from collectors.miners.make import HTTP_PORT, Ask, Credential, Login, Make, Said, Via, When, token_at
from collectors.miners.nested import Fields, at, fields_at, rows_at
from fleet.ports import PollError
from fleet.readings import Board, FaultKind, MachineError, MinerReading, Sensor, Temperature
from fleet.site import normalise_mac
from fleet.units import GIGA, MEGA, TERA

TUNER_FAILED = MachineError("tuner", "the tuner has failed")

MAX_ERRORS = 32

_WINDOWS = (("last_5m", 300.0), ("last_15m", 900.0), ("last_30m", 1800.0), ("last_1m", 60.0), ("since_restart", 0.0))
_UNITS_HS = (("gigahash_per_second", GIGA), ("megahash_per_second", MEGA), ("terahash_per_second", TERA))

# `status` of the details and `overall_tuner_state`: numbers, or the names that these numbers have in the maker's API.
_NOT_STARTED, _NORMAL, _PAUSED, _SUSPENDED, _RESTRICTED = range(1, 6)
_STATUSES = {
    "NOT_STARTED": _NOT_STARTED, "NORMAL": _NORMAL, "PAUSED": _PAUSED, "SUSPENDED": _SUSPENDED,
    "RESTRICTED": _RESTRICTED,
}  # fmt: skip
_TUNING, _FAILED, _PREHEATING = 3, 4, 6
_TUNER_STATES = {"TUNING": _TUNING, "ERROR": _FAILED, "PREHEAT": _PREHEATING}


def read(said: Said) -> MinerReading:
    """One look. Errors: PollError DENIED without a login, else of the page that failed where both pages are empty, or
    where the statistics are and the details do not say that it has stopped."""
    stats = fields_at(said.get("miner_stats"))
    details = fields_at(said.get("miner_details"))
    status = _code(details.get("status"), _STATUSES)
    is_stopped = status in (_NOT_STARTED, _PAUSED, _SUSPENDED)
    if not stats and (not details or ("miner_stats" in said.faults and not is_stopped)):
        raise _why(said)
    warnings: list[str] = []

    uptime_s = evidence.not_negative(details.get("bosminer_uptime_s"))
    real = fields_at(stats, "miner_stats", "real_hashrate")
    now_hs = _hashrate(real.get("last_5s"))
    money = evidence.trusted(_money(real, uptime_s), now_hs, warnings)
    if uptime_s is None:
        warnings.append(evidence.UPTIME_UNKNOWN)

    machine = hardware.named(at(details, "miner_identity", "name") or at(details, "miner_identity", "miner_model"))
    watts = evidence.positive(at(stats, "power_stats", "approximated_consumption", "watt"))
    boards = rows_at(said.get("miner_hw_hashboards"), "hashboards")
    active: pools.Pools | None = said.get("pools")
    if active is None:
        warnings.append(pools.POOLS_MISSING)
    elif active.others:
        warnings.append(pools.SEVERAL_HOSTS)
    tuner: Tuner = said.get("performance_tuner_state") or Tuner()
    mac, hostname = said.get("network") or (None, None)
    errors: tuple[MachineError, ...] = said.get("miner_errors") or ()
    counters = fields_at(stats, "pool_stats")
    return MinerReading(
        driver="braiins_rest",
        make=machine.make,
        model=machine.model,
        firmware=text(at(details, "bos_version", "current")),
        mac=normalise_mac(text(details.get("mac_address"))) or mac,
        serial=evidence.serial(details.get("serial_number")),
        hostname=text(details.get("hostname")) or hostname,
        algorithm=machine.algorithm,
        state=evidence.state(
            0.0 if now_hs is None and is_stopped else now_hs,
            money.hs if money else None,
            uptime_s,
            is_asleep=None if status is None else status == _PAUSED,
            is_ramping=None if now_hs or is_stopped else tuner.stage in (_TUNING, _PREHEATING),
            has_error=status == _SUSPENDED or tuner.stage == _FAILED,
        ),
        hashrate_hs=money.hs if money else None,
        hashrate_window_s=money.window_s if money else None,
        hashrate_key=money.key if money else None,
        hashrate_now_hs=now_hs,
        hashrate_expected_hs=_nominal(at(stats, "miner_stats", "nominal_hashrate"), details.get("sticker_hashrate")),
        reported_power_w=watts,
        power_side=None if watts is None else "model",
        power_key=None if watts is None else "approximated_consumption",
        power_limit_w=tuner.target_w or said.get("configuration_miner"),
        mode=tuner.mode,
        temperatures=_temperatures(boards),
        fans_rpm=said.get("cooling_state") or (),
        uptime_s=uptime_s,
        shares_accepted=evidence.not_negative(counters.get("accepted_shares")),
        shares_rejected=evidence.not_negative(counters.get("rejected_shares")),
        shares_stale=evidence.not_negative(counters.get("stale_shares")),
        pool_host=active.host if active else None,
        pool_alive=active.is_alive if active else None,
        errors=(TUNER_FAILED, *errors) if tuner.stage == _FAILED else errors,
        boards=tuple(_boards(boards, uptime_s)) if said.is_deep else (),
        warnings=tuple(warnings),
    )


def _why(said: Said) -> PollError:
    for name in ("miner_stats", "miner_details"):
        if name in said.faults:
            return said.faults[name]
    if not said and not said.faults:
        return PollError(FaultKind.DENIED, "every page of this firmware needs a login")
    return PollError(FaultKind.MALFORMED, "neither statistics nor details have fields")


def _code(said: object, codes: Mapping[str, int]) -> int | None:
    """A number, or one of these names with what they begin with in the maker's API: `MINER_STATUS_PAUSED`."""
    number = integer(said)
    return codes.get(_PREFIX.sub("", (text(said) or "").upper())) if number is None else number


_PREFIX = re.compile("^(?:MINER_STATUS|TUNER_STATE)_")


def _money(real: Fields, uptime_s: float | None) -> Rate | None:
    rates = [Rate(hs, window_s, key) for key, window_s in _WINDOWS if (hs := _hashrate(real.get(key))) is not None]
    return evidence.money(rates, uptime_s)


def _hashrate(said: object) -> float | None:
    """{"gigahash_per_second": 141463.6} in H/s; a unit that we do not know is no number."""
    return next((hs for key, unit in _UNITS_HS if (hs := evidence.scaled(at(said, key), unit)) is not None), None)


def _nominal(*said: object) -> float | None:
    """What the tuner aims at, else what the sticker says; 0 is not known."""
    return next((hs for value in said if (hs := _hashrate(value))), None)


def _temperatures(boards: tuple[Fields, ...]) -> tuple[Temperature, ...]:
    """The board and its hottest chip by board; the air before and behind it where it is hottest."""
    heat = evidence.Heat()
    for row, board in zip(boards, evidence.columns(integer(row.get("id")) for row in boards), strict=True):
        heat.feel(Sensor.BOARD, board, at(row, "board_temp", "degree_c"))
        heat.feel(Sensor.CHIP, board, at(row, "highest_chip_temp", "temperature", "degree_c"))
        heat.feel(Sensor.INLET, board, at(row, "lowest_inlet_temp", "degree_c"))
        heat.feel(Sensor.OUTLET, board, at(row, "highest_outlet_temp", "degree_c"))
    return heat.temperatures()


def _boards(boards: tuple[Fields, ...], uptime_s: float | None) -> Iterator[Board]:
    for row in boards:
        rate = _money(fields_at(row, "stats", "real_hashrate"), uptime_s)
        yield Board(
            id=text(row.get("id")) or "",
            hashrate_hs=rate.hs if rate else None,
            hashrate_window_s=rate.window_s if rate else None,
            hashrate_expected_hs=_nominal(at(row, "stats", "nominal_hashrate")),
            chips=evidence.first(integer, row.get("chips_count"), at(row, "chips_count", "value")),
            frequency_hz=evidence.positive(at(row, "current_frequency", "hertz")),
            voltage_v=evidence.positive(at(row, "current_voltage", "volt")),
            serial=text(row.get("serial_number")),
        )


# --- digests: what is kept between looks -------------------------------------------------------------------------


def _pools(answer: Any) -> pools.Pools:
    """Pools of all groups; each group has an active one, and they share by quota."""
    rows = [row for group in rows_at({"groups": answer}, "groups") for row in rows_at(group, "pools")]
    return pools.chosen(
        [pools.Seen(row.get("url"), bool(flag(row.get("active"))), flag(row.get("alive"))) for row in rows]
    )


def _fans(answer: Any) -> tuple[float | None, ...]:
    return tuple(evidence.not_negative(row.get("rpm")) for row in rows_at(answer, "fans"))


class Tuner(NamedTuple):
    """What the tuner works at. None = not said."""

    mode: str | None = None
    target_w: float | None = None
    stage: int | None = None


def _tuner_state(answer: Any) -> Tuner:
    """As it works now. The mode is the name of the only member of `mode_state`."""
    states = fields_at(answer, "mode_state")
    mode = next(iter(states), None)
    return Tuner(
        text(mode),
        evidence.positive(at(states, str(mode), "current_target", "watt")),
        _code(at(answer, "overall_tuner_state"), _TUNER_STATES),
    )


def _configured_w(answer: Any) -> float | None:
    return evidence.positive(at(answer, "tuner", "power_target", "watt"))


def _errors(answer: Any) -> tuple[MachineError, ...]:
    """The machine's own log of errors, each once. It goes back for months, so it says nothing about the state now."""
    found: dict[str, MachineError] = {}
    for row in rows_at(answer, "errors"):
        message = text(row.get("message"))
        if message is not None and len(found) < MAX_ERRORS:
            codes = rows_at(row, "error_codes")
            found.setdefault(message, MachineError((text(codes[0].get("code")) if codes else None) or "error", message))
    return tuple(found.values())


def _network(answer: Any) -> tuple[str | None, str | None]:
    """(MAC, host name)."""
    return normalise_mac(text(at(answer, "mac_address"))), text(at(answer, "hostname"))


# --- what is asked -----------------------------------------------------------------------------------------------


def _log_in(credential: Credential) -> Ask:
    body = orjson.dumps({"username": credential.user, "password": credential.password})
    return Ask("auth_login", "/api/v1/auth/login", via=Via.HTTP, port=HTTP_PORT, body=body)


def _token(answer: Any) -> Mapping[str, str]:
    return {"Authorization": token_at(answer, "token")}


def _page(
    name: str, page: str, when: When, digest: Callable[[Any], Any] | None = None, *, is_needed: bool = False
) -> Ask:
    return Ask(
        name,
        f"/api/v1/{page}",
        via=Via.HTTP,
        port=HTTP_PORT,
        when=when,
        is_needed=is_needed,
        needs_login=True,
        digest=digest,
    )


MAKE = Make(
    key="braiins_rest",
    name="Braiins OS (REST)",
    asks=(
        _page("miner_stats", "miner/stats", When.EVERY),
        _page("miner_details", "miner/details", When.EVERY, is_needed=True),
        _page("miner_hw_hashboards", "miner/hw/hashboards", When.EVERY),
        _page("cooling_state", "cooling/state", When.SLOW, _fans),
        _page("pools", "pools", When.SLOW, _pools),
        _page("performance_tuner_state", "performance/tuner-state", When.SLOW, _tuner_state),
        _page("configuration_miner", "configuration/miner", When.DEEP, _configured_w),
        _page("miner_errors", "miner/errors", When.DEEP, _errors),
        _page("network", "network", When.DEEP, _network),
        _page("version", "version", When.DEEP),
    ),
    read=read,
    login=Login(_log_in, _token),
)
