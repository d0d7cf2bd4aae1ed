"""MARA firmware: pages under /kaonsu/v1, each behind an RFC 7616 login.

`brief` carries the look. The unit of its rates is a known riddle: one reader of this firmware takes them for TH/s,
another for GH/s, and both have machines that agree. `hashrate_ideal` is in GH/s for certain. So a unit that the page
states is believed, and else the larger of the two that stays within reason of the ideal rate is taken, with a warning
that it was guessed. A 10 min rate is money's; without it `hashrate_realtime` is. Nothing states its window, but it was
seen to be the boards' 10 min rates together: where they add up to it, that is its window. The watts are estimated;
those of the boards add up to them, so the fans are not among them.

Without a login the API of the replaced firmware still tells hashrate and heat to everybody, in its words.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from collectors.miners import antminer, cgminer, evidence, hardware, pools
from collectors.miners.cgminer import flag, integer, text
from collectors.miners.evidence import Rate
from collectors.miners.make import HTTP_PORT, Ask, Make, Said, Via, When
from collectors.miners.nested import MAX_ROWS, NOTHING, Fields, at, fields_at, rows_at
from fleet.ports import PollError
from fleet.readings import Board, FaultKind, MachineError, MinerReading, Sensor, Temperature
from fleet.site import normalise_mac
from fleet.units import GIGA, MEGA, TERA

UNIT_GUESSED = "hashrate_unit_guessed"
RATE_IMPLAUSIBLE = "hashrate_implausible"

MAX_OF_IDEAL = 1.3
"""Nothing hashes more than this times what is ideal for it."""

MAX_GAP_RATIO = 0.02
"""How far boards and machine may be apart to be the same rate, read a moment later."""

GIGA_FROM = 2000.0
"""Without an ideal rate: numbers from here on are GH/s. No machine has 2 PH/s, and none worth reading 2 TH/s."""

_FAILED = ("fail", "error", "critical", "fatal")
_LAMPS_OF_ERRORS = ("degraded",)
_ASLEEP = ("sleep", "pause", "curtail", "suspend", "stopped")
_RAMPING = ("start", "init", "warm", "tuning", "boot")


def read(said: Said) -> MinerReading:
    """One look. Errors: PollError DENIED without a login, else of the brief where it is missing or empty."""
    brief = _page_of(said, "brief")
    if not brief and "api_summary" in said:
        return _without_pages(said)
    if not brief:
        raise _why(said)
    warnings: list[str] = []

    uptime_s = evidence.not_negative(brief.get("elapsed"))
    ideal_hs = _ideal_hs(brief)
    rates = [
        Rate(hs, window_s, key)
        for key, window_s in (("hashrate_realtime_10m", 600.0), ("hashrate_realtime", None), ("hashrate_average", None))
        if (hs := _hs(brief, key, ideal_hs, warnings)) is not None
    ]
    now_hs = next((rate.hs for rate in rates if rate.key == "hashrate_realtime"), None)
    boards = rows_at(_page_of(said, "hashboards"), "hashboards")
    if now_hs is not None and _adds_up(boards, now_hs):
        rates.append(Rate(now_hs, 600.0, "hashrate_realtime"))
    money = evidence.trusted(evidence.money(rates, uptime_s), now_hs, warnings)
    if uptime_s is None:
        warnings.append(evidence.UPTIME_UNKNOWN)

    overview: tuple[str | None, ...] = said.get("overview") or (None, None, None)
    machine = hardware.named(overview[0])
    watts = evidence.positive(brief.get("power_consumption_estimated"))
    listed = [row for row in rows_at({"pools": said.get("pools")}, "pools") if text(row.get("url"))]
    if not listed:
        warnings.append(pools.POOLS_MISSING)
    working = pools.by_priority(listed)
    mode, target_w = said.get("miner_config") or (None, None)
    errors = tuple(_errors(brief, boards))
    return MinerReading(
        driver="mara",
        make=machine.make,
        model=machine.model,
        firmware=overview[1],
        mac=overview[2],
        hostname=said.get("network_config"),
        algorithm=machine.algorithm,
        state=evidence.state(
            now_hs,
            money.hs if money else None,
            uptime_s,
            is_asleep=_says(brief, _ASLEEP),
            is_ramping=_says(brief, _RAMPING) or None,
            has_error=bool(errors),
        ),
        hashrate_hs=money.hs if money else None,
        hashrate_window_s=money.window_s if money else None,
        hashrate_key=money.key if money else None,
        hashrate_now_hs=now_hs,
        hashrate_expected_hs=ideal_hs,
        reported_power_w=watts,
        power_side=None if watts is None else "model",
        power_key=None if watts is None else "power_consumption_estimated",
        power_limit_w=target_w,
        mode=mode or text(brief.get("work_mode")),
        temperatures=_temperatures(boards),
        fans_rpm=said.get("fans") or (),
        uptime_s=uptime_s,
        shares_accepted=evidence.whole(row.get("accepted") for row in listed),
        shares_rejected=evidence.whole(row.get("rejected") for row in listed),
        shares_stale=evidence.whole(row.get("stale") for row in listed),
        pool_host=working.host,
        pool_alive=working.is_alive,
        errors=errors,
        boards=tuple(_boards(said, boards)) if said.is_deep else (),
        warnings=tuple(dict.fromkeys(warnings)),
    )


def _why(said: Said) -> PollError:
    if "brief" in said.faults:
        return said.faults["brief"]
    if "brief" in said:
        return PollError(FaultKind.MALFORMED, "brief is empty")
    fault = said.faults.get("api_summary")
    if fault is not None and fault.kind in (FaultKind.UNREACHABLE, FaultKind.TIMEOUT):
        return fault
    return PollError(FaultKind.DENIED, "every page of this firmware needs a login")


def _without_pages(said: Said) -> MinerReading:
    """What the API of the replaced firmware says to everybody: hashrate and heat, no watts. Errors: PollError."""
    rows = cgminer.section(said.get("api_stats"), "STATS")
    head = rows[0] if rows else NOTHING
    identity = antminer.Identity(text(head.get("Model")) or text(head.get("Type")), text(head.get("BMMiner")))
    replies = {"version": identity, "summary": said["api_summary"], "stats": {"STATS": list(rows[1:])}}
    if "api_pools" in said:
        replies["pools"] = said["api_pools"]
    reading = antminer.read(Said(replies, is_deep=said.is_deep))
    reading.driver = "mara"
    return reading


def _page_of(said: Said, name: str) -> Fields:
    """One page; some versions put it into an envelope."""
    page = fields_at(said.get(name))
    return fields_at(page, "data") or page


# --- hashrate ----------------------------------------------------------------------------------------------------


def _ideal_hs(brief: Fields) -> float | None:
    """`hashrate_ideal` is in GH/s; `hashrate_stock` of other versions in the unit that the page states."""
    ideal = evidence.scaled(brief.get("hashrate_ideal"), _stated(brief, "hashrate_ideal_unit") or GIGA)
    if ideal:
        return ideal
    unit_hs = _stated(brief, "hashrate_stock_unit", "hashrate_unit")
    return (evidence.scaled(brief.get("hashrate_stock"), unit_hs) if unit_hs else None) or None


def _hs(fields: Fields, key: str, ideal_hs: float | None, warnings: list[str]) -> float | None:
    """One rate in H/s, in the unit that is stated or that its size betrays; None where no unit makes sense of it."""
    unit_hs = _stated(fields, f"{key}_unit", "hashrate_unit")
    number = evidence.not_negative(fields.get(key))
    if number is None or unit_hs is not None:
        return None if number is None else evidence.scaled(number, unit_hs or 0.0)
    if number == 0.0:
        return 0.0
    warnings.append(UNIT_GUESSED)
    if ideal_hs is None:
        return evidence.scaled(number, GIGA if number >= GIGA_FROM else TERA)
    for unit_hs in (TERA, GIGA):
        if number * unit_hs <= MAX_OF_IDEAL * ideal_hs:
            return number * unit_hs
    warnings.append(RATE_IMPLAUSIBLE)
    return None


def _adds_up(boards: tuple[Fields, ...], now_hs: float) -> bool:
    """Whether the 10 min rates of all boards that are there make the rate of the machine."""
    parts = [_board_rate(row, "hashrate_realtime_10m") for row in boards if flag(row.get("present")) is not False]
    total_hs = evidence.whole(parts)
    return total_hs is not None and abs(total_hs - now_hs) <= MAX_GAP_RATIO * now_hs


def _board_rate(row: Fields, key: str) -> float | None:
    return evidence.scaled(row.get(key), _stated(row, f"{key}_unit", "hashrate_average_unit", "hashrate_unit") or GIGA)


def _stated(fields: Fields, *keys: str) -> float | None:
    return evidence.first(evidence.unit_hs, *(fields.get(key) for key in keys))


# --- state -------------------------------------------------------------------------------------------------------


def _says(brief: Fields, words: tuple[str, ...]) -> bool:
    """Whether status or mode of work is one of these, in whatever form of the word."""
    said = f"{text(brief.get('status')) or ''} {text(brief.get('work_mode')) or ''}".lower()
    return any(word in said for word in words)


def _errors(brief: Fields, boards: tuple[Fields, ...]) -> Iterator[MachineError]:
    if _says(brief, _FAILED):
        status = text(brief.get("status")) or "failure"
        yield MachineError(status, text(brief.get("status_long")) or status)
    lamp, words = text(brief.get("indicator")) or "", text(brief.get("indicator_long"))
    if lamp.lower() in _LAMPS_OF_ERRORS or (lamp and words and any(sign in words.lower() for sign in _FAILED)):
        yield MachineError(lamp, words or lamp)
    for board in boards:
        if flag(board.get("present")) is False:
            yield MachineError(f"board_{_id_of(board)}", f"board {_id_of(board)}: not there")
            continue
        word = text(board.get("status")) or ""
        if any(sign in word.lower() for sign in _FAILED):
            yield MachineError(f"board_{_id_of(board)}", f"board {_id_of(board)}: {word}")


# --- heat and boards ---------------------------------------------------------------------------------------------


def _temperatures(boards: tuple[Fields, ...]) -> tuple[Temperature, ...]:
    heat = evidence.Heat()
    for row, board in zip(boards, evidence.columns(map(_number, boards)), strict=True):
        for sensor, key in ((Sensor.BOARD, "temperature_pcb"), (Sensor.CHIP, "temperature_chip")):
            for value in _values(row.get(key)):
                heat.feel(sensor, board, value)
        if (Sensor.BOARD, board) not in heat:
            for value in _values(row.get("temperature_raw")):
                heat.feel(Sensor.BOARD, board, value)
    return heat.temperatures()


def _values(said: object) -> list[object]:
    """A list of numbers, the same as an object by place, or one number."""
    if isinstance(said, list):
        return said[:MAX_ROWS]
    return list(said.values())[:MAX_ROWS] if isinstance(said, dict) else [said]


def _boards(said: Said, boards: tuple[Fields, ...]) -> Iterator[Board]:
    """`hashboards` with what only `details` knows; in GH/s, and averages of no stated window where 10 min are not told.
    A board that is not there is told with nothing."""
    infos = rows_at(_page_of(said, "details"), "hashboard_infos")
    details = {_number(row): row for row in infos}
    for row in boards or infos:
        detail = details.get(_number(row), NOTHING)
        chips = integer(row.get("asic_num"))
        minutes_hs = _board_rate(row, "hashrate_realtime_10m")
        yield Board(
            id=_id_of(row),
            hashrate_hs=evidence.first(
                evidence.not_negative,
                minutes_hs,
                _board_rate(row, "hashrate_average"),
                evidence.scaled(detail.get("hashrate_avg"), GIGA),
            ),
            hashrate_window_s=None if minutes_hs is None else 600.0,
            hashrate_expected_hs=_board_rate(row, "hashrate_ideal")
            or evidence.scaled(detail.get("hashrate_ideal"), GIGA)
            or None,
            chips=integer(detail.get("asic_num")) if chips is None else chips,
            frequency_hz=evidence.scaled(
                evidence.first(evidence.positive, row.get("frequency_average"), detail.get("frequency_avg")), MEGA
            ),
            voltage_v=evidence.positive(detail.get("voltage")),
            serial=text(row.get("serial_number")) or text(detail.get("serial_number")),
        )


def _id_of(row: Fields) -> str:
    return text(row.get("index"), 16) or text(row.get("id"), 16) or "?"


def _number(row: Fields) -> int | None:
    return integer(row.get("index", row.get("id")))


# --- digests: what is kept between looks -------------------------------------------------------------------------


def _overview(answer: Any) -> tuple[str | None, str | None, str | None]:
    """(hardware, firmware version, MAC)."""
    page = fields_at(answer, "data") or fields_at(answer)
    return (
        text(page.get("model_extended")) or text(page.get("model")),  # the marketing name, where a version has both
        text(page.get("version_firmware")),
        normalise_mac(text(page.get("mac"))),
    )


def _fans(answer: Any) -> tuple[float | None, ...]:
    page = fields_at(answer, "data") or fields_at(answer)
    return tuple(evidence.not_negative(row.get("current_speed", row.get("rpm"))) for row in rows_at(page, "fans"))


def _mode(answer: Any) -> tuple[str | None, float | None]:
    """(mode of work, power target in W). The accounts and passwords of the pools stand in the same page."""
    mode = fields_at(answer, "mode")
    return text(mode.get("work-mode-selector")), evidence.positive(at(mode, "concorde", "power-target"))


def _hostname(answer: Any) -> str | None:
    return text(at(answer, "hostname"))


def _api_pools(reply: Any) -> pools.Pools:
    """Here `Stratum Active` is never true."""
    rows = cgminer.section(reply, "POOLS")
    return pools.by_priority([{key: row.get(name) for key, name in _POOL_KEYS} for row in rows])


_POOL_KEYS = (("url", "URL"), ("status", "Status"), ("priority", "Priority"))


# --- what is asked -----------------------------------------------------------------------------------------------


def _api(command: str, when: When, digest: Any = None) -> Ask:
    """Of the API, where no page was answered."""
    return Ask(f"api_{command}", command, when=when, is_needed=False, unless=("brief",), digest=digest)


def _page(name: str, when: When, digest: Any = None, *, is_needed: bool = False) -> Ask:
    return Ask(
        name,
        f"/kaonsu/v1/{name}",
        via=Via.HTTP,
        port=HTTP_PORT,
        when=when,
        is_needed=is_needed,
        needs_login=True,
        digest=digest,
    )


MAKE = Make(
    key="mara",
    name="MARA",
    asks=(
        _page("brief", When.EVERY, is_needed=True),
        _page("hashboards", When.EVERY),
        _page("pools", When.EVERY),
        _page("fans", When.SLOW, _fans),
        _page("miner_config", When.SLOW, _mode),
        _page("overview", When.ONCE, _overview),
        _page("network_config", When.ONCE, _hostname),
        _page("details", When.DEEP),
        _api("summary", When.EVERY),
        _api("stats", When.EVERY),
        _api("pools", When.SLOW, _api_pools),
    ),
    read=read,
    has_digest_login=True,
)
