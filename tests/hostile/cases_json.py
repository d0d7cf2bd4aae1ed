"""JSON that is nearly JSON: what can be mended is mended once and said to be; what is no number is missing."""

from __future__ import annotations

import json

from fleet.readings import FaultKind
from hostile.cases import Case, Edit, bare, drop, fails, put, raw, reads, swap
from hostile.losses import MAIN, loses

MALFORMED, UNSUPPORTED = FaultKind.MALFORMED, FaultKind.UNSUPPORTED

_MENDED = ("repaired",)


def _mended(quirk: int, rows: tuple[tuple[str, str, str, bytes, bytes], ...]) -> list[Case]:
    """Rows of (machine, id, reply, bytes that stood there, bytes in their place): mended, nothing lost."""
    return [reads(id, quirk, machine, swap(name, old, new), warnings=_MENDED) for machine, id, name, old, new in rows]


# --- 2: a comma is missing between two objects ---

NO_COMMA = _mended(
    2,
    (
        ("antminer", "stats-rows", "stats", b'},{"Calls"', b'}{"Calls"'),
        ("antminer", "pools-rows", "pools", b'},{"Accepted":0', b'}{"Accepted":0'),
        ("hiveon", "stats-rows", "stats", b'},{"Calls"', b'} {"Calls"'),
        ("hiveon", "sections", "summary", b'}],"SUMMARY"', b'}]"SUMMARY"'),
        ("whatsminer", "devs-rows", "devs", b'},{"ASC":1', b'}{"ASC":1'),
        ("whatsminer", "pools-rows", "pools", b'},{"Accepted":0', b'}\n{"Accepted":0'),
        ("whatsminer_v3", "pools-rows", "get_miner_status_pools", b'},{"account"', b'}{"account"'),
        ("avalon", "sections", "estats", b'}],"STATS"', b'}]"STATS"'),
        ("avalon", "before-id", "summary", b'}],"id"', b'}]"id"'),
        ("luxos", "devs-rows", "devs", b'},{"ASC":0', b'}{"ASC":0'),
        ("luxos", "fans-rows", "fans", b'},{"FAN":"FAN2"', b'}{"FAN":"FAN2"'),
        ("braiins", "temps-rows", "temps", b'},{"ID":7', b'}{"ID":7'),
        ("braiins_gql", "solvers", "gql_boards", b'},{"hwDetails"', b'}{"hwDetails"'),
        ("braiins_rest", "boards", "miner_hw_hashboards", b'},{"board_name"', b'}{"board_name"'),
        ("vnish", "chains", "summary", b'},{"id":2,"status":{"state"', b'}{"id":2,"status":{"state"'),
        ("mara", "boards", "hashboards", b'},{"index":1', b'}{"index":1'),
        ("epic", "boards", "summary", b'},{"Core Clock"', b'}{"Core Clock"'),
        ("auradine", "devs-rows", "devs", b'},{"DEV":2', b'}{"DEV":2'),
        ("sealminer", "sections", "stats", b'}],"STATUS"', b'}]"STATUS"'),
        (
            "proto",
            "boards",
            "telemetry_full",
            b'},{"current":{"unit":"A","value":58.',
            b'}{"current":{"unit":"A","value":58.',
        ),
        ("elphapex", "chains", "stats", b'},{"asic"', b'}{"asic"'),
    ),
)


# --- 3: commas that nothing follows or precedes ---

