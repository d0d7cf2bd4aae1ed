"""What a reading lacks when one reply says nothing, by machine and reply; a fault where there is no reading without it.

The general rule of the facts: keep what was heard, label the rest missing, and never put 0 for what is not known.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from hostile.cases import Case, Edit


@dataclass(frozen=True)
class Loss:
    """`fields` and `heat` that differ from the healthy reading, `warnings` that come and those that go."""

    fields: dict[str, Any] = field(default_factory=dict)
    heat: dict[str, float | None] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    without: tuple[str, ...] = ()


def nothing(*names: str) -> dict[str, Any]:
    return dict.fromkeys(names)


def no_heat(*places: str) -> dict[str, float | None]:
    return dict.fromkeys(places)


_NO_POOL = Loss(nothing("pool_host", "pool_alive"), warnings=("pools_missing",))
_SHARES = ("shares_accepted", "shares_rejected", "shares_stale")
_DIFFICULTY = ("difficulty_accepted", "difficulty_rejected")
_RATE = ("hashrate_hs", "hashrate_window_s", "hashrate_key", "hashrate_now_hs")
_POWER = ("reported_power_w", "power_side", "power_key")
_THREE_BOARDS = tuple(f"{sensor} {i}" for sensor in ("board", "chip") for i in (1, 2, 3))

MAIN: dict[str, str] = {
    "antminer": "summary",
    "antminer_web": "summary",
    "hiveon": "summary",
    "whatsminer": "summary",
    "whatsminer_v3": "get_miner_status_summary",
    "avalon": "summary",
    "avalon_q": "summary",
    "luxos": "summary",
    "braiins_rest": "miner_stats",
    "vnish": "summary",
    "mara": "brief",
    "epic": "summary",
    "auradine": "summary",
    "sealminer": "stats",
    "axeos": "system_info",
    "proto": "mining",
    "elphapex": "summary",
}
"""The reply without which there is no reading. Braiins OS has none: the API and GraphQL stand in for each other."""

RPC = ("antminer", "hiveon", "whatsminer", "avalon", "luxos", "auradine", "sealminer")
"""Machines whose main reply comes over the cgminer API."""

LOST: dict[tuple[str, str], Loss] = {
    ("antminer", "pools"): _NO_POOL,
    ("antminer", "version"): Loss(),  # `stats` names model and build, too
    ("antminer_web", "get_system_info"): Loss(nothing("mac", "serial", "hostname")),
    ("antminer_web", "get_miner_conf"): Loss(nothing("mode")),
    ("antminer_web", "web_errors"): Loss(),
    ("hiveon", "pools"): _NO_POOL,
    ("hiveon", "version"): Loss(),
    ("whatsminer", "pools"): _NO_POOL,
    ("whatsminer", "devs"): Loss(
        # the summary tells the hottest of all boards: "Temperature" 71.5, "Chip Temp Max" 92.5
        heat={"board 0": 71.5, "chip 0": 92.5} | no_heat("board 1", "chip 1", "board 2", "chip 2"),
        warnings=("boards_missing",),
    ),
    ("whatsminer", "devdetails"): Loss(nothing("model", "algorithm")),
    ("whatsminer", "get_miner_info"): Loss(nothing("serial", "hostname")),
    ("whatsminer", "get_version"): Loss(),  # the summary tells the firmware
    ("whatsminer", "status"): Loss(),
    ("whatsminer", "get_error_code"): Loss(),
    ("whatsminer_v3", "get_device_info"): Loss(
        nothing("model", "algorithm", "firmware", "mac", "serial", "hostname", "mode"),
        warnings=("device_info_missing",),
    ),
    ("whatsminer_v3", "get_miner_status_pools"): _NO_POOL,
    ("avalon", "estats"): Loss(
        # "MHS 5s" of the summary stands in for the rate of now
        {"hashrate_now_hs": 214_001_204.3e6, "fans_rpm": ()}
        | nothing(*_POWER, "hashrate_expected_hs", "power_limit_w", "dc_power_w", "mode"),
        no_heat("inlet 0", "board 0", "chip 0", "chip 1", "chip 2"),
        ("details_missing",),
    ),
    ("avalon", "version"): Loss({"firmware": "15-24102401_25462b2", "mac": None}),  # "Ver" of the details
    ("avalon", "pools"): _NO_POOL,
    ("luxos", "power"): Loss(nothing(*_POWER)),
    ("luxos", "config"): Loss(nothing("mac", "serial", "hostname", "mode")),
    ("luxos", "devs"): Loss(nothing("hashrate_expected_hs"), no_heat("board 0", "board 1", "board 2")),
    ("luxos", "fans"): Loss({"fans_rpm": ()}),
    ("luxos", "pools"): _NO_POOL,
    ("luxos", "version"): Loss(nothing("firmware")),
    ("braiins", "summary"): Loss(
        nothing(*_RATE, *_SHARES, *_DIFFICULTY, "uptime_s") | {"state": "unknown"}, warnings=("uptime_unknown",)
    ),
    ("braiins", "tunerstatus"): Loss(nothing(*_POWER, "power_limit_w")),
    ("braiins", "devs"): Loss(nothing("hashrate_expected_hs")),
    ("braiins", "temps"): Loss(heat=no_heat(*(f"{sensor} {i}" for sensor in ("board", "chip") for i in (0, 1, 2)))),
    ("braiins", "fans"): Loss({"fans_rpm": ()}),
    ("braiins", "pools"): _NO_POOL,
    ("braiins", "version"): Loss(nothing("firmware")),
    ("braiins", "devdetails"): Loss(nothing("model", "algorithm")),
    ("braiins_gql", "gql_system"): Loss(
        nothing("hostname", "hashrate_now_hs", "hashrate_expected_hs", *_POWER, "uptime_s")
        | {"firmware": "boser-buildroot 0.1.0-45f356ea", "fans_rpm": (), "state": "unknown"},
        warnings=("uptime_unknown",),
        without=("hashrate_5s_only",),
    ),
    ("braiins_gql", "gql_boards"): Loss(heat=no_heat(*_THREE_BOARDS, "inlet 0", "outlet 0")),
    ("braiins_gql", "gql_pools"): Loss(
        nothing("shares_accepted", "shares_rejected", "pool_host", "pool_alive"), warnings=("pools_missing",)
    ),
    ("braiins_gql", "gql_tuning"): Loss(nothing("mode")),
    ("braiins_rest", "miner_hw_hashboards"): Loss(heat=no_heat(*_THREE_BOARDS, "inlet 0", "outlet 0")),
    ("braiins_rest", "cooling_state"): Loss({"fans_rpm": ()}),
    ("braiins_rest", "pools"): _NO_POOL,
    ("braiins_rest", "performance_tuner_state"): Loss(nothing("mode", "power_limit_w")),
    ("vnish", "info"): Loss(nothing("serial")),  # the summary has the rest
    ("vnish", "perf_summary"): Loss(nothing("mode", "power_limit_w")),
    ("mara", "hashboards"): Loss(heat=no_heat(*(f"{sensor} {i}" for sensor in ("board", "chip") for i in (0, 1, 2)))),
    ("mara", "pools"): Loss(nothing(*_SHARES, "pool_host", "pool_alive"), warnings=("pools_missing",)),
    ("mara", "fans"): Loss({"fans_rpm": ()}),
    ("mara", "overview"): Loss(nothing("model", "algorithm", "firmware", "mac")),
    ("mara", "miner_config"): Loss(nothing("power_limit_w")),  # the brief has the mode, too
    ("mara", "network_config"): Loss(nothing("hostname")),
    ("epic", "capabilities"): Loss({"make": "ePIC"} | nothing("model", "serial", "algorithm")),
    ("epic", "network"): Loss(nothing("mac")),
    ("epic", "temps"): Loss(heat={"board 0": None}),
    ("auradine", "devs"): Loss(heat=no_heat("board 1", "board 2", "board 3"), warnings=("boards_missing",)),
    ("auradine", "pools"): _NO_POOL,
    ("auradine", "version"): Loss(),
    ("auradine", "ipreport"): Loss(
        {"firmware": "0.5"} | nothing("model", "algorithm", "mac", "serial", "hostname"), warnings=("pages_missing",)
    ),
    ("auradine", "psu"): Loss(nothing(*_POWER), without=("supply_contradicts_hashrate",)),
    ("auradine", "mode"): Loss(nothing("mode", "power_limit_w", "hashrate_expected_hs")),
    ("sealminer", "summary"): Loss(nothing(*_SHARES, *_DIFFICULTY), warnings=("work_counters_missing",)),
    ("sealminer", "pools"): _NO_POOL,
    ("sealminer", "version"): Loss(),
    ("proto", "telemetry_full"): Loss(
        {"reported_power_w": 3447.008523267969, "power_side": "model", "power_key": "power_usage_watts"}
        | nothing("dc_power_w"),
        no_heat("board 0", "board 1", "board 2", "board 3", "inlet 0", "outlet 0", "psu 0"),
        ("supplies_missing",),
    ),
    ("proto", "pools"): Loss(
        nothing("shares_accepted", "shares_rejected", "pool_host", "pool_alive"), warnings=("pools_missing",)
    ),
    ("proto", "system"): Loss(nothing("model", "algorithm", "firmware", "serial", "hostname")),
    ("elphapex", "get_power"): Loss(nothing(*_POWER), {"psu 0": None}),
    ("elphapex", "get_system_info"): Loss(
        nothing("hostname", "algorithm")
    ),  # "INFO" and get_network_info have the rest
    ("elphapex", "get_miner_conf"): Loss(
        nothing("mode", "pool_host"), warnings=("pools_missing",), without=("pool_as_configured",)
    ),
}


def loses(id: str, quirk: int, machine: str, *edits: Edit, also: tuple[str, ...] = ()) -> Case:
    """A case in which the reply of its first edit says nothing, though the others are heard; `also` = more warnings."""
    loss = LOST[machine, edits[0].reply]
    return Case(id, quirk, machine, edits, None, loss.fields, loss.heat, (*loss.warnings, *also), loss.without)
