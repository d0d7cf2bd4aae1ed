"""Replies that end wrongly, say nothing, are no JSON at all, or carry another status than success."""

from __future__ import annotations

from collectors.miners.make import Via
from fleet.readings import FaultKind
from hostile.cases import Case, around, cut, drop, fails, gone, put, raw, reads
from hostile.losses import LOST, MAIN, RPC, loses
from hostile.machines import machine as machine_of
from hostile.machines import replies_of

DENIED, MALFORMED, REFUSED, UNSUPPORTED = (
    FaultKind.DENIED,
    FaultKind.MALFORMED,
    FaultKind.REFUSED,
    FaultKind.UNSUPPORTED,
)


# --- 1: terminators: stripped, nothing else changes ---

_ENDINGS = {
    "nul": b"\0",
    "two-nuls": b"\0\0",
    "nul-lf": b"\0\n",
    "lf": b"\n",
    "blanks": b" \t\r\n",
    "crlf-nul": b"\r\n\0",
}

_ENDED: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("antminer", "summary", ("nul", "two-nuls", "nul-lf")),
    ("antminer", "stats", ("lf", "blanks")),
    ("hiveon", "stats", ("nul", "crlf-nul")),
    ("whatsminer", "summary", ("nul", "lf", "two-nuls")),
    ("whatsminer", "status", ("nul-lf",)),
    ("avalon", "summary", ("nul", "blanks")),
    ("avalon", "estats", ("two-nuls",)),
    ("luxos", "summary", ("nul", "nul-lf")),
    ("luxos", "config", ("crlf-nul",)),
    ("braiins", "summary", ("nul", "lf")),
    ("auradine", "summary", ("nul", "two-nuls")),
    ("sealminer", "stats", ("nul", "nul-lf")),
    ("whatsminer_v3", "get_miner_status_summary", ("lf", "nul")),
    ("braiins_rest", "miner_stats", ("blanks",)),
    ("vnish", "summary", ("lf",)),
    ("mara", "brief", ("nul",)),
    ("epic", "summary", ("nul-lf",)),
    ("axeos", "system_info", ("blanks",)),
    ("proto", "mining", ("two-nuls",)),
    ("elphapex", "summary", ("lf",)),
)

TERMINATORS = [
    *(
        reads(f"{name}-{ending}", 1, machine, around(name, after=_ENDINGS[ending]))
        for machine, name, endings in _ENDED
        for ending in endings
    ),
    reads("blanks-before", 1, "antminer", around("summary", before=b"\r\n \t")),
    reads("nul-before", 1, "sealminer", around("stats", before=b"\0")),
]


# --- 6: a reply that begins with a comma: an empty object, so a protocol error ---

_LEADING_COMMA = b',"id":1}\0'

LEADING_COMMA = [
    *(fails("main", 6, machine, MALFORMED, raw(MAIN[machine], _LEADING_COMMA)) for machine in RPC),
    loses("estats", 6, "avalon", raw("estats", _LEADING_COMMA)),
    loses("pools", 6, "avalon", raw("pools", _LEADING_COMMA)),
    loses("summary", 6, "braiins", raw("summary", _LEADING_COMMA)),
    loses("devs", 6, "luxos", raw("devs", _LEADING_COMMA)),
    loses("status", 6, "whatsminer", raw("status", _LEADING_COMMA)),
]


# --- 9: cut replies: what was whole is kept and said so, else a protocol error; never cut at the last comma ---

_CUT = ("repaired", "truncated")