SPARE_COMMA = _mended(
    3,
    (
        ("antminer", "first-in-list", "stats", b'"STATS":[{', b'"STATS":[,{'),
        ("antminer", "last-in-list", "pools", b'}],"STATUS"', b'},],"STATUS"'),
        ("hiveon", "last-in-object", "summary", b'}],"SUMMARY"', b',}],"SUMMARY"'),
        ("whatsminer", "last-in-object", "summary", b'}],"id"', b',}],"id"'),
        ("whatsminer", "first-in-list", "devs", b'"DEVS":[{', b'"DEVS":[,{'),
        ("whatsminer", "two", "pools", b'},{"Accepted":0', b'},,{"Accepted":0'),
        ("avalon", "first-in-object", "summary", b'{"Elapsed"', b'{,"Elapsed"'),
        ("avalon", "at-the-end", "estats", b'"id":1}', b'"id":1,}'),
        ("luxos", "last-in-list", "devs", b'}],"STATUS"', b'},],"STATUS"'),
        ("luxos", "first-in-list", "config", b'"CONFIG":[{', b'"CONFIG":[,{'),
        ("braiins", "last-in-object", "tunerstatus", b'}],"id"', b',}],"id"'),
        ("auradine", "first-in-list", "pools", b'"POOLS":[{', b'"POOLS":[,{'),
        ("sealminer", "at-the-end", "stats", b'"id":1}', b'"id":1,}'),
        ("sealminer", "last-in-list", "summary", b'}],"SUMMARY"', b'},],"SUMMARY"'),
        ("whatsminer_v3", "last-in-list", "get_miner_status_summary", b"41.5]", b"41.5,]"),
        ("braiins_rest", "last-in-object", "miner_stats", b'"watt":3137}', b'"watt":3137,}'),
        ("vnish", "last-in-list", "summary", b'}],"cooling"', b'},],"cooling"'),
        ("mara", "at-the-end", "brief", b'"temperature":62}', b'"temperature":62,}'),
        ("epic", "first-in-list", "summary", b'"HBs":[{', b'"HBs":[,{'),
        ("axeos", "first", "system_info", b'{"ASICModel"', b'{,"ASICModel"'),
        ("proto", "last", "mining", b'"status":"Mining"}', b'"status":"Mining",}'),
        ("elphapex", "in-list-of-numbers", "stats", b"47,46,67,66]", b"47,46,67,66,]"),
    ),
)


# --- 4: control characters: removed ---


def pretty(name: str) -> Edit:
    return Edit(name, lambda data: json.dumps(json.loads(data), indent="\t").replace("\n", "\r\n").encode())


CONTROL = [
    *_mended(
        4,
        (
            ("antminer", "newline-in-build", "stats", b'"Tue Dec  6', b'"Tue\n Dec  6'),
            ("hiveon", "tab-in-type", "version", b"Pro Hiveon", b"Pro\t Hiveon"),
            ("whatsminer", "tab-in-mac", "summary", b"C4:08:28", b"C4:\t08:28"),
            ("whatsminer_v3", "tab-in-hostname", "get_device_info", b'"WhatsMiner"', b'"Whats\tMiner"'),
            ("avalon", "newline-in-details", "estats", b"Elapsed[975]", b"\nElapsed[975]"),
            ("luxos", "cr-in-hostname", "config", b"UrlacherS19k", b"Urlacher\rS19k"),
            ("braiins", "newline-in-model", "devdetails", b"Antminer S21", b"Antminer S21\n"),
            ("braiins_rest", "escape-in-version", "miner_details", b"2025-08-06", b"2025\x1b-08-06"),
            ("vnish", "newline-in-name", "info", b"Antminer S19 Pro", b"Antminer\n S19 Pro"),
            ("mara", "tab-in-model", "overview", b"Antminer S19 XP", b"Antminer S19\t XP"),
            ("epic", "newline-in-software", "summary", b"PowerPlay-BMS", b"Power\nPlay-BMS"),
            ("auradine", "soh-in-hostname", "ipreport", b"teraflux-01", b"teraflux\x01-01"),
            ("sealminer", "crlf-in-firmware", "stats", b"2025091001", b"2025\r\n091001"),
            ("axeos", "bell-in-version", "system_info", b"v2.4.5", b"v2.4\x07.5"),
            ("proto", "newline-in-serial", "system", b"PROTO-SIM-", b"PROTO-\nSIM-"),
            ("elphapex", "tab-in-type", "get_system_info", b"DG-Home1_V1.0.5", b"DG-Home1\t_V1.0.5"),
        ),
    ),
    # WhatsMiner v1 was seen to break the line inside its version
    reads(
        "newline-in-version",
        4,
        "whatsminer",
        drop("summary SUMMARY.0.Firmware Version"),
        swap("get_version", b'"20210322', b'"2021\n0322'),
        warnings=_MENDED,
    ),
    # between the tokens they are JSON: nothing to mend
    reads("indented", 4, "antminer", pretty("summary")),
    reads("indented", 4, "whatsminer", pretty("devs")),
    reads("indented", 4, "luxos", pretty("config")),
    reads("indented", 4, "vnish", pretty("summary")),
    # DEL is JSON, too, but no text for people
    reads("del-in-hostname", 4, "axeos", swap("system_info", b'"bitaxe"', b'"bit\x7faxe"')),
]


