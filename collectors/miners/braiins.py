"""Braiins OS up to 25.05: the bosminer API on port 4028, and GraphQL beside it. Either half is enough.

The bosminer API tells more, in one joined connection; GraphQL adds the version of the firmware and the host name, and
carries the look where port 4028 is cut. The queries are ours: `gql_system` asks in one go for what matters, and only
for fields that every version has. `gql_boards`, `gql_pools` and `gql_tuning` ask for parts of it and a little more, for
whoever wants everything, and for recordings that have only those.

Money needs a window of minutes: a recording that tells the 5 s rate alone gives none. All watts are what the tuner
believes, and its limit is a target, not a bound: a machine was seen 15 % above it. Boards are named as the machine
counts them (6, 7, 8 on an S9), and the names of temperatures changed twice: "Board", "Max Board", "MAX_BOARD".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import orjson

from collectors.miners import cgminer, evidence, hardware, pools
from collectors.miners.cgminer import flag, integer, section, text
from collectors.miners.hardware import Hardware
from collectors.miners.make import HTTP_PORT, Ask, Make, Said, Via, When
from collectors.miners.nested import MAX_ROWS, Fields, at, fields_at, rows_at
from fleet.ports import PollError
from fleet.readings import Board, FaultKind, MachineError, MinerReading, Sensor
from fleet.site import normalise_mac
from fleet.units import MEGA

SHORT_WINDOW_ONLY = "hashrate_5s_only"

MAX_ID_CHARS = 16
MAX_ERRORS = 32

_GQL_WINDOWS = (("mhs5M", 300.0), ("mhs15M", 900.0), ("mhs1M", 60.0), ("mhsAv", 0.0))

_SENSORS = {
    "BOARD": Sensor.BOARD, "MAX_BOARD": Sensor.BOARD,
    "CHIP": Sensor.CHIP, "MAX_CHIP": Sensor.CHIP,
    "INLET": Sensor.INLET, "OUTLET": Sensor.OUTLET,
}  # fmt: skip


def read(said: Said) -> MinerReading:
    """One look. Errors: PollError of the question that failed where neither half said anything about mining."""
    summary = cgminer.row(said.get("summary"), "SUMMARY")
    tuner = cgminer.row(said.get("tunerstatus"), "TUNERSTATUS")
    devs = _rows(said, "devs", "DEVS")
    info = fields_at(said.get("gql_system"), "bosminer", "info")
    solvers = rows_at(info, "workSolver", "childSolvers") or rows_at(
        said.get("gql_boards"), "bosminer", "info", "workSolver", "childSolvers"
    )
    if not (summary or tuner or devs or info or solvers):
        raise _why(said, "summary", "gql_system")
    solver = fields_at(info, "workSolver")
    power = fields_at(info, "summary", "power")
    bos = fields_at(said.get("gql_system"), "bos")
    kept: Bos = said.get("gql_bos") or Bos()
    warnings: list[str] = []

    uptime_s = evidence.first(evidence.not_negative, summary.get("Elapsed"), at(bos, "uptime", "durationS"))
    now_hs = evidence.scaled(summary.get("MHS 5s"), MEGA)
    money = evidence.money(evidence.rates(summary, MEGA, evidence.MHS_WINDOWS), uptime_s)
    if now_hs is None:
        now_hs = evidence.scaled(at(solver, "realHashrate", "mhs5S"), MEGA)
    if money is None:
        money = evidence.money(evidence.rates(at(solver, "realHashrate"), MEGA, _GQL_WINDOWS), uptime_s)
    money = evidence.trusted(money, now_hs, warnings)
    if money is None and now_hs:
        warnings.append(SHORT_WINDOW_ONLY)
    if uptime_s is None:
        warnings.append(evidence.UPTIME_UNKNOWN)

    machine = _hardware(said)
    watts, power_key = _watts(tuner, power)
    active = _pools(said)
    if active is None:
        warnings.append(pools.POOLS_MISSING)
    elif active.others:
        warnings.append(pools.SEVERAL_HOSTS)
    accepted, rejected = _shares(said)
    mode, target_w = said.get("gql_tuning") or (None, None)
    errors = (*_chain_errors(tuner), *(said.get("gql_events") or ()))
    is_stopped = not summary and "workSolver" in info and info["workSolver"] is None
    return MinerReading(
        driver="braiins",
        make=machine.make,
        model=machine.model,
        firmware=text(at(bos, "info", "version", "full")) or kept.firmware or said.get("version"),
        mac=said.get("web_net_conf"),
        hostname=text(bos.get("hostname")) or kept.hostname,
        algorithm=machine.algorithm,
        state=evidence.state(
            0.0 if is_stopped else now_hs,
            money.hs if money else None,
            uptime_s,
            is_asleep=_is_paused(tuner),
            has_pool=None if active is None else active.has_work,
            has_error=bool(errors),
        ),
        hashrate_hs=money.hs if money else None,
        hashrate_window_s=money.window_s if money else None,
        hashrate_key=money.key if money else None,
        hashrate_now_hs=now_hs,
        hashrate_expected_hs=evidence.whole((row.get("Nominal MHS") for row in devs), MEGA)
        or _positive_mhs(solver.get("nominalMhs")),
        reported_power_w=watts,
        power_side=None if watts is None else "model",
        power_key=power_key,
        power_limit_w=evidence.first(evidence.positive, tuner.get("PowerLimit"), power.get("limitW"), target_w),
        mode=mode,
        temperatures=(_rpc_heat(said) or _gql_heat(solvers)).temperatures(),
        fans_rpm=_fans_rpm(_rows(said, "fans", "FANS"), "RPM") or _fans_rpm(rows_at(info, "fans"), "rpm"),
        uptime_s=uptime_s,
        shares_accepted=evidence.first(evidence.not_negative, summary.get("Accepted"), accepted),
        shares_rejected=evidence.first(evidence.not_negative, summary.get("Rejected"), rejected),
        shares_stale=evidence.not_negative(summary.get("Stale")),
        difficulty_accepted=evidence.not_negative(summary.get("Difficulty Accepted")),
        difficulty_rejected=evidence.not_negative(summary.get("Difficulty Rejected")),
        pool_host=active.host if active else None,
        pool_alive=active.is_alive if active else None,
        errors=errors,
        boards=tuple(_rpc_boards(said, devs) or _gql_boards(said, solvers, uptime_s)) if said.is_deep else (),
        warnings=tuple(warnings),
    )


def _why(said: Said, *names: str) -> PollError:
    """The fault of the first of these questions that has one; it says more than that nothing was said."""
    return next(
        (said.faults[name] for name in names if name in said.faults),
        PollError(FaultKind.MALFORMED, "no answer says anything about mining"),
    )


def _hardware(said: Said) -> Hardware:
    details: Details | None = said.get("devdetails")
    names = (details.model if details else None, said.get("gql_model"))
    return next((named for name in names if name and (named := hardware.named(name)).model), hardware.UNNAMED)


def _watts(tuner: Fields, power: Fields) -> tuple[float | None, str | None]:
    for fields, key in ((tuner, "ApproximateMinerPowerConsumption"), (power, "approxConsumptionW")):
        watts = evidence.positive(fields.get(key))
        if watts is not None:
            return watts, key
    return None, None


_GIVEN_UP = ("fail", "error", "invalid", "refused")


def _is_paused(tuner: Fields) -> bool | None:
    """Whether somebody paused the mining, in which the tuner rests on every board; None = it says nothing of boards."""
    words = [(text(row.get("Status")) or "").lower() for row in rows_at(tuner, "TunerChainStatus")]
    return all("paused" in word for word in words) if words else None


def _chain_errors(tuner: Fields) -> Iterator[MachineError]:
    """Boards that the tuner has given up; every other word of its is a stage of its work."""
    for row in rows_at(tuner, "TunerChainStatus")[:MAX_ERRORS]:
        word = text(row.get("Status"))
        if word is not None and any(sign in word.lower() for sign in _GIVEN_UP):
            board = text(row.get("HashchainIndex"), MAX_ID_CHARS) or "?"
            yield MachineError(f"board_{board}", f"board {board}: {word}")


# --- its boards, heat and shares


def _rpc_heat(said: Said) -> evidence.Heat:
    rows = _rows(said, "temps", "TEMPS")
    heat = evidence.Heat()
    for row, board in zip(rows, evidence.columns(integer(row.get("ID")) for row in rows), strict=True):
        heat.feel(Sensor.BOARD, board, row.get("Board"))
        heat.feel(Sensor.CHIP, board, row.get("Chip"))
    return heat


def _gql_heat(solvers: tuple[Fields, ...]) -> evidence.Heat:
    heat = evidence.Heat()
    for solver, board in zip(solvers, evidence.columns(integer(solver.get("name")) for solver in solvers), strict=True):
        for row in rows_at(solver, "temperatures"):
            sensor = _SENSORS.get((text(row.get("name")) or "").upper().replace(" ", "_"))
            if sensor is not None:
                heat.feel(sensor, board, row.get("degreesC"))
    return heat


def _rpc_boards(said: Said, devs: tuple[Fields, ...]) -> list[Board]:
    details: Details | None = said.get("devdetails")
    chips = dict(details.chips) if details else {}
    uptime_s = evidence.not_negative(cgminer.row(said.get("summary"), "SUMMARY").get("Elapsed"))
    boards = []
    for row in devs:
        rate = evidence.money(evidence.rates(row, MEGA, evidence.MHS_WINDOWS), uptime_s)
        boards.append(
            Board(
                id=text(row.get("ID")) or "",
                hashrate_hs=rate.hs if rate else None,
                hashrate_window_s=rate.window_s if rate else None,
                hashrate_expected_hs=_positive_mhs(row.get("Nominal MHS")),
                chips=chips.get(_number(row, "ID")),
                hardware_errors=evidence.not_negative(row.get("Hardware Errors")),
            )
        )
    return boards


def _gql_boards(said: Said, solvers: tuple[Fields, ...], uptime_s: float | None) -> list[Board]:
    """`gql_boards` tells the serial numbers, too, where the firmware has them."""
    solvers = rows_at(said.get("gql_boards"), "bosminer", "info", "workSolver", "childSolvers") or solvers
    boards = []
    for solver in solvers:
        rate = evidence.money(evidence.rates(at(solver, "realHashrate"), MEGA, _GQL_WINDOWS), uptime_s)
        hs, window_s = (rate.hs, rate.window_s) if rate else _five_seconds(solver)
        details = fields_at(solver, "hwDetails")
        boards.append(
            Board(
                id=text(solver.get("name")) or "",
                hashrate_hs=hs,
                hashrate_window_s=window_s,
                hashrate_expected_hs=_positive_mhs(solver.get("nominalMhs")),
                chips=integer(details.get("chips")),
                frequency_hz=_positive_mhs(details.get("frequencyMhz")),
                voltage_v=evidence.positive(details.get("voltageV")),
                serial=text(details.get("hbSerialNumber")),
            )
        )
    return boards


def _five_seconds(solver: Fields) -> tuple[float | None, float | None]:
    hs = evidence.scaled(at(solver, "realHashrate", "mhs5S"), MEGA)
    return hs, None if hs is None else 5.0


def _pools(said: Said) -> pools.Pools | None:
    known: pools.Pools | None = said.get("pools")
    rows = _gql_pools(said)
    if known is not None or rows is None:
        return known
    return pools.chosen([pools.Seen(row.get("url"), bool(flag(row.get("active"))), _is_alive(row)) for row in rows])


def _is_alive(row: Fields) -> bool | None:
    word = text(row.get("status"))
    return None if word is None else word.upper() == "ALIVE"


def _gql_pools(said: Said) -> tuple[Fields, ...] | None:
    """Pools of all groups, in order; None where GraphQL did not say."""
    for name in ("gql_system", "gql_pools"):
        groups = at(said.get(name), "bosminer", "info", "poolGroups")
        if isinstance(groups, list):
            return tuple(row for group in groups for row in rows_at(group, "pools"))
    return None


def _shares(said: Said) -> tuple[float | None, float | None]:
    """(accepted, rejected) of all pools together, the inactive ones included: they are counters of the machine."""
    rows = [fields_at(row, "shares") for row in _gql_pools(said) or ()]
    return (
        evidence.whole(row.get("acceptedSolutions") for row in rows),
        evidence.whole(row.get("rejectedSolutions") for row in rows),
    )


# --- fields ------------------------------------------------------------------------------------------------------


def _positive_mhs(value: object) -> float | None:
    """Millions per second above 0 in base units: nominal rates, and frequencies."""
    return evidence.scaled(value, MEGA) or None


def _number(row: Fields, key: str) -> int:
    number = integer(row.get(key))
    return -1 if number is None else number


def _fans_rpm(rows: tuple[Fields, ...], key: str) -> tuple[float | None, ...]:
    return tuple(evidence.not_negative(row.get(key)) for row in rows)


def _rows(said: Said, name: str, key: str) -> tuple[Fields, ...]:
    return section(said.get(name), key)[:MAX_ROWS]


# --- digests: what is kept between looks -------------------------------------------------------------------------


class Details(NamedTuple):
    """Of `devdetails`: the model, and the chips of each board by its number."""

    model: str | None
    chips: tuple[tuple[int, int], ...]


class Bos(NamedTuple):
    """What the system below says of itself."""

    firmware: str | None = None
    hostname: str | None = None


def _details(reply: Fields) -> Details:
    rows = section(reply, "DEVDETAILS")
    model = next((name for row in rows if (name := text(row.get("Model"))) is not None), None)
    counted = ((_number(row, "ID"), integer(row.get("Chips"))) for row in rows)
    return Details(model, tuple((board, chips) for board, chips in counted if chips is not None))


def _build(reply: Fields) -> str | None:
    """Build of the mining program in a `version` reply, for machines that tell no version of their firmware."""
    fields = cgminer.row(reply, "VERSION")
    return text(fields.get("BOSer")) or text(fields.get("BOSminer")) or text(fields.get("BOSminer+"))


def _data(answer: Any) -> Fields:
    """What a GraphQL query got. Errors: PollError UNSUPPORTED where it was refused, as it is for an unknown field."""
    data = at(answer, "data")
    if not isinstance(data, dict):
        reason = next((text(row.get("message")) for row in rows_at(answer, "errors")), None)
        raise PollError(FaultKind.UNSUPPORTED, f"graphql: {reason or 'no data'}")
    return data


def _tuning(answer: Any) -> tuple[str | None, float | None]:
    """(mode, power target in W)."""
    tuning = fields_at(_data(answer), "bosminer", "config", "autotuning")
    return text(tuning.get("mode")), evidence.positive(tuning.get("powerTarget"))


def _events(answer: Any) -> tuple[MachineError, ...]:
    """What the machine asks a person to look at; news of lower kinds are none of that."""
    return tuple(
        MachineError("error", message)
        for row in rows_at(_data(answer), "events", "appeals")[:MAX_ERRORS]
        if (text(row.get("kind")) or "").lower() == "error" and (message := text(row.get("message"))) is not None
    )


def _bos(answer: Any) -> Bos:
    bos = fields_at(_data(answer), "bos")
    return Bos(text(at(bos, "info", "version", "full")), text(bos.get("hostname")))


def _model(answer: Any) -> str | None:
    return text(at(_data(answer), "bosminer", "info", "modelName"))


def _mac(answer: Any) -> str | None:
    """Of the first interface that has one; it is a page of the router software below, and it wants a login."""
    rows = rows_at({"lan": answer}, "lan")
    return next((mac for row in rows if (mac := normalise_mac(text(row.get("macaddr")))) is not None), None)


# --- what is asked -----------------------------------------------------------------------------------------------

_HASHRATE = "realHashrate { mhs5S mhs1M mhs5M mhs15M mhsAv }"
_BOARD = "name nominalMhs temperatures { name degreesC } hwDetails { chips frequencyMhz voltageV %s }"
_POOL_GROUPS = "poolGroups { pools { url status active shares { acceptedSolutions rejectedSolutions } } }"
_BOS = "bos { hostname info { version { full } } uptime { durationS } }"


def _graphql(name: str, query: str, when: When, digest: Callable[[Any], Any], *, unless: tuple[str, ...] = ()) -> Ask:
    return Ask(
        name,
        "/graphql",
        via=Via.HTTP,
        port=HTTP_PORT,
        body=orjson.dumps({"query": "{ " + query + " }"}),
        when=when,
        is_needed=False,
        unless=unless,
        digest=digest,
    )


MAKE = Make(
    key="braiins",
    name="Braiins OS",
    asks=(
        Ask("summary", "summary", joins=True, is_needed=False),
        Ask("tunerstatus", "tunerstatus", joins=True, is_needed=False),
        Ask("devs", "devs", joins=True, is_needed=False),
        Ask("temps", "temps", joins=True, is_needed=False),
        Ask("fans", "fans", joins=True, is_needed=False),
        Ask("pools", "pools", when=When.SLOW, joins=True, is_needed=False, digest=pools.digest),
        Ask("version", "version", when=When.ONCE, joins=True, is_needed=False, digest=_build),
        Ask("devdetails", "devdetails", when=When.ONCE, joins=True, is_needed=False, digest=_details),
        _graphql(
            "gql_system",
            f"{_BOS} bosminer {{ info {{ fans {{ name rpm }} summary {{ power {{ limitW approxConsumptionW }} }} "
            f"{_POOL_GROUPS} workSolver {{ nominalMhs {_HASHRATE} "
            f"childSolvers {{ {_HASHRATE} {_BOARD % ''} }} }} }} }}",
            When.EVERY,
            _data,
            unless=("summary",),
        ),
        _graphql("gql_bos", _BOS, When.ONCE, _bos, unless=("gql_system",)),
        _graphql("gql_model", "bosminer { info { modelName } }", When.ONCE, _model),
        _graphql(
            "gql_boards",
            f"bosminer {{ info {{ workSolver {{ childSolvers {{ {_HASHRATE} {_BOARD % 'hbSerialNumber'} }} }} }} }}",
            When.DEEP,
            _data,
        ),
        _graphql("gql_pools", f"bosminer {{ info {{ {_POOL_GROUPS} }} }}", When.DEEP, _data),
        _graphql(
            "gql_tuning",
            "bosminer { config { ... on BosminerConfig { autotuning { mode powerTarget } } } }",
            When.SLOW,
            _tuning,
        ),
        _graphql("gql_events", "events { appeals { kind timestamp message } }", When.SLOW, _events),
        Ask(
            "web_net_conf",
            "/cgi-bin/luci/admin/network/iface_status/lan",
            via=Via.HTTP,
            port=HTTP_PORT,
            when=When.ONCE,
            is_needed=False,
            needs_login=True,
            digest=_mac,
        ),
    ),
    read=read,
)
