"""Auradine Teraflux (FluxOS): `summary` over the cgminer API at every look, the rest from pages on port 8080.

The pages want the header `Token` on most machines; the operator's login gets one. Without it they may be denied, and
the reading goes on with what 4028 says: work, hashrate, pools and boards. Money is counted on `MHS 5m`; the 5 s value
is told as what it is (20.6 beside 8.2 TH/s over 15 min in the maker's own example). Newer firmware puts `Wattage` into
`summary`; else `/psu` is asked for `PowerIn`, what the supply takes from the wall, at every look.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import orjson

from collectors.miners import cgminer, evidence, pools
from collectors.miners.make import Ask, Credential, Login, Make, Said, Via, When, token_at
from collectors.miners.nested import Fields
from fleet.ports import PollError
from fleet.readings import Board, FaultKind, MachineError, MinerReading, Sensor, Temperature
from fleet.site import normalise_mac
from fleet.units import MEGA, TERA

KEY = "auradine"
NAME = "Auradine"
WEB_PORT = 8080

BOARDS_MISSING = "boards_missing"
PAGES_MISSING = "pages_missing"
SUPPLY_CONTRADICTS = "supply_contradicts_hashrate"

MAX_BOARDS = 16
MAX_FANS = 16

_SHORT_S = 5.0
_LED_FINE = (2, 3)  # normal, and blinking on request

# Auradine builds machines for SHA-256 alone: AT (air), AH (hydro), AI (immersion), AD (rack).
_SHA256 = re.compile(r"A[THID][0-9]{4}")


# --- small things that are kept between looks --------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Identity:
    model: str | None
    firmware: str | None
    mac: str | None
    serial: str | None
    hostname: str | None
    board_serials: tuple[str | None, ...]


@dataclass(frozen=True, slots=True)
class Mode:
    """`/mode`: what the operator wants of the machine."""

    name: str | None
    is_asleep: bool | None
    power_w: float | None
    expected_hs: float | None


class Supply(NamedTuple):
    input_w: float | None
    output_w: float | None


class Slot(NamedTuple):
    """One hash board of `devs`."""

    number: int
    now_hs: float | None
    celsius: float | None


_NOBODY = Identity(None, None, None, None, None, ())
_NO_MODE = Mode(None, None, None, None)
_NO_SUPPLY = Supply(None, None)


def _rows(page: object, name: str) -> tuple[Fields, ...]:
    """The rows of a page. Errors: PollError where the page refuses: it does so with HTTP status 200 and a STATUS E."""
    if not isinstance(page, dict):
        raise PollError(FaultKind.MALFORMED, f"{name}: not an object")
    cgminer.require(page, name)
    return cgminer.section(page, name)


def _row(page: object, name: str) -> Fields:
    return next(iter(_rows(page, name)), {})


def _version(reply: Fields) -> str | None:
    return cgminer.word(_row(reply, "VERSION").get("GCMiner"))


def _identity(page: object) -> Identity:
    get = _row(page, "IPReport").get
    serials = get("HBSerialNo")
    return Identity(
        model=cgminer.word(get("model")),
        firmware=cgminer.word(get("version")),
        mac=normalise_mac(cgminer.text(get("mac"))),
        serial=evidence.serial(get("SerialNo")) or evidence.serial(get("CBSerialNo")),
        hostname=cgminer.text(get("hostname")),
        board_serials=tuple(map(cgminer.text, serials[:MAX_BOARDS])) if isinstance(serials, list) else (),
    )


def _mode(page: object) -> Mode:
    get = _row(page, "Mode").get
    return Mode(
        name=cgminer.word(get("Mode")),
        is_asleep=cgminer.flag(get("Sleep")),
        power_w=evidence.positive(get("Power")),
        expected_hs=evidence.scaled(evidence.positive(get("Ths")), TERA),
    )


def _supply(page: object) -> Supply:
    """Watts with their units, `58.94W`; of several supplies the sum, where each says it."""
    rows = _rows(page, "PSU")
    return Supply(*(evidence.whole(row.get(key) for row in rows) for key in ("PowerIn", "PowerOut")))


def _fans(page: object) -> tuple[float | None, ...]:
    return tuple(evidence.not_negative(row.get("Speed")) for row in _rows(page, "Fan")[:MAX_FANS])


def _slots(reply: Fields) -> tuple[Slot, ...]:
    """Boards by their own number, else by their place."""
    found = []
    for place, row in enumerate(_rows(reply, "DEVS")[:MAX_BOARDS]):
        number = cgminer.integer(row.get("ID", row.get("DEV")))
        found.append(
            Slot(
                number=number if number is not None and 0 <= number < 256 else place,
                now_hs=evidence.scaled(row.get("MHS 5s"), MEGA),
                celsius=evidence.celsius(row.get("Temperature")),
            )
        )
    return tuple(found)


def _places(page: object) -> tuple[Temperature, ...]:
    """Hottest board and chip sensor of each hash board. Place 0 is the control board, which is none of them; a hydro
    tells its coolant there."""
    rows = [
        (number, row)
        for row in _rows(page, "Temperature")[: MAX_BOARDS + 1]
        if (number := cgminer.integer(row.get("ID"))) is not None and 0 <= number < 256
    ]
    index = evidence.board_indices(number for number, _ in rows if number)
    heat = evidence.Heat()
    for number, row in rows:
        if not number:
            heat.feel(Sensor.INLET, 0, row.get("InletTemp"))
            heat.feel(Sensor.OUTLET, 0, row.get("OutletTemp"))
            continue
        for sensor, key in ((Sensor.BOARD, "BoardTemp"), (Sensor.CHIP, "ChipTemp")):
            for one in cgminer.section(row, key):
                heat.feel(sensor, index[number], one.get("Temperature"))
    return heat.temperatures()


def _errors(page: object) -> tuple[MachineError, ...]:
    """What the lamps stand for, which is how the machine tells its errors."""
    found = []
    for row in _rows(page, "LED")[:MAX_BOARDS]:
        code = cgminer.integer(row.get("Code"))
        if code is not None and code not in _LED_FINE:
            text = cgminer.text(row.get("Msg")) or "the machine shows an error by its lamps"
            found.append(MachineError(f"LED {code}", text))
    return tuple(found)


def _chips(page: object) -> int | None:
    """Chips of one board, where all boards have as many."""
    get = _row(page, "ASCCount").get
    boards, chips = cgminer.integer(get("BoardCount")), cgminer.integer(get("AsicCount"))
    if not boards or not chips or boards < 0 or chips < 0 or chips % boards:
        return None
    return chips // boards


# --- the reading -------------------------------------------------------------------------------------------------


def read(said: Said) -> MinerReading:
    """One look. Errors: PollError of a summary that did not come; MALFORMED where it and `devs` say nothing."""
    totals = cgminer.row(said.get("summary"), "SUMMARY")
    slots: tuple[Slot, ...] = said.get("devs") or ()
    if not totals and not slots:
        raise said.faults.get("summary") or PollError(FaultKind.MALFORMED, "summary: nothing in it")
    get = totals.get
    identity: Identity = said.get("ipreport") or _NOBODY
    mode: Mode = said.get("mode") or _NO_MODE
    pool: pools.Pools | None = said.get("pools")
    errors: tuple[MachineError, ...] = said.get("led") or ()
    warnings: list[str] = []

    uptime_s = evidence.not_negative(get("Elapsed"))
    now_hs = evidence.scaled(get("MHS 5s"), MEGA)
    money = evidence.counted(evidence.rates(totals, MEGA, evidence.MHS_WINDOWS), now_hs, uptime_s, warnings)
    if not slots:
        warnings.append(BOARDS_MISSING)
    if pool is None:
        warnings.append(pools.POOLS_MISSING)
    if "ipreport" not in said:
        warnings.append(PAGES_MISSING)
    supply: Supply = said.get("psu") or _NO_SUPPLY
    power_w, power_key = evidence.positive(get("Wattage")), "Wattage"
    if power_w is None:
        power_w, power_key = evidence.positive(supply.input_w), "PowerIn"
        if power_w is not None and supply.output_w == 0.0 and now_hs:
            warnings.append(SUPPLY_CONTRADICTS)  # nothing goes to the boards, and yet they hash: not of one moment
    throttled_hs = evidence.scaled(evidence.positive(get("ThsThrottle")), TERA)

    return MinerReading(
        driver=KEY,
        make=NAME,
        model=identity.model,
        firmware=identity.firmware or said.get("version"),
        mac=identity.mac,
        serial=identity.serial,
        hostname=identity.hostname,
        algorithm="sha256" if identity.model is not None and _SHA256.match(identity.model) else None,
        state=evidence.state(
            now_hs,
            None if money is None else money.hs,
            uptime_s,
            is_asleep=mode.is_asleep,
            has_pool=None if pool is None else pool.has_work,
            has_error=bool(errors),
        ),
        hashrate_hs=None if money is None else money.hs,
        hashrate_window_s=None if money is None else money.window_s,
        hashrate_key=None if money is None else money.key,
        hashrate_now_hs=now_hs,
        hashrate_expected_hs=mode.expected_hs if throttled_hs is None else throttled_hs,
        reported_power_w=power_w,
        power_side=None if power_w is None else "ac",
        power_key=None if power_w is None else power_key,
        power_limit_w=mode.power_w,
        dc_power_w=None if supply.output_w == 0.0 and now_hs else supply.output_w,
        mode=mode.name,
        temperatures=said.get("temperature") or tuple(_temperatures(slots)),
        fans_rpm=said.get("fan") or (),
        uptime_s=uptime_s,
        shares_accepted=evidence.not_negative(get("Accepted")),
        shares_rejected=evidence.not_negative(get("Rejected")),
        shares_stale=evidence.not_negative(get("Stale")),
        difficulty_accepted=evidence.not_negative(get("Difficulty Accepted")),
        difficulty_rejected=evidence.not_negative(get("Difficulty Rejected")),
        pool_host=None if pool is None else pool.host,
        pool_alive=None if pool is None else pool.is_alive,
        errors=errors,
        boards=tuple(_boards(slots, identity, said.get("asccount"))) if said.is_deep else (),
        warnings=tuple(warnings),
    )


def _temperatures(slots: tuple[Slot, ...]) -> Iterator[Temperature]:
    index = evidence.board_indices(slot.number for slot in slots)
    for slot in slots:
        if slot.celsius is not None:
            yield Temperature(Sensor.BOARD, index[slot.number], slot.celsius)


def _boards(slots: tuple[Slot, ...], identity: Identity, chips: int | None) -> Iterator[Board]:
    """Boards with their 5 s rate, the only one per board; serial numbers come in the order of the boards."""
    serials = identity.board_serials
    for place, slot in enumerate(slots):
        yield Board(
            id=str(slot.number),
            hashrate_hs=slot.now_hs,
            hashrate_window_s=None if slot.now_hs is None else _SHORT_S,
            chips=chips,
            serial=serials[place] if len(serials) == len(slots) else None,
        )


# --- the questions -----------------------------------------------------------------------------------------------


def _ask_token(credential: Credential) -> Ask:
    body = {"command": "token", "user": credential.user, "password": credential.password}
    return Ask("token", "/token", via=Via.HTTP, port=WEB_PORT, body=orjson.dumps(body))


def _token_headers(answer: Any) -> Mapping[str, str]:
    """Errors: PollError DENIED where the login was not taken."""
    return {"Token": token_at(_row(answer, "Token"), "Token")}


def _page(name: str, when: When, digest: Any) -> Ask:
    return Ask(name, f"/{name}", via=Via.HTTP, port=WEB_PORT, when=when, is_needed=False, digest=digest)


MAKE = Make(
    key=KEY,
    name=NAME,
    asks=(
        Ask("summary", "summary"),
        Ask("pools", "pools", when=When.SLOW, is_needed=False, digest=pools.digest),
        Ask("devs", "devs", when=When.SLOW, is_needed=False, digest=_slots),
        Ask("version", "version", when=When.ONCE, is_needed=False, digest=_version),
        Ask("asccount", "asccount", when=When.DEEP, is_needed=False, digest=_chips),
        _page("ipreport", When.ONCE, _identity),
        _page("psu", When.EVERY, _supply),
        _page("mode", When.SLOW, _mode),
        _page("fan", When.SLOW, _fans),
        _page("temperature", When.SLOW, _places),
        _page("led", When.SLOW, _errors),
    ),
    read=read,
    login=Login(_ask_token, _token_headers),
)