TRUNCATED = [
    # cut before the first section was whole: nothing can be trusted
    fails("in-first-row", 9, "antminer", MALFORMED, cut("stats", b'"Miner"')),
    fails("in-a-number", 9, "whatsminer", MALFORMED, cut("summary", b'1,"Description"')),
    fails("in-a-key", 9, "avalon", MALFORMED, cut("summary", b'ode":11')),
    fails("after-the-brace", 9, "luxos", MALFORMED, raw("summary", b"{")),
    fails("in-a-string", 9, "auradine", MALFORMED, raw("summary", b'{"STATUS":[{"STATUS":"S","Msg":"Summ')),
    fails("only-a-quote", 9, "sealminer", MALFORMED, raw("stats", b'{"')),
    fails("framed", 9, "whatsminer_v3", MALFORMED, cut("get_miner_status_summary", b'"msg"')),
    fails("page", 9, "vnish", MALFORMED, cut("summary", b'"hr_realtime"')),
    fails("page-in-a-value", 9, "axeos", MALFORMED, cut("system_info", b'"hashRate"')),
    fails("page-in-a-string", 9, "epic", MALFORMED, raw("summary", b'{"Hostname":"cmi')),
    fails("brief", 9, "mara", MALFORMED, cut("brief", b'"hashrate_realtime"')),
    fails("status", 9, "proto", MALFORMED, cut("mining", b'"hashrate_ghs"')),
    # the section that was asked for is whole, what followed it is not
    reads("after-stats", 9, "antminer", cut("stats", b',"STATUS":[{"Code"'), warnings=(*_CUT, "no_status")),
    reads("in-the-status", 9, "hiveon", cut("stats", b'CGMiner stats"'), warnings=(*_CUT, "no_status")),
    reads("before-the-id", 9, "whatsminer", cut("summary", b',"id":1}'), warnings=_CUT),
    reads("in-the-id", 9, "sealminer", cut("stats", b":1}"), warnings=_CUT),
    reads("before-the-last-brace", 9, "avalon", around("summary"), cut("estats", b',"id"'), warnings=_CUT),
    reads("before-the-id", 9, "luxos", cut("power", b',"id"'), warnings=_CUT),
    reads("in-status", 9, "luxos", cut("power", b'"Msg":"Power usage"'), warnings=(*_CUT, "no_status")),
    # the status was whole, the section was cut: its fields are missing, not half
    loses("in-pools", 9, "antminer", cut("pools", b'"Status":"Alive"')),
    loses("in-devs", 9, "whatsminer", cut("devs", b'"Temperature":69.5')),
    loses("in-estats", 9, "avalon", cut("estats", b"GHSspd["), also=_CUT),
    loses("in-summary", 9, "braiins", cut("summary", b"206200000.5"), also=_CUT),
    loses("in-fans", 9, "braiins", cut("fans", b"6003"), also=_CUT),
    loses("in-hashboards", 9, "braiins_rest", cut("miner_hw_hashboards", b'"chips_count"')),
    loses("in-info", 9, "vnish", cut("info", b'"serial"')),
    loses("in-power", 9, "elphapex", cut("get_power", b'"power_temp"')),
    loses("in-psu", 9, "auradine", cut("psu", b'"PowerIn"')),
    loses("in-telemetry", 9, "proto", cut("telemetry_full", b'"voltage":{"unit":"V","value":14.46')),
    # the serial numbers stood before the cut, the model after it
    reads(
        "in-capabilities",
        9,
        "epic",
        cut("capabilities", b'"Model"'),
        warnings=_CUT,
        make="ePIC",
        model=None,
        algorithm=None,
    ),
]


# --- 10: nothing, or something that is no object ---

_NOTHINGS = {
    "empty": b"",
    "nul": b"\0",
    "object": b"{}",
    "null": b"null",
    "list": b"[]",
    "number": b"42",
    "word": b'"OK"',
    "true": b"true",
    "blank": b" \r\n",
    "list-of-null": b"[null]",
    "list-of-objects": b'[{"SUMMARY":1}]',
}

_SILENT: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("antminer", ("empty", "object", "null", "list", "number", "list-of-objects")),
    ("hiveon", ("nul", "null", "word")),
    ("whatsminer", ("empty", "object", "list", "true", "list-of-null")),
    ("avalon", ("empty", "null", "blank", "number")),
    ("luxos", ("empty", "object", "word", "list-of-objects")),
    ("auradine", ("nul", "object", "list")),
    ("sealminer", ("empty", "null", "number")),
    ("whatsminer_v3", ("empty", "object", "null", "list", "word")),
    ("vnish", ("empty", "object", "null", "list-of-null")),
    ("mara", ("empty", "object", "list")),
    ("epic", ("empty", "null", "true")),
    ("axeos", ("empty", "object", "list", "number")),
    ("proto", ("empty", "null", "word")),
)

