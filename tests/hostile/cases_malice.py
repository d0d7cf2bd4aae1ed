"""Replies made to do harm to whoever keeps, shows or logs them: escape codes, endless lists, keys of other worlds."""

from __future__ import annotations

from typing import Any

from fleet.readings import FaultKind
from hostile.cases import MALICE, Case, bare, fails, put, raw, reads, swap
from hostile.losses import loses

DENIED, MALFORMED, OVERSIZE, UNSUPPORTED = (
    FaultKind.DENIED,
    FaultKind.MALFORMED,
    FaultKind.OVERSIZE,
    FaultKind.UNSUPPORTED,
)


def evil(id: str, machine: str, *edits: Any, **wanted: Any) -> Case:
    return reads(id, MALICE, machine, *edits, **wanted)


# --- texts: only what can be printed is kept, and not much of it ---

_LONG = "A" * 5000

TEXTS = [
    evil("colours", "luxos", put("config CONFIG.0.Hostname", "\x1b[31mred\x1b[0m"), hostname="[31mred[0m"),
    evil("clears-screen", "axeos", put("system_info hostname", "\x1b[2J\x1b[H\x07"), hostname="[2J[H"),
    evil("right-to-left", "mara", put("network_config hostname", "gpj.\u202eexe"), hostname="gpj.exe"),
    evil("invisible", "epic", put("summary Hostname", "c\u200bm\u2060i\ufeffn"), hostname="cmin"),
    evil(
        "log-line",
        "sealminer",
        put("stats STATS.0.Model", "A2\n2026-01-01 ERROR all is lost"),
        model="A22026-01-01 ERROR all is lost",
    ),
    evil(
        "metric-line",
        "proto",
        put("system system-info.os.hostname", 'x"} 1\nhashwatt_up 0'),
        hostname='x"} 1hashwatt_up 0',
    ),
    evil("nul", "whatsminer", put("get_miner_info Msg.hostname", "a\x00b"), hostname="ab"),
    evil("long-name", "luxos", put("config CONFIG.0.Hostname", _LONG), hostname="A" * 128),
    evil("long-serial", "whatsminer", put("get_miner_info Msg.minersn", _LONG), serial="A" * 128),
    evil("long-mode", "vnish", put("perf_summary current_preset.name", _LONG), mode="A" * 128, power_limit_w=None),
    evil("only-invisible", "axeos", put("system_info hostname", "\x1b\x00\u200b"), hostname=None),
    evil(
        "markup",
        "elphapex",
        put("get_system_info hostname", "<script>alert(1)</script>"),
        hostname="<script>alert(1)</script>",
    ),
    evil(
        "lone-surrogate",
        "auradine",
        bare("ipreport IPReport.0.hostname", r'"a\ud800b"'),
        hostname="a\ufffdb",
        warnings=("repaired",),
    ),
    evil(
        "half-pair",
        "luxos",
        bare("config CONFIG.0.Hostname", r'"\udc00\ud83d"'),
        hostname="\ufffd\ufffd",
        warnings=("repaired",),
    ),
    evil("bad-escape", "sealminer", bare("stats STATS.0.Model", r'"A2\q"'), model="A2\\q", warnings=("repaired",)),
    evil("path", "antminer_web", put("get_system_info serinum", "../../etc/passwd"), serial="../../etc/passwd"),
    evil("object-as-name", "luxos", put("config CONFIG.0.Hostname", {"$gt": ""}), hostname=None),
    evil("list-as-name", "whatsminer_v3", put("get_device_info msg.network.hostname", ["a"]), hostname=None),
    evil("true-as-name", "braiins_rest", put("miner_details hostname", True), hostname=None),
    evil("number-as-serial", "braiins_rest", put("miner_details serial_number", 12345), serial="12345"),
    evil("huge-number-as-serial", "whatsminer", put("get_miner_info Msg.minersn", 10**15), serial="1000000000000000"),
]