# --- 5: a comma is missing between two members ---

NO_COMMA_IN_OBJECT = _mended(
    5,
    (
        ("antminer", "empty-text", "stats", b'"chain_rate4":"",', b'"chain_rate4":""'),
        ("antminer", "after-number", "summary", b'"Elapsed":50474,', b'"Elapsed":50474 '),
        ("hiveon", "empty-text", "stats", b'"chain_acs4":"",', b'"chain_acs4":""'),
        ("whatsminer", "text", "devs", b'"Name":"SM",', b'"Name":"SM"'),
        ("whatsminer", "true", "summary", b'"Hash Stable":true,', b'"Hash Stable":true'),
        ("whatsminer_v3", "empty-text", "get_miner_status_summary", b'"Debug":"",', b'"Debug":""'),
        ("avalon", "after-number", "summary", b'"Accepted":148,', b'"Accepted":148'),
        ("luxos", "text", "devs", b'"Name":"",', b'"Name":""'),
        ("braiins", "after-number", "tunerstatus", b'"PowerLimit":3878,', b'"PowerLimit":3878'),
        ("auradine", "text", "devs", b'"Name":"ASICBoard",', b'"Name":"ASICBoard"'),
        ("sealminer", "empty-text", "stats", b'"Error Chip":"",', b'"Error Chip":""'),
        ("epic", "null", "summary", b'"Last License Error":null,', b'"Last License Error":null'),
        ("axeos", "after-number", "system_info", b'"asicCount":1,', b'"asicCount":1'),
        ("elphapex", "empty-text", "stats", b'"CompileTime":"",', b'"CompileTime":""'),
        ("vnish", "after-object", "summary", b'"throttled":100},', b'"throttled":100}'),
        ("mara", "text", "brief", b'"status":"Mining",', b'"status":"Mining"'),
    ),
)


# --- 7: nan and inf, bare and in quotes: that field is missing, never 0 ---

_NO_NOW = {"hashrate_now_hs": None}
_NO_WATTS = dict.fromkeys(("reported_power_w", "power_side", "power_key"))
_NO_MONEY = dict.fromkeys(("hashrate_hs", "hashrate_window_s", "hashrate_key"))


def _money(hs: float, window_s: float | None, key: str) -> dict[str, object]:
    return {"hashrate_hs": hs, "hashrate_window_s": window_s, "hashrate_key": key}