SILENT = [
    *(
        fails(f"main-{what}", 10, machine, MALFORMED, raw(MAIN[machine], _NOTHINGS[what]))
        for machine, whats in _SILENT
        for what in whats
    ),
    fails("both-pages-null", 10, "elphapex", MALFORMED, raw("summary", b"null"), raw("stats", b"null")),
    fails("page-empty", 10, "elphapex", MALFORMED, raw("stats", b"")),
    fails(
        "both-pages-empty-objects",
        10,
        "braiins_rest",
        MALFORMED,
        raw("miner_stats", b"{}"),
        raw("miner_details", b"{}"),
    ),
    fails("page-empty", 10, "braiins_rest", MALFORMED, raw("miner_details", b"")),
    fails(
        "everything-null",
        10,
        "braiins",
        MALFORMED,
        *(raw(name, b"null") for name in replies_of("braiins")),
    ),
    loses("pools-null", 10, "antminer", raw("pools", b"null")),
    loses("devs-number", 10, "whatsminer", raw("devs", b"7")),
    loses("summary-object", 10, "braiins", raw("summary", b"{}")),
    loses("gql-empty", 10, "braiins_gql", raw("gql_system", b"")),
    loses("gql-null", 10, "braiins_gql", raw("gql_tuning", b"null")),
    loses("info-list", 10, "vnish", raw("info", b"[]")),
    loses("network-null", 10, "epic", raw("network", b"null")),
    loses("system-number", 10, "proto", raw("system", b"0")),
]


# --- 11: the mining process is down, a proxy answers in its place ---

_DOWN = b"Socket connect failed: Connection refused\n"

DOWN = [
    *(fails("main", 11, machine, REFUSED, raw(MAIN[machine], _DOWN)) for machine in RPC),
    fails("everything", 11, "braiins", REFUSED, *(raw(name, _DOWN) for name in replies_of("braiins"))),
    fails("nul", 11, "antminer", REFUSED, raw("summary", b"Socket connect failed: Connection refused\0")),
    fails("other-words", 11, "whatsminer", REFUSED, raw("summary", b"Socket connect failed: Connection timed out\n")),
    loses("pools-only", 11, "luxos", raw("pools", _DOWN)),
]


# --- 12: pipe format ---

_PIPE = (
    b"STATUS=S,When=1755615295,Code=11,Msg=Summary,Description=cgminer 1.0.0|SUMMARY,Elapsed=50474,GHS 5s=110566.89|\0"
)

PIPES = [
    *(fails("main", 12, machine, MALFORMED, raw(MAIN[machine], _PIPE)) for machine in RPC),
    fails(
        "error",
        12,
        "antminer",
        MALFORMED,
        raw("stats", b"STATUS=E,When=1,Code=14,Msg=Invalid command,Description=x|\0"),
    ),
    loses(
        "pools", 12, "whatsminer", raw("pools", b"STATUS=S,When=1,Code=7,Msg=1 Pool(s)|POOL=0,URL=stratum+tcp://x|\0")
    ),
    loses("summary", 12, "braiins", raw("summary", _PIPE)),
    loses("tunerstatus", 12, "braiins", raw("tunerstatus", b"STATUS=S|")),
]


# --- 13: the shapes of STATUS; without one the payload is used, and said to be suspect ---

_GOOD = {"STATUS": "S", "When": 1, "Code": 11, "Msg": "Summary", "Description": "x"}

_SHAPES: tuple[tuple[str, str, str], ...] = (
    ("antminer", "summary", "dict"),
    ("antminer", "stats", "letter"),
    ("antminer", "stats", "missing"),
    ("hiveon", "summary", "missing"),
    ("hiveon", "stats", "dict"),
    ("whatsminer", "summary", "letter"),
    ("whatsminer", "devs", "missing"),
    ("whatsminer", "status", "list"),
    ("avalon", "summary", "dict"),
    ("avalon", "estats", "missing"),
    ("luxos", "summary", "missing"),
    ("luxos", "power", "dict"),
    ("luxos", "config", "letter"),
    ("braiins", "summary", "missing"),
    ("braiins", "temps", "dict"),
    ("auradine", "summary", "letter"),
    ("auradine", "pools", "missing"),
    ("auradine", "psu", "dict"),
    ("sealminer", "stats", "missing"),
    ("sealminer", "summary", "dict"),
    ("sealminer", "pools", "letter"),
)


def _shaped(machine: str, name: str, shape: str) -> Case:
    if shape == "missing":
        return reads(f"{name}-missing", 13, machine, drop(f"{name} STATUS"), warnings=("no_status",))
    value = {"dict": _GOOD, "letter": "S", "list": [_GOOD]}[shape]
    return reads(f"{name}-{shape}", 13, machine, put(f"{name} STATUS", value))


_REFUSED = {"STATUS": "E", "When": 1, "Code": 14, "Msg": "invalid command", "Description": "x"}