# --- lists without end: what no machine has is left unread ---

LISTS = [
    evil("pools", "antminer", swap("pools", b'{"POOLS":[', b'{"POOLS":[' + b'{"POOL":9},' * 5000)),
    evil("errors-of-words", "antminer_web", put("web_errors SUMMARY.0.status", ["e"] * 3000)),
    evil(
        "chains",
        "elphapex",
        put("stats STATS.0.chain", [{"index": i, "asic_num": 1, "temp_pcb": []} for i in range(1000)]),
        heat={"board 3": None, "chip 3": None},
    ),
    evil("fans", "elphapex", put("stats STATS.0.fan", [420] * 3000), fans_rpm=(420.0,) * 16),
    evil("fans", "antminer", put("stats STATS.1.fan", [6000] * 3000), fans_rpm=(6000.0,) * 4),
    evil(
        "error-codes",
        "whatsminer_v3",
        put("get_device_info msg.error-code", [{str(i): "t"} for i in range(1, 3000)]),
        errors=tuple(map(str, range(1, 33))),
    ),
    evil(
        "errors-by-key",
        "whatsminer",
        put("get_error_code Msg.error_code", {str(i): "t" for i in range(1, 3000)}),
        errors=tuple(map(str, range(1, 33))),
    ),
    evil("sensors", "elphapex", put("stats STATS.0.chain.3.temp_chip", ["25687"] * 5000)),
    evil(
        "heat",
        "whatsminer_v3",
        put("get_miner_status_summary msg.summary.board-temperature", [41.1, 40.1, 41.5] + [None] * 5000),
    ),
    evil("chip-temps", "axeos", put("system_info asicTemps", [50.0] * 5000)),
    evil("numbers-in-details", "avalon", swap("estats", b"MTmax[90 92 91]", b"MTmax[90 92 91 " + b"- " * 5000 + b"]")),
    evil("serials", "epic", put("capabilities Board Serial Numbers", ["x"] * 5000)),
    evil("presets", "epic", put("presets Tune Presets", [{"clk": 1}] * 3000), presets=()),
    evil("profiles", "luxos", put("profiles PROFILES", [{"Hashrate": -1, "Watts": "nan"}] * 8000), presets=()),
    evil("serials", "auradine", put("ipreport IPReport.0.HBSerialNo", ["x"] * 5000)),
    evil(
        "keys",
        "whatsminer_v3",
        put(
            "get_device_info msg.miner",
            {"type": "M60S_VK40", "miner-sn": "BTM3CS40HD24083100000000000000000"}
            | {f"pcbsn{i}": "x" for i in range(3000)},
        ),
    ),
    evil("keys", "axeos", *(put(f"system_info key{i}", i) for i in range(200))),
]


# --- shapes: another type in every place ---