_NOT_A_NUMBER: tuple[tuple[str, str, str, dict[str, object]], ...] = (
    # machine, where, token, what is missing then, or what stands in for it
    ("antminer", "summary SUMMARY.0.GHS 30m", "nan", {"hashrate_key": "rate_30m"}),  # the same number in `stats`
    ("antminer", "stats STATS.1.total_rateideal", "inf", {"hashrate_expected_hs": None}),
    ("antminer", "stats STATS.1.fan1", "-nan", {"fans_rpm": (None, 5880.0, 5040.0, 5040.0)}),
    ("antminer", "summary SUMMARY.0.Accepted", "NaN", {"shares_accepted": None}),
    ("hiveon", "stats STATS.1.chain_power", "nan", _NO_WATTS),
    ("hiveon", "summary SUMMARY.0.Difficulty Accepted", "-inf", {"difficulty_accepted": None}),
    ("whatsminer", "summary SUMMARY.0.MHS 5m", "nan", _money(67_681_620.18e6, 900.0, "MHS 15m")),
    ("whatsminer", "summary SUMMARY.0.Power", "-nan", {"reported_power_w": 3427.0, "power_key": "Power_RT"}),
    ("whatsminer", "summary SUMMARY.0.Fan Speed In", "inf", {"fans_rpm": (None, 6480.0)}),
    ("whatsminer_v3", "get_miner_status_summary msg.summary.hash-15min", "nan", _money(171.2e12, 60.0, "hash-1min")),
    (
        "whatsminer_v3",
        "get_miner_status_summary msg.summary.power-5min",
        "nan",
        {"reported_power_w": 3156.0, "power_key": "power-realtime"},
    ),
    ("avalon", "summary SUMMARY.0.MHS 5m", "nan", _money(121_880_113.4e6, 900.0, "MHS 15m")),
    ("avalon", "summary SUMMARY.0.Rejected", "inf", {"shares_rejected": None}),
    ("luxos", "summary SUMMARY.0.GHS 5m", "-nan", _money(61_506.37e9, 900.0, "GHS 15m")),
    ("luxos", "power POWER.0.Watts", "nan", _NO_WATTS),
    ("luxos", "fans FANS.2.RPM", "inf", {"fans_rpm": (1920.0, 1920.0, None, 2340.0)}),
    # a sum of which one part is unknown is unknown
    ("luxos", "devs DEVS.1.Nominal MHS", "nan", {"hashrate_expected_hs": None}),
    ("braiins", "summary SUMMARY.0.MHS 5m", "nan", _money(206_300_000.5e6, 900.0, "MHS 15m")),
    ("braiins", "tunerstatus TUNERSTATUS.0.ApproximateMinerPowerConsumption", "nan", _NO_WATTS),
    ("braiins", "devs DEVS.0.Nominal MHS", "inf", {"hashrate_expected_hs": None}),
    ("braiins_gql", "gql_system data.bosminer.info.summary.power.approxConsumptionW", "nan", _NO_WATTS),
    ("braiins_rest", "miner_stats power_stats.approximated_consumption.watt", "nan", _NO_WATTS),
    (
        "braiins_rest",
        "miner_stats miner_stats.real_hashrate.last_5m.gigahash_per_second",
        "-nan",
        _money(142_751.90125095937e9, 900.0, "last_15m"),
    ),
    ("vnish", "summary miner.hr_realtime", "nan", {"state": "unknown"} | _NO_NOW | _NO_MONEY),
    ("mara", "brief hashrate_realtime", "nan", _NO_NOW | _money(137.25e12, None, "hashrate_average")),
    ("mara", "brief power_consumption_estimated", "-inf", _NO_WATTS),
    # a board whose rate is unknown: no sum of the others; the average since the start stands in
    (
        "epic",
        "summary HBs.0.Hashrate.0",
        "nan",
        _NO_NOW | _money(90_071_990e6, 23_170.0, "Session.Average MHs") | {"hashrate_expected_hs": 143e12},
    ),
    ("epic", "summary Power Supply Stats.Input Power", "nan", _NO_WATTS),
    ("auradine", "summary SUMMARY.0.MHS 5m", "nan", _money(8_245_002.419711528e6, 900.0, "MHS 15m")),
    ("auradine", "mode Mode.0.Ths", "inf", {"hashrate_expected_hs": None}),
    ("sealminer", "stats STATS.0.MHS(5m)", "nan", _money(220_165_799.256646e6, 900.0, "MHS(15m)")),
    ("sealminer", "stats STATS.0.PSU Input Power", "-nan", _NO_WATTS),
    ("axeos", "system_info hashRate", "nan", {"state": "unknown"} | _NO_NOW | _NO_MONEY),
    ("axeos", "system_info power", "inf", _NO_WATTS),
    ("proto", "mining mining-status.hashrate_ghs", "nan", _NO_NOW),
    ("proto", "mining mining-status.ideal_hashrate_ghs", "-inf", {"hashrate_expected_hs": None}),
    ("elphapex", "summary SUMMARY.0.rate_5s", "nan", _NO_NOW),
    ("elphapex", "get_power power_output", "nan", _NO_WATTS),
)