STATUS_SHAPES = [
    *(_shaped(*row) for row in _SHAPES),
    # an error is one in every shape, also where a payload stands beside it
    fails("error-dict", 13, "antminer", UNSUPPORTED, put("summary STATUS", _REFUSED)),
    fails("error-list", 13, "sealminer", UNSUPPORTED, put("stats STATUS", [_REFUSED])),
    fails("fatal", 13, "luxos", UNSUPPORTED, put("summary STATUS", [{**_REFUSED, "STATUS": "F"}])),
    loses("error-letter", 13, "whatsminer", put("devs STATUS", "E")),
    loses("error-dict", 13, "braiins", put("summary STATUS", _REFUSED)),
    # informs and warns, but answers
    reads("inform", 13, "avalon", put("summary STATUS", [{**_GOOD, "STATUS": "I"}])),
    reads("warning", 13, "auradine", put("summary STATUS", [{**_GOOD, "STATUS": "W"}])),
]


# --- 14: refusals: the command is denied or absent, the machine stays readable where it can ---


def said_no(code: int, message: str, letter: str = "E") -> bytes:
    return b'{"STATUS":[{"STATUS":"%s","When":1,"Code":%d,"Msg":"%s","Description":"cgminer 1.0.0"}],"id":1}\0' % (
        letter.encode(),
        code,
        message.encode(),
    )


def whatsminer_no(code: int, message: str) -> bytes:
    return b'{"STATUS":"E","When":1,"Code":%d,"Msg":"%s","Description":"whatsminer v1.4.0"}' % (code, message.encode())


_ACCESS = said_no(45, "Access denied to 'pools' command")
_INVALID = said_no(14, "Invalid command")

REFUSALS = [
    *(
        fails("main-denied", 14, machine, DENIED, raw(MAIN[machine], said_no(45, "Access denied to 'summary' command")))
        for machine in RPC
    ),
    *(fails("main-invalid", 14, machine, UNSUPPORTED, raw(MAIN[machine], _INVALID)) for machine in RPC),
    *(
        loses("pools-denied", 14, machine, raw("pools", _ACCESS))
        for machine in ("antminer", "hiveon", "whatsminer", "avalon", "luxos", "braiins", "auradine", "sealminer")
    ),
    loses("write-cmd", 14, "whatsminer", raw("get_miner_info", whatsminer_no(45, "can't access write cmd"))),
    loses("token-over-max", 14, "whatsminer", raw("status", whatsminer_no(136, "token over max times"))),
    loses("token-check", 14, "whatsminer", raw("get_error_code", whatsminer_no(135, "check token error"))),
    loses("invalid-devdetails", 14, "whatsminer", raw("devdetails", whatsminer_no(14, "invalid cmd"))),
    fails("token-on-summary", 14, "whatsminer", DENIED, raw("summary", whatsminer_no(134, "token error"))),
    loses("temps-absent", 14, "braiins", raw("temps", _INVALID)),
    loses("tuner-denied", 14, "braiins", raw("tunerstatus", said_no(45, "Access denied to 'tunerstatus' command"))),
    loses("litestats-and-estats-absent", 14, "avalon", raw("estats", _INVALID)),
    loses("power-fatal", 14, "luxos", raw("power", said_no(14, "Fatal", "F"))),
    loses("page-says-e-in-200", 14, "auradine", raw("psu", said_no(45, "Access denied"))),
    loses("report-needs-token", 14, "auradine", raw("ipreport", said_no(23, "Invalid token"))),
    fails(
        "v3-code",
        14,
        "whatsminer_v3",
        UNSUPPORTED,
        raw("get_miner_status_summary", b'{"code":-1,"msg":"invalid command"}'),
    ),
    fails(
        "v3-permission",
        14,
        "whatsminer_v3",
        DENIED,
        raw("get_miner_status_summary", b'{"code":-4,"msg":"permission denied"}'),
    ),
    fails("v3-no-code", 14, "whatsminer_v3", MALFORMED, drop("get_miner_status_summary code")),
    loses("v3-info-denied", 14, "whatsminer_v3", raw("get_device_info", b'{"code":-2,"msg":"token invalid"}')),
    loses("v3-pools-absent", 14, "whatsminer_v3", raw("get_miner_status_pools", b'{"code":-1,"msg":"invalid param"}')),
    loses(
        "graphql-errors", 14, "braiins_gql", raw("gql_tuning", b'{"data":null,"errors":[{"message":"Unknown field"}]}')
    ),
    loses("graphql-refused", 14, "braiins_gql", raw("gql_system", b'{"errors":[{"message":"Access denied"}]}')),
]


# --- 15: empty sections: the fields are missing ---