SHAPES = [
    loses("devs-text", MALICE, "whatsminer", put("devs DEVS", "x")),
    loses("status-list", MALICE, "whatsminer", put("status Msg", [1])),
    loses("config-text", MALICE, "luxos", put("config CONFIG", "x")),
    loses("temps-text", MALICE, "braiins", put("temps TEMPS", "x")),
    loses("devs-true", MALICE, "auradine", put("devs DEVS", True)),
    loses("summary-text", MALICE, "sealminer", put("summary SUMMARY", "x")),
    loses("version-number", MALICE, "avalon", put("version VERSION", 1)),
    loses("hashboards-object", MALICE, "braiins_rest", put("miner_hw_hashboards hashboards", {"0": {}})),
    loses("boards-text", MALICE, "mara", put("hashboards hashboards", "x")),
    loses("data-list", MALICE, "braiins_gql", put("gql_system data", [])),
    loses("data-text", MALICE, "braiins_gql", put("gql_pools data", "x")),
    fails("stats-number", MALICE, "sealminer", MALFORMED, put("stats STATS", 5)),
    fails("miner-list", MALICE, "vnish", MALFORMED, put("summary miner", [])),
    fails(
        "session-and-status-lists", MALICE, "epic", MALFORMED, put("summary Session", []), put("summary Status", "x")
    ),
    fails("status-list", MALICE, "proto", MALFORMED, put("mining mining-status", [])),
    fails("message-text", MALICE, "whatsminer_v3", MALFORMED, put("get_miner_status_summary msg", "x")),
    evil(
        "rate-list",
        "luxos",
        put("summary SUMMARY.0.GHS 5m", [61_589.5]),
        hashrate_hs=61_506.37e9,
        hashrate_window_s=900.0,
        hashrate_key="GHS 15m",
    ),
    evil(
        "rate-object",
        "braiins_rest",
        put("miner_stats miner_stats.real_hashrate.last_5m", 142_400),
        hashrate_window_s=900.0,
        hashrate_hs=142_751.90125095937e9,
        hashrate_key="last_15m",
    ),
    evil(
        "rate-true",
        "axeos",
        put("system_info hashRate", True),
        hashrate_hs=None,
        hashrate_key=None,
        hashrate_now_hs=None,
        state="unknown",
    ),
    evil(
        "watts-list",
        "epic",
        put("summary Power Supply Stats.Input Power", [2166]),
        reported_power_w=None,
        power_side=None,
        power_key=None,
    ),
    evil("unit-list", "antminer", put("stats STATS.1.rate_unit", ["GH"])),
    evil("unit-object", "elphapex", put("summary SUMMARY.0.rate_unit", {})),
    evil("state-list", "vnish", put("summary miner.miner_status.miner_state", ["mining"])),
    evil("status-object", "proto", put("mining mining-status.status", {}), state="warming_up"),  # 28 s old, and no word
    evil("mode-object", "antminer_web", put("get_miner_conf bitmain-work-mode", {}), mode=None),
    evil(
        "pools-object",
        "antminer",
        put(
            "pools POOLS",
            {"POOL": 0, "Stratum Active": True, "Status": "Alive", "Stratum URL": "btc.global.luxor.tech"},
        ),
    ),
    evil("pool-is-a-list", "whatsminer", put("pools POOLS.1", [[[]]])),
    evil("prototype", "luxos", put("summary SUMMARY.0.__proto__", {"GHS 5m": 1}), put("summary __class__", "x")),
    evil(
        "section-is-an-object",
        "whatsminer",
        put("devs DEVS", {"ASC": 0, "Slot": 0, "Temperature": 70.0, "Chip Temp Max": 90.0, "Upfreq Complete": 1}),
        heat=dict.fromkeys(("board 1", "chip 1", "board 2", "chip 2")),
    ),
    evil("key-is-empty", "sealminer", put("stats STATS.0.", "x")),
]


# --- refusals with a text for the log ---

_HTML = b"<html><body>canary-password</body></html>"


def _no(message: str) -> bytes:
    return b'{"STATUS":[{"STATUS":"E","When":1,"Code":45,"Msg":"%s"}],"id":1}' % message.encode()