def _leaf(where: str) -> str:
    return where.partition(" ")[2].rpartition("SUMMARY.0.")[2].rpartition("STATS.")[2].replace(" ", "-").lower()


def _both(machine: str, where: str, token: str, wanted: dict[str, object]) -> list[Case]:
    return [
        reads(f"{_leaf(where)}-bare", 7, machine, bare(where, token), warnings=_MENDED, **wanted),
        reads(f"{_leaf(where)}-quoted", 7, machine, put(where, token), **wanted),
    ]


NOT_NUMBERS = [
    *(case for row in _NOT_A_NUMBER for case in _both(*row)),
    reads(
        "heat-bare", 7, "whatsminer", bare("devs DEVS.1.Chip Temp Max", "nan"), heat={"chip 1": None}, warnings=_MENDED
    ),
    reads("heat-quoted", 7, "sealminer", put("stats STATS.0.0 Temp 2", "nan"), heat={"board 0": 69.0}),
    reads("heat-bare", 7, "luxos", bare("devs DEVS.1.Temperature", "-nan"), heat={"board 0": None}, warnings=_MENDED),
    reads(
        "heat-bare",
        7,
        "braiins_rest",
        bare("miner_hw_hashboards hashboards.0.board_temp.degree_c", "nan"),
        heat={"board 1": None},
        warnings=_MENDED,
    ),
    reads(
        "supply-bare",
        7,
        "proto",
        bare("telemetry_full psus.0.power.input", "nan"),
        warnings=(*_MENDED, "supplies_missing"),
        reported_power_w=3447.008523267969,
        power_side="model",
        power_key="power_usage_watts",
    ),
    reads(
        "now-in-details",
        7,
        "avalon",
        swap("estats", b"GHSspd[199241.66]", b"GHSspd[-nan]"),
        hashrate_now_hs=214_001_204.3e6,
    ),
    reads("limit-in-details", 7, "avalon", swap("estats", b"MPO[3515]", b"MPO[inf]"), power_limit_w=None),
    # 29.5 in `power_usage` are J/TH
    reads(
        "power-bare",
        7,
        "vnish",
        bare("summary miner.power_consumption", "inf"),
        **_NO_WATTS,
        warnings=(*_MENDED, "power_is_efficiency"),
    ),
    reads(
        "uptime",
        7,
        "luxos",
        bare("summary SUMMARY.0.Elapsed", "nan"),
        uptime_s=None,
        warnings=(*_MENDED, "uptime_unknown"),
    ),
    reads("uptime", 7, "sealminer", put("stats STATS.0.Elapsed", "nan"), uptime_s=None, warnings=("uptime_unknown",)),
]


# --- 8: bytes that are no UTF-8: replaced; who it is stays as it was ---

_WORKER = b'"canary-worker"'