_COUNTERS = dict.fromkeys(
    ("shares_accepted", "shares_rejected", "shares_stale", "difficulty_accepted", "difficulty_rejected")
)
_NO_RATE = dict.fromkeys(("hashrate_hs", "hashrate_window_s", "hashrate_key", "hashrate_now_hs", "uptime_s"))

EMPTY_SECTIONS = [
    # `stats` has the same rates: "rate_30m" 111878.26, "GHS 5s" 110566.89
    reads("summary", 15, "antminer", put("summary SUMMARY", []), hashrate_key="rate_30m", **_COUNTERS),
    reads("summary", 15, "hiveon", put("summary SUMMARY", [{}]), hashrate_key="rate_30m", **_COUNTERS),
    reads(
        "stats",
        15,
        "antminer",
        put("stats STATS", []),
        hashrate_expected_hs=None,
        fans_rpm=(),
        heat=dict.fromkeys(("board 1", "board 2", "board 3", "chip 1", "chip 2", "chip 3")),
    ),
    fails("summary-and-stats", 15, "antminer", MALFORMED, put("summary SUMMARY", []), put("stats STATS", [])),
    reads(
        "summary",
        15,
        "whatsminer",
        put("summary SUMMARY", []),
        state="unknown",
        hashrate_expected_hs=None,
        reported_power_w=None,
        power_side=None,
        power_key=None,
        power_limit_w=None,
        mode=None,
        fans_rpm=(),
        **_COUNTERS,
        **_NO_RATE,
    ),
    fails("all", 15, "whatsminer", MALFORMED, put("summary SUMMARY", []), put("devs DEVS", [])),
    loses("devs", 15, "whatsminer", put("devs DEVS", [])),
    loses("devdetails", 15, "whatsminer", put("devdetails DEVDETAILS", [])),
    # the details have "GHSspd" and "Elapsed"; windows stand in the summary alone
    reads(
        "summary",
        15,
        "avalon",
        put("summary SUMMARY", []),
        hashrate_hs=None,
        hashrate_window_s=None,
        hashrate_key=None,
        **_COUNTERS,
    ),
    loses("estats", 15, "avalon", put("estats STATS", [])),
    fails("summary", 15, "luxos", MALFORMED, put("summary SUMMARY", [])),
    loses("power", 15, "luxos", put("power POWER", [])),
    loses("config", 15, "luxos", put("config CONFIG", [])),
    loses("devs", 15, "luxos", put("devs DEVS", [])),
    loses("fans", 15, "luxos", put("fans FANS", [])),
    loses("summary", 15, "braiins", put("summary SUMMARY", [])),
    loses("temps", 15, "braiins", put("temps TEMPS", [])),
    reads(
        "summary",
        15,
        "auradine",
        put("summary SUMMARY", []),
        state="unknown",
        without=("supply_contradicts_hashrate",),
        dc_power_w=0.0,
        **_COUNTERS,
        **_NO_RATE,
    ),
    loses("devs", 15, "auradine", put("devs DEVS", [])),
    fails("stats", 15, "sealminer", MALFORMED, put("stats STATS", [])),
    loses("summary", 15, "sealminer", put("summary SUMMARY", [])),
    reads(
        "chains",
        15,
        "vnish",
        put("summary miner.chains", []),
        heat=dict.fromkeys(f"{sensor} {i}" for sensor in ("board", "chip") for i in (1, 2, 3)),
    ),
    loses("hashboards", 15, "mara", put("hashboards hashboards", [])),
    loses("hashboards", 15, "braiins_rest", put("miner_hw_hashboards hashboards", [])),
    # both pages of an Elphapex have the rates, but what is wrong stands in the summary alone
    reads("summary", 15, "elphapex", put("summary SUMMARY", [])),
    reads("stats", 15, "elphapex", put("stats STATS", []), fans_rpm=(), heat={"board 3": None, "chip 3": None}),
    fails("both", 15, "elphapex", MALFORMED, put("summary SUMMARY", []), put("stats STATS", [])),
]


def _is_page(machine: str, name: str) -> bool:
    """Whether a page is absent (35), rather than a command (14)."""
    asks = machine_of(machine).make.asks
    return next(ask for ask in asks if ask.name == name).via is not Via.RPC


CASES: list[Case] = [
    *TERMINATORS,
    *LEADING_COMMA,
    *TRUNCATED,
    *SILENT,
    *DOWN,
    *PIPES,
    *STATUS_SHAPES,
    *REFUSALS,
    *EMPTY_SECTIONS,
    *(loses(f"no-{name}", 35 if _is_page(machine, name) else 14, machine, gone(name)) for machine, name in LOST),
]