TEXTS_OF_REFUSALS = [
    fails(
        "colours", MALICE, "antminer", DENIED, raw("summary", _no(r"\u001b[31mAccess denied\u001b[0m\r\n2026 root: ok"))
    ),
    fails("long", MALICE, "luxos", DENIED, raw("summary", _no("Access denied " + "x" * 20_000))),
    fails("nothing", MALICE, "sealminer", DENIED, raw("stats", _no(""))),
    fails("object", MALICE, "avalon", DENIED, raw("summary", b'{"STATUS":[{"STATUS":"E","Code":45,"Msg":{"a":1}}]}')),
    fails(
        "right-to-left",
        MALICE,
        "whatsminer_v3",
        UNSUPPORTED,
        raw("get_miner_status_summary", '{"code":-1,"msg":"\u202e\u0000no"}'.encode().replace(b"\x00", b"")),
    ),
    fails("list", MALICE, "whatsminer_v3", UNSUPPORTED, raw("get_miner_status_summary", b'{"code":-1,"msg":[1,2]}')),
    fails("html", MALICE, "vnish", UNSUPPORTED, raw("summary", _HTML)),
    fails("html", MALICE, "axeos", UNSUPPORTED, raw("system_info", b"<!DOCTYPE html>" + _HTML)),
    fails("html", MALICE, "epic", UNSUPPORTED, raw("summary", b"\r\n" + _HTML)),
    fails("html", MALICE, "proto", UNSUPPORTED, raw("mining", _HTML)),
    fails("html", MALICE, "mara", UNSUPPORTED, raw("brief", _HTML)),
    fails("html", MALICE, "elphapex", UNSUPPORTED, raw("stats", _HTML)),
    fails("html", MALICE, "braiins_rest", UNSUPPORTED, raw("miner_stats", _HTML)),
    loses("html", MALICE, "auradine", raw("psu", _HTML)),
    loses("html", MALICE, "antminer_web", raw("get_system_info", _HTML)),
    loses("html", MALICE, "braiins_gql", raw("gql_system", _HTML)),
    fails(
        "secret-beside-rubbish",
        MALICE,
        "whatsminer",
        MALFORMED,
        raw("summary", b'{"User":"canary-worker","Pass":canary-password'),
    ),
    fails(
        "secret-in-pipe",
        MALICE,
        "antminer",
        MALFORMED,
        raw("stats", b"STATUS=S|User=canary-worker,Pass=canary-password|"),
    ),
    fails(
        "python-pickle", MALICE, "avalon", MALFORMED, raw("summary", b"\x80\x04\x95\x0f\x00\x00\x00\x8c\x05posix\x94.")
    ),
    fails(
        "gzip", MALICE, "luxos", MALFORMED, raw("summary", b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\xab\xae\x05\x00")
    ),
    fails("utf-16", MALICE, "whatsminer", MALFORMED, raw("summary", '{"SUMMARY":[{}]}'.encode("utf-16"))),
    fails("bom-alone", MALICE, "auradine", MALFORMED, raw("summary", b"\xef\xbb\xbf")),
    fails(
        "xml-entities",
        MALICE,
        "hiveon",
        UNSUPPORTED,
        raw("stats", b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b "bb">]>'),
    ),
    fails("backslashes", MALICE, "antminer", MALFORMED, raw("stats", b'{"STATS":["' + b"\\" * 50_000)),
    fails("quotes", MALICE, "antminer", MALFORMED, raw("stats", b'"' * 50_001)),
    fails("commas", MALICE, "sealminer", OVERSIZE, raw("stats", b"{" + b"," * 50_000)),
    fails("colons-of-a-page", MALICE, "vnish", OVERSIZE, raw("summary", b"{" + b":" * 20_000 + b"}")),
    fails("empty-objects", MALICE, "antminer", OVERSIZE, put("stats STATS.1.x", [{}] * 20_000)),
    fails("empty-lists", MALICE, "mara", OVERSIZE, put("brief x", [[]] * 20_000)),
    fails("minus", MALICE, "sealminer", MALFORMED, raw("stats", b'{"STATS":' + b"-" * 50_000 + b"}")),
    fails("open-and-shut", MALICE, "luxos", OVERSIZE, raw("summary", b"{}" * 20_000)),
    fails("colons", MALICE, "luxos", OVERSIZE, raw("summary", b"{" + b":" * 20_000 + b"}")),
    fails("too-long-to-mend", MALICE, "whatsminer", MALFORMED, raw("summary", b"{nan" + b" " * 300_000 + b"}")),
]


CASES: list[Case] = [*TEXTS, *LISTS, *SHAPES, *TEXTS_OF_REFUSALS]