NO_UTF8 = [
    *(
        reads(f"worker-{i}", 8, machine, swap(name, _WORKER, b'"' + worker + b'"'), warnings=_MENDED)
        for machine, name, workers in (
            ("antminer", "pools", (b"\xff\xfe", b"bj\xf6rk", b"\xed\xa0\x80")),
            ("hiveon", "pools", (b"\xc3",)),
            ("whatsminer", "pools", (b"\xd6\xd0\xb9\xfa", b"\xc0\xaf")),
            ("whatsminer_v3", "get_miner_status_pools", (b"\xff",)),
            ("avalon", "pools", (b"\xf4\x90\x80\x80",)),
            ("luxos", "pools", (b"caf\xe9",)),
            ("braiins", "pools", (b"\x80\x80\x80",)),
            ("braiins_gql", "gql_pools", (b"m\xfcller",)),
            ("vnish", "summary", (b"\xfe",)),
            ("epic", "summary", (b"\xe2\x82",)),
            ("auradine", "pools", (b"\xf8\x88",)),
            ("sealminer", "pools", (b"\xd3\xc3\xbb\xa7",)),
            ("axeos", "system_info", (b"\xff\xff",)),
            ("proto", "pools", (b"jos\xe9",)),
            ("elphapex", "get_miner_conf", (b"\xbf",)),
        )
        for i, worker in enumerate(workers)
    ),
    # a page that is a list at the top has no place for a warning, but it is read
    reads("worker", 8, "mara", swap("pools", _WORKER, b'"gr\xfcn"')),
    reads("worker", 8, "braiins_rest", swap("pools", _WORKER, b'"\xff\xfe"')),
    # in an identity field the bytes are gone, not guessed
    reads(
        "hostname",
        8,
        "luxos",
        swap("config", b"UrlacherS19k", b"Urlacher\xffS19k"),
        warnings=_MENDED,
        hostname="Urlacher\ufffdS19k",
    ),
    reads("mac", 8, "whatsminer", swap("summary", b"C4:08:28:00:A4:19", b"C4:08:28:00:A4:\xff9"), warnings=_MENDED),
]


# --- 20: keys that come twice: the last wins ---

TWICE = [
    reads("same-key", 20, "antminer", swap("summary", b'"GHS 5s":110566.89', b'"GHS 5s":1,"GHS 5s":110566.89')),
    reads("last-wins", 20, "antminer", swap("summary", b'"Stale":1,', b'"Stale":1,"Stale":7,'), shares_stale=7.0),
    reads(
        "section",
        20,
        "antminer",
        swap("summary", b'"id":1}', b'"SUMMARY":[],"id":1}'),
        hashrate_key="rate_30m",
        **dict.fromkeys(
            ("shares_accepted", "shares_rejected", "shares_stale", "difficulty_accepted", "difficulty_rejected")
        ),
    ),
    reads("status", 20, "hiveon", swap("summary", b'{"STATUS":[', b'{"STATUS":[{"STATUS":"E","Msg":"x"}],"STATUS":[')),
    fails(
        "status-error-last",
        20,
        "luxos",
        UNSUPPORTED,
        swap("summary", b'"id":1}', b'"STATUS":[{"STATUS":"E","Code":14,"Msg":"x"}],"id":1}'),
    ),
    reads("percent", 20, "whatsminer", swap("pools", b'"Pool Stale%":0.0', b'"Pool Stale%%":0.0,"Pool Stale%%":0.0')),
    reads("power", 20, "whatsminer", swap("summary", b'"Power":3417', b'"Power":-1,"Power":3417')),
    reads("details", 20, "avalon", swap("estats", b"WALLPOWER[3731]", b"WALLPOWER[1] WALLPOWER[3731]")),
    reads(
        "key", 20, "sealminer", swap("stats", b'"PSU Input Power":3504', b'"PSU Input Power":0,"PSU Input Power":3504')
    ),
    reads(
        "rate", 20, "vnish", swap("summary", b'"hr_realtime":109500.75', b'"hr_realtime":null,"hr_realtime":109500.75')
    ),
    reads("uptime", 20, "proto", swap("mining", b'"mining_uptime_s":28', b'"mining_uptime_s":-5,"mining_uptime_s":28')),
    reads("frame", 20, "whatsminer_v3", swap("get_miner_status_summary", b'{"code":0', b'{"code":-1,"code":0')),
    reads("key", 20, "axeos", swap("system_info", b'"power":2.65', b'"power":99,"power":2.65')),
    reads("limit", 20, "braiins", swap("tunerstatus", b'"PowerLimit":3878', b'"PowerLimit":9999,"PowerLimit":3878')),
]


# --- 38: depth and size: missing or a protocol error, never a crash ---

_DEEP = b"[" * 3000 + b"]" * 3000
_DEEP_OBJECTS = b'{"a":' * 900 + b"1" + b"}" * 900


def _huge(machine: str, where: str, **wanted: object) -> list[Case]:
    """One number that no field holds: as a power of ten that no float holds, and beyond 64 bits."""
    return [
        reads(f"{_leaf(where)}-1e400", 38, machine, bare(where, "1e400"), warnings=_MENDED, **wanted),
        reads(f"{_leaf(where)}-beyond-64-bit", 38, machine, bare(where, "1" + "0" * 25), **wanted),
    ]


EXTREMES = [
    *(
        fails("main-deep", 38, machine, MALFORMED, raw(name, _DEEP))
        for machine, name in MAIN.items()
        if machine not in ("antminer_web", "avalon_q")
    ),
    *(
        fails("main-deep-objects", 38, machine, MALFORMED, raw(MAIN[machine], _DEEP_OBJECTS))
        for machine in ("whatsminer_v3", "braiins_rest", "vnish", "epic", "proto", "elphapex")
    ),
    loses("pools-deep", 38, "antminer", raw("pools", b'{"POOLS":' + _DEEP + b"}")),
    loses("devs-deep", 38, "whatsminer", raw("devs", b'{"DEVS":' + _DEEP + b"}")),
    loses("pools-deep", 38, "mara", raw("pools", _DEEP)),
    *_huge("antminer", "summary SUMMARY.0.Accepted", shares_accepted=None),
    *_huge("hiveon", "stats STATS.1.total_rateideal", hashrate_expected_hs=None),
    *_huge("whatsminer", "summary SUMMARY.0.Difficulty Accepted", difficulty_accepted=None),
    *_huge("whatsminer_v3", "get_miner_status_summary msg.summary.power-limit", power_limit_w=None),
    *_huge("avalon", "summary SUMMARY.0.Stale", shares_stale=None),
    *_huge("luxos", "power POWER.0.Watts", **_NO_WATTS),
    *_huge("braiins", "tunerstatus TUNERSTATUS.0.PowerLimit", power_limit_w=None),
    *_huge("braiins_rest", "miner_stats pool_stats.accepted_shares", shares_accepted=None),
    *_huge("vnish", "summary miner.hr_nominal"),  # "hr_stock" stands in with the same number
    *_huge("mara", "brief power_consumption_estimated", **_NO_WATTS),
    *_huge("epic", "summary Session.Rejected", shares_rejected=None),
    *_huge("auradine", "summary SUMMARY.0.Difficulty Rejected", difficulty_rejected=None),
    *_huge("sealminer", "stats STATS.0.Power Limit", power_limit_w=None),
    *_huge("axeos", "system_info fanrpm", fans_rpm=()),
    *_huge("proto", "mining mining-status.power_target_watts", power_limit_w=None),
    *_huge("elphapex", "summary SUMMARY.0.rate_ideal", hashrate_expected_hs=None),
    reads(
        "digits-without-end",
        38,
        "antminer",
        bare("summary SUMMARY.0.Rejected", "9" * 5000),
        warnings=_MENDED,
        shares_rejected=None,
    ),
    reads("quoted-1e400", 38, "luxos", put("summary SUMMARY.0.Rejected", "1e400"), shares_rejected=None),
    reads("quoted-digits", 38, "sealminer", put("summary SUMMARY.0.Accepted", "1" * 120), shares_accepted=None),
    reads(
        "quoted-digits-too-long", 38, "whatsminer", put("summary SUMMARY.0.Accepted", "1" * 5000), shares_accepted=None
    ),
    reads("1e400-in-details", 38, "avalon", swap("estats", b"MPO[3515]", b"MPO[1e400]"), power_limit_w=None),
    reads("board-number", 38, "luxos", put("devs DEVS.0.ID", 2**63), heat={"board 2": None}),
]


CASES: list[Case] = [
    *NO_COMMA,
    *SPARE_COMMA,
    *CONTROL,
    *NO_COMMA_IN_OBJECT,
    *NOT_NUMBERS,
    *NO_UTF8,
    *TWICE,
    *EXTREMES,
]
