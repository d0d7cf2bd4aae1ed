"""What only a socket can do to us: pieces, silence, floods, broken connections, HTTP, logins, other machines."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from collectors.miners.framed import frame
from fleet.readings import FaultKind
from hostile.cases import Case, put
from hostile.losses import LOST
from hostile.machines import encoded, machine, replies_of
from hostile.wire import HANG, LOGIN, NOTHING, PATIENT_S, REFUSAL, RESET, SHORT_S, Script, Sends, WireCase, page

DENIED, IDENTITY, MALFORMED, OVERSIZE, REFUSED, TIMEOUT, UNSUPPORTED = (
    FaultKind.DENIED,
    FaultKind.IDENTITY,
    FaultKind.MALFORMED,
    FaultKind.OVERSIZE,
    FaultKind.REFUSED,
    FaultKind.TIMEOUT,
    FaultKind.UNSUPPORTED,
)

MIB = 1 << 20
AUTO: dict[str, Any] = {"key": None}


def reads(id: str, quirk: int, name: str, *scripts: Script, **more: Any) -> WireCase:
    """Ends in the healthy reading but for the keywords that are its fields; the others are the case's own."""
    own = {k: more.pop(k) for k in ("key", "deadline_s", "credential", "closed", "asks_at_most") if k in more}
    seen = {k: more.pop(k) for k in ("heat", "warnings", "without") if k in more}
    expect = Case(f"wire-{id}", quirk, name, (), fields=more, **seen)
    return WireCase(expect, scripts or ({},), **{"key": machine(name).key, **own})


def loses(id: str, quirk: int, name: str, reply: str, *scripts: Script, **own: Any) -> WireCase:
    """Ends in a reading without that reply."""
    loss = LOST[name, reply]
    made = reads(id, quirk, name, *scripts, **own)
    expect = replace(made.expect, fields=loss.fields, heat=loss.heat, warnings=loss.warnings, without=loss.without)
    return replace(made, expect=expect)


def fails(id: str, quirk: int, name: str, fault: FaultKind, *scripts: Script, **own: Any) -> WireCase:
    made = reads(id, quirk, name, *scripts, **own)
    return replace(made, expect=replace(made.expect, fault=fault))


def hangs(id: str, quirk: int, name: str, *scripts: Script, **own: Any) -> WireCase:
    return fails(id, quirk, name, TIMEOUT, *scripts, deadline_s=SHORT_S, **own)


def reply(name: str, ask: str) -> bytes:
    return encoded(replies_of(name)[ask])


def changed(name: str, where: str, value: Any) -> Sends:
    """A reply of the cgminer API or a frame with another value."""
    edit = put(where, value)
    data = edit.apply(reply(name, edit.reply))
    assert data is not None
    return Sends(frame(data) if name == "whatsminer_v3" else data + b"\0")


SUMMARY = reply("antminer", "summary")
V3 = reply("whatsminer_v3", "get_miner_status_summary")


# --- 1, 2: ends of replies on the cgminer API ---

ENDS = [
    *(
        reads(id, 1, "antminer", {"summary": sends})
        for id, sends in {
            "no-terminator": Sends(SUMMARY),
            "nul-and-open": Sends(SUMMARY + b"\0", then="hold"),
            "two-nuls-and-open": Sends(SUMMARY + b"\0\0", then="hold"),
            "neither-terminator-nor-end": Sends(SUMMARY, then="hold"),
            "rubbish-behind-nul": Sends(SUMMARY + b"\0{}{}garbage\xff"),
            "second-reply-behind": Sends(SUMMARY + SUMMARY),
            "byte-by-byte": Sends(SUMMARY + b"\0", chunk=1),
            "seven-by-seven": Sends(SUMMARY + b"\0", chunk=7),
            "nul-comes-alone": Sends(SUMMARY + b"\0", chunk=len(SUMMARY)),
            "newline-and-nul": Sends(SUMMARY + b"\n\0"),
            "flood-behind": Sends(SUMMARY + b"\0" + b"x" * MIB),
        }.items()
    ),
    reads("no-terminator-no-end", 1, "whatsminer", {"status": Sends(reply("whatsminer", "status"), then="hold")}),
    reads(
        "blank-lines-first",
        1,
        "sealminer",
        {"stats+summary+pools+version": Sends(REFUSAL), "stats": Sends(b"\r\n\r\n" + reply("sealminer", "stats"))},
    ),
    reads(
        "no-comma",
        2,
        "antminer",
        {"stats": Sends(reply("antminer", "stats").replace(b'},{"Calls"', b'}{"Calls"') + b"\0\0")},
        warnings=("repaired",),
    ),
    fails("nul-first", 10, "antminer", MALFORMED, {"summary": Sends(b"\0" + SUMMARY)}),
    fails("nuls-for-ever", 10, "antminer", MALFORMED, {"summary": Sends(b"\0" * 4096, endless=True)}),
    fails("closed-without-a-byte", 10, "antminer", MALFORMED, {"summary": NOTHING}),
    fails("closed-without-a-byte", 10, "avalon", MALFORMED, {"summary": NOTHING}),
    # the status was whole, the section was not: what `stats` says is kept
    reads(
        "cut",
        9,
        "antminer",
        {"summary": Sends(SUMMARY[:400])},
        hashrate_key="rate_30m",
        warnings=("repaired", "truncated"),
        **dict.fromkeys(
            ("shares_accepted", "shares_rejected", "shares_stale", "difficulty_accepted", "difficulty_rejected")
        ),
    ),
    fails("cut-in-the-status", 9, "antminer", MALFORMED, {"summary": Sends(SUMMARY[:60])}),
    fails("cut-inside-a-key", 9, "luxos", MALFORMED, {"rpc": Sends(b'{"summary":[{"STATUS":[{"STAT')}),
    fails("down", 11, "antminer", REFUSED, {"rpc": Sends(b"Socket connect failed: Connection refused\n")}),
    fails(
        "down-unknown", 11, "antminer", REFUSED, {"rpc": Sends(b"Socket connect failed: Connection refused\n")}, **AUTO
    ),
    fails("down", 11, "whatsminer", REFUSED, {"rpc": Sends(b"Socket connect failed: Connection refused\n")}),
    fails(
        "pipes", 12, "antminer", MALFORMED, {"rpc": Sends(b"STATUS=S,When=1,Code=11,Msg=Summary|SUMMARY,Elapsed=1|\0")}
    ),
    fails("pipes-unknown", 12, "antminer", MALFORMED, {"rpc": Sends(b"STATUS=S,When=1|VERSION,CGMiner=4|\0")}, **AUTO),
]


# --- 13, 14: refusals, and what is learned from them ---


def no(code: int, message: str) -> Sends:
    return Sends(
        b'{"STATUS":[{"STATUS":"E","When":1,"Code":%d,"Msg":"%s","Description":"x"}],"id":1}\0'
        % (code, message.encode())
    )


WM_ALL = "summary+devs+pools+devdetails"
_WM = replies_of("whatsminer")
_JOINED = {part: [_WM[part]] for part in WM_ALL.split("+")}
_DENIED_PART = {"STATUS": [{"STATUS": "E", "Code": 45, "Msg": "Access denied to 'pools' command"}], "id": 1}

REFUSALS = [
    fails("denied", 14, "antminer", DENIED, {"summary": no(45, "Access denied to 'summary' command")}),
    fails("all-denied", 14, "antminer", DENIED, {"rpc": no(45, "Access denied to command")}, **AUTO),
    fails("all-denied", 14, "avalon", DENIED, {"rpc": no(45, "Access denied to command")}),
    loses("pools-denied", 14, "antminer", "pools", {"pools": no(45, "Access denied to 'pools' command")}),
    # asked once, denied, left alone: the second look does not ask again
    loses(
        "denied-is-remembered",
        14,
        "antminer",
        "pools",
        *[{"pools": no(45, "Access denied")}] * 9,
        asks_at_most=6 + 8 * 2,
    ),
    loses(
        "pools-refused-in-joined",
        14,
        "whatsminer",
        "pools",
        {WM_ALL: Sends(encoded(_JOINED | {"pools": [_DENIED_PART]}) + b"\0")},
    ),
    loses(
        "pools-absent-in-joined",
        14,
        "whatsminer",
        "pools",
        {WM_ALL: Sends(encoded({k: v for k, v in _JOINED.items() if k != "pools"}) + b"\0")},
    ),
    reads(
        "joined-without-lists",
        13,
        "whatsminer",
        {WM_ALL: Sends(encoded({k: v[0] for k, v in _JOINED.items()}) + b"\0")},
    ),
    reads("joined-answers-the-first", 14, "whatsminer", {WM_ALL: Sends(reply("whatsminer", "summary") + b"\0")}),
    reads("joined-refused", 14, "whatsminer", {WM_ALL: no(14, "Invalid command")}),
    reads("joined-is-rubbish", 14, "whatsminer", {WM_ALL: Sends(b"what?\0")}),
    reads("joined-is-empty", 14, "whatsminer", {WM_ALL: NOTHING}),
    reads(
        "joined-parts-are-null",
        14,
        "luxos",
        {"summary+power+config+devs+fans+temps+pools+events+version": Sends(b'{"id":1}\0')},
    ),
    fails(
        "token-over-max",
        14,
        "whatsminer",
        DENIED,
        {"rpc": Sends(b'{"STATUS":"E","When":1,"Code":136,"Msg":"token over max times"}')},
    ),
    fails(
        "error-as-letter",
        13,
        "whatsminer",
        UNSUPPORTED,
        {"rpc": Sends(b'{"STATUS":"E","When":1,"Code":14,"Msg":"invalid cmd"}')},
    ),
    loses(
        "v3-denied",
        14,
        "whatsminer_v3",
        "get_device_info",
        {"get_device_info": Sends(frame(b'{"code":-4,"msg":"permission denied"}'))},
    ),
]


# --- 31, 32, 33: too much, too slow, broken ---

_FLOODS: tuple[tuple[str, Sends, FaultKind], ...] = (
    ("8-mib", Sends(b'{"a":"' + b"x" * (8 * MIB)), OVERSIZE),
    ("text-for-ever", Sends(b'{"a":"' + b"y" * 65536, endless=True), OVERSIZE),
    ("blanks-for-ever", Sends(b" \r\n\t" * 4096, endless=True), OVERSIZE),
    ("members-for-ever", Sends(b'{"a":1},' * 4096, endless=True), MALFORMED),  # `{"a":1}` is all that is read
    ("open-brackets-for-ever", Sends(b"[" * 4096, endless=True), MALFORMED),
    ("65-deep", Sends(b'{"SUMMARY":' + b"[" * 65 + b"]" * 65 + b"}\0"), MALFORMED),
    ("empty-objects", Sends(b'{"SUMMARY":[' + b"{}," * 100_000 + b"{}]}\0"), OVERSIZE),
    ("escapes", Sends(b'{"a":"' + b"\\" * 65536, endless=True), OVERSIZE),
)

FLOODS = [
    *(
        fails(id, 38 if "deep" in id or "brackets" in id else 31, "antminer", fault, {"summary": sends})
        for id, sends, fault in _FLOODS
        if id != "members-for-ever"
    ),
    *(fails(id, 31, "avalon", fault, {"summary": sends}) for id, sends, fault in _FLOODS[:3]),
    fails("version-for-ever", 31, "antminer", OVERSIZE, {"rpc": Sends(b'{"a":"' + b"z" * 65536, endless=True)}, **AUTO),
    loses("pools-8-mib", 31, "antminer", "pools", {"pools": Sends(b'{"POOLS":"' + b"x" * (8 * MIB))}),
    loses("pools-for-ever", 31, "antminer", "pools", {"pools": Sends(b'{"POOLS":"' + b"x" * 65536, endless=True)}),
    fails("8-mib", 31, "luxos", OVERSIZE, {"rpc": Sends(b'{"summary":"' + b"x" * (8 * MIB))}),
]

SLOW = [
    hangs("silent", 32, "antminer", {"summary": HANG}),
    hangs("silent-at-version", 32, "antminer", {"rpc": HANG}, **AUTO),
    hangs("all-silent", 32, "whatsminer", {"rpc": HANG}),
    hangs("dribble", 32, "antminer", {"summary": Sends(SUMMARY, chunk=1, pause_s=0.02, then="hold")}),
    hangs("dribble", 32, "avalon", {"summary": Sends(b" " * 5000, chunk=1, pause_s=0.02, then="hold")}),
    hangs("half", 32, "antminer", {"stats": Sends(reply("antminer", "stats")[:500], then="hold")}),
    hangs("string-left-open", 32, "sealminer", {"rpc": Sends(b'{"STATS":[{"a":"', then="hold")}),
    hangs("escape-left-open", 32, "braiins", {"rpc": Sends(b'{"a":"\\', then="hold")}),
    hangs("one-byte", 32, "auradine", {"summary": Sends(b"{", then="hold")}),
    hangs("length-alone", 32, "whatsminer_v3", {"framed": Sends(b"\x10\0\0\0", then="hold")}),
    hangs("half-a-length", 32, "whatsminer_v3", {"framed": Sends(b"\x10\0", then="hold")}),
    hangs("frame-dribble", 32, "whatsminer_v3", {"framed": Sends(frame(V3), chunk=1, pause_s=0.02, then="hold")}),
    hangs("page-silent", 32, "vnish", {"http": HANG}),
    hangs(
        "head-dribble",
        32,
        "axeos",
        {"http": Sends(b"HTTP/1.1 200 OK\r\nX: y\r\n" * 50, chunk=1, pause_s=0.02, then="hold")},
    ),
    hangs(
        "body-short", 32, "proto", {"mining": Sends(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{", then="hold")}
    ),
    hangs(
        "chunk-left-open",
        32,
        "epic",
        {"summary": Sends(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10\r\n{", then="hold")},
    ),
    # what the reading can do without does not cost it
    loses("pools-silent", 32, "antminer", "pools", {"pools": HANG}, deadline_s=PATIENT_S),
    loses(
        "pools-dribble",
        32,
        "antminer",
        "pools",
        {"pools": Sends(b'{"POOLS":[', chunk=1, pause_s=0.05, then="hold")},
        deadline_s=SHORT_S,
    ),
    # the machine that hung answers again: so do we
    reads("comes-back", 32, "antminer", {"summary": RESET}, {}),
]

BROKEN = [
    fails("at-once", 33, "antminer", MALFORMED, {"rpc": RESET}),
    fails("at-once-unknown", 33, "antminer", MALFORMED, {"rpc": RESET}, **AUTO),
    fails("after-half", 33, "antminer", MALFORMED, {"summary": Sends(SUMMARY[:300], then="rst")}),
    fails("joined", 33, "whatsminer", MALFORMED, {"rpc": RESET}),
    fails("frame", 33, "whatsminer_v3", MALFORMED, {"framed": RESET}),
    fails("half-frame", 33, "whatsminer_v3", MALFORMED, {"framed": Sends(frame(V3)[:90], then="rst")}),
    fails("page", 33, "vnish", MALFORMED, {"http": RESET}),
    fails(
        "in-a-body",
        33,
        "mara",
        MALFORMED,
        {"brief": Sends(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{", then="rst")},
        credential=LOGIN,
    ),
    loses("pools", 33, "antminer", "pools", {"pools": RESET}),
    # one question, one connection: a broken one is not tried again before the next look
    fails("no-second-try", 33, "antminer", MALFORMED, {"summary": RESET}, asks_at_most=2),
    fails("refused", 33, "antminer", REFUSED, {}, closed=frozenset({4028})),
    fails("refused-everywhere", 33, "antminer", REFUSED, {}, closed=frozenset({4028, 80}), **AUTO),
    fails("refused", 33, "whatsminer_v3", REFUSED, {}, closed=frozenset({4433})),
    fails("refused", 33, "vnish", REFUSED, {}, closed=frozenset({80})),
]


# --- 34: lengths of frames ---

FRAMES = [
    fails("zero", 34, "whatsminer_v3", MALFORMED, {"framed": Sends(b"\0\0\0\0")}),
    fails("4-gib", 34, "whatsminer_v3", OVERSIZE, {"framed": Sends(b"\xff\xff\xff\xff{}")}),
    fails("2-gib-and-open", 34, "whatsminer_v3", OVERSIZE, {"framed": Sends(b"\0\0\0\x80", then="hold")}),
    fails("more-than-data", 34, "whatsminer_v3", MALFORMED, {"framed": Sends(b"\xff\x0f\0\0" + V3)}),
    fails(
        "less-than-data", 34, "whatsminer_v3", MALFORMED, {"framed": Sends((len(V3) - 300).to_bytes(4, "little") + V3)}
    ),
    fails("three-bytes", 34, "whatsminer_v3", MALFORMED, {"framed": Sends(b"\x05\0\0")}),
    fails("none", 34, "whatsminer_v3", OVERSIZE, {"framed": Sends(V3)}),
    fails("big-endian", 34, "whatsminer_v3", MALFORMED, {"framed": Sends(len(V3).to_bytes(4, "big") + V3)}),
    fails("no-json", 34, "whatsminer_v3", MALFORMED, {"framed": Sends(frame(b"hello"))}),
    fails("nothing", 34, "whatsminer_v3", MALFORMED, {"framed": NOTHING}),
    reads("byte-by-byte", 34, "whatsminer_v3", {"get_miner_status_summary": Sends(frame(V3), chunk=1)}),
    reads("flood-behind", 34, "whatsminer_v3", {"get_miner_status_summary": Sends(frame(V3) + b"x" * MIB)}),
    reads("open-behind", 34, "whatsminer_v3", {"get_miner_status_summary": Sends(frame(V3), then="hold")}),
    loses("info-4-gib", 34, "whatsminer_v3", "get_device_info", {"get_device_info": Sends(b"\xff\xff\xff\xff")}),
]


# --- 35: HTTP ---

VNISH = reply("vnish", "summary")
_HTML = b"<!DOCTYPE html><html>sign in, canary-worker</html>"
_OK = b"HTTP/1.1 200 OK\r\n"


def head(*lines: bytes) -> bytes:
    return b"\r\n".join((b"HTTP/1.1 200 OK", *lines, b"", b""))


_CHUNKED = head(b"Transfer-Encoding: chunked")

PAGES = [
    *(
        fails(f"status-{status}", 35, "vnish", fault, {"http": page(_HTML, status)})
        for status, fault in (
            (401, DENIED),
            (403, DENIED),
            (404, UNSUPPORTED),
            (405, UNSUPPORTED),
            (501, UNSUPPORTED),
            (500, MALFORMED),
            (502, MALFORMED),
            (429, MALFORMED),
            (204, MALFORMED),
            (304, UNSUPPORTED),
        )
    ),
    *(
        fails(
            f"redirect-{status}",
            35,
            "vnish",
            UNSUPPORTED,
            {"http": page(b"", status, f"Location: {where}")},
            asks_at_most=3,
        )
        for status, where in (
            (301, "https://127.0.0.1/"),
            (302, "http://127.0.0.2:1/x"),
            (307, "/api/v1/summary"),
            (308, "http://canary-worker:canary-password@evil.example/"),
        )
    ),
    fails("html", 35, "vnish", UNSUPPORTED, {"http": page(_HTML)}),
    fails("gzip", 35, "vnish", MALFORMED, {"http": page(b"\x1f\x8b\x08\0\0", 200, "Content-Encoding: gzip")}),
    fails("brotli", 35, "vnish", MALFORMED, {"http": page(VNISH, 200, "Content-Encoding: br")}),
    fails("gzip-unsaid", 35, "vnish", MALFORMED, {"http": page(b"\x1f\x8b\x08\0\0\0\0\0\0\x03")}),
    fails("8-mib-said", 31, "vnish", OVERSIZE, {"http": Sends(head(b"Content-Length: 8388608"), then="hold")}),
    fails("8-mib-sent", 31, "vnish", OVERSIZE, {"http": Sends(head() + b"x" * (8 * MIB))}),
    fails(
        "length-beyond-64-bit",
        31,
        "vnish",
        OVERSIZE,
        {"http": Sends(head(b"Content-Length: 99999999999999999999"), then="hold")},
    ),
    fails("body-for-ever", 31, "vnish", OVERSIZE, {"http": Sends(_OK + b"\r\n" + b" " * 65536, endless=True)}),
    fails("chunks-for-ever", 31, "vnish", OVERSIZE, {"http": Sends(_CHUNKED + b"1\r\nx\r\n" * 60_000)}),
    fails(
        "chunk-of-4-gib",
        31,
        "vnish",
        OVERSIZE,
        {"http": Sends(_CHUNKED + b"ffffffff\r\n" + b"x" * 65536, endless=True)},
    ),
    fails("head-for-ever", 31, "vnish", OVERSIZE, {"http": Sends(_OK + b"X-Y: z\r\n" * 400_000)}),
    fails("continue-for-ever", 31, "vnish", OVERSIZE, {"http": Sends(b"HTTP/1.1 100 Continue\r\n\r\n" * 60_000)}),
    fails("length-negative", 35, "vnish", MALFORMED, {"http": Sends(head(b"Content-Length: -1"))}),
    fails(
        "length-twice",
        35,
        "vnish",
        MALFORMED,
        {"http": Sends(head(b"Content-Length: 2", b"Content-Length: 3") + b"{}x")},
    ),
    fails("length-in-words", 35, "vnish", MALFORMED, {"http": Sends(head(b"Content-Length: many"))}),
    fails("body-cut", 35, "vnish", MALFORMED, {"http": Sends(head(b"Content-Length: 5000") + VNISH)}),
    fails("chunk-cut", 35, "vnish", MALFORMED, {"http": Sends(_CHUNKED + b"ffff\r\n" + VNISH)}),
    fails("chunk-size-in-words", 35, "vnish", MALFORMED, {"http": Sends(_CHUNKED + b"zz\r\n{}\r\n0\r\n\r\n")}),
    fails("bare-json", 35, "vnish", UNSUPPORTED, {"http": Sends(VNISH)}),
    fails("ssh", 35, "vnish", UNSUPPORTED, {"http": Sends(b"SSH-2.0-dropbear\r\n", then="hold")}),
    fails("tls-alert", 35, "vnish", UNSUPPORTED, {"http": Sends(b"\x15\x03\x01\0\x02\x02\x46")}),
    fails("status-line-broken", 35, "vnish", MALFORMED, {"http": Sends(b"HTTP/1.1 banana\r\n\r\n")}),
    fails("http-2", 35, "vnish", MALFORMED, {"http": Sends(b"HTTP/2 200\r\n\r\n{}")}),
    fails("nothing", 35, "vnish", MALFORMED, {"http": NOTHING}),
    reads("no-length", 35, "vnish", {"summary": Sends(head() + VNISH)}),
    reads("chunked", 35, "vnish", {"summary": Sends(_CHUNKED + b"%x\r\n%s\r\n0\r\n\r\n" % (len(VNISH), VNISH))}),
    reads("byte-by-byte", 35, "vnish", {"summary": Sends(head(b"Content-Length: %d" % len(VNISH)) + VNISH, chunk=1)}),
    reads("open-behind", 35, "vnish", {"summary": replace(page(VNISH), then="hold")}),
    reads("rubbish-behind", 35, "vnish", {"summary": Sends(page(VNISH).data + b"HTTP/1.1 500 x\r\n\r\n")}),
    reads("old-http", 35, "vnish", {"summary": Sends(b"HTTP/1.0 200 OK\r\n\r\n" + VNISH)}),
    fails("json-on-the-wrong-port", 35, "epic", UNSUPPORTED, {"rpc": Sends(SUMMARY), "http": Sends(SUMMARY + b"\0")}),
    fails("page-on-the-wrong-port", 35, "antminer", UNSUPPORTED, {"rpc": page(_HTML)}),
    *(
        fails(f"status-{status}", 35, name, fault, {"http": page(b"", status)}, credential=LOGIN)
        for name, status, fault in (
            ("axeos", 404, UNSUPPORTED),
            ("proto", 500, MALFORMED),
            ("mara", 401, DENIED),
            ("elphapex", 401, DENIED),
            ("braiins_rest", 401, DENIED),
            ("epic", 503, MALFORMED),
        )
    ),
]


# --- 35: logins ---

_CHALLENGE = 'WWW-Authenticate: Digest realm="antMiner Configuration", nonce="abc", qop="auth"'
_NO_PAGES = {"mac": None, "serial": None, "hostname": None, "mode": None}

LOGINS = [
    # the API is read, the pages are missing; the password is tried once per page, never in clear
    reads("401-for-ever", 35, "antminer_web", {"http": page(b"", 401, _CHALLENGE)}, credential=LOGIN, **_NO_PAGES),
    reads("401-without-challenge", 35, "antminer_web", {"http": page(b"", 401)}, credential=LOGIN, **_NO_PAGES),
    reads(
        "basic",
        35,
        "antminer_web",
        {"http": page(b"", 401, 'WWW-Authenticate: Basic realm="x"')},
        credential=LOGIN,
        **_NO_PAGES,
    ),
    reads(
        "unknown-hash",
        35,
        "antminer_web",
        {"http": page(b"", 401, 'WWW-Authenticate: Digest nonce="a", algorithm=FOO')},
        credential=LOGIN,
        **_NO_PAGES,
    ),
    reads(
        "challenge-too-long",
        35,
        "antminer_web",
        {"http": page(b"", 401, "WWW-Authenticate: Digest nonce=" + "a" * 4000)},
        credential=LOGIN,
        **_NO_PAGES,
    ),
    reads("404-pages", 35, "antminer_web", {"http": page(_HTML, 404)}, credential=LOGIN, **_NO_PAGES),
    reads("500-pages", 35, "antminer_web", {"http": page(_HTML, 500)}, credential=LOGIN, **_NO_PAGES),
    reads("html-pages", 35, "antminer_web", {"http": page(_HTML)}, credential=LOGIN, **_NO_PAGES),
    reads(
        "https-only",
        35,
        "antminer_web",
        {"http": page(b"", 301, "Location: https://127.0.0.1/")},
        credential=LOGIN,
        **_NO_PAGES,
    ),
    reads("pages-silent", 35, "antminer_web", {"http": HANG}, credential=LOGIN, deadline_s=PATIENT_S, **_NO_PAGES),
    reads("web-closed", 35, "antminer_web", {}, credential=LOGIN, closed=frozenset({80}), **_NO_PAGES),
    reads("no-credential", 35, "antminer_web", {}, **_NO_PAGES),
    fails("no-credential", 35, "braiins_rest", DENIED, {}),
    fails("no-credential", 35, "mara", DENIED, {}),
    fails("no-credential", 35, "elphapex", DENIED, {}),
    *(
        fails(f"token-{id}", 35, "braiins_rest", fault, {"/api/v1/auth/login": sends}, credential=LOGIN)
        for id, sends, fault in (
            ("denied", page(b'{"message":"wrong password canary-password"}', 401), DENIED),
            ("missing", page(b'{"error":"canary-password is wrong"}'), DENIED),
            ("empty", page(b'{"token":""}'), DENIED),
            ("list", page(b'{"token":["a"]}'), DENIED),
            ("with-header", page(b'{"token":"a\\r\\nX-Evil: 1"}'), DENIED),
            ("html", page(_HTML), UNSUPPORTED),
            ("null", page(b"null"), DENIED),
            ("redirect", page(b"", 302, "Location: http://127.0.0.2/"), UNSUPPORTED),
            ("nothing", NOTHING, MALFORMED),
        )
    ),
    hangs("token-silent", 32, "braiins_rest", {"/api/v1/auth/login": HANG}, credential=LOGIN),
    fails(
        "token-huge",
        31,
        "braiins_rest",
        OVERSIZE,
        {"/api/v1/auth/login": Sends(head() + b'{"token":"' + b"a" * (2 * MIB))},
        credential=LOGIN,
    ),
    # read without a login where the firmware allows that
    reads("unlock-denied", 35, "vnish", {"/api/v1/unlock": page(b'{"err":"canary-password"}', 401)}, credential=LOGIN),
    reads("unlock-without-token", 35, "vnish", {"/api/v1/unlock": page(b"[]")}, credential=LOGIN),
    reads(
        "token-error",
        35,
        "auradine",
        {"/token": page(b'{"STATUS":[{"STATUS":"E","Code":1,"Msg":"bad password canary-password"}]}')},
        credential=LOGIN,
    ),
    loses("psu-denied", 35, "auradine", "psu", {"psu": page(b"", 401)}),
    loses("report-redirects", 35, "auradine", "ipreport", {"ipreport": page(b"", 302, "Location: https://127.0.0.1/")}),
]


# --- who is it: answers that lie, loop or never end ---

_VERSION = replies_of("antminer")["version"]


def version(**fields: Any) -> Sends:
    return Sends(encoded({"STATUS": [{"STATUS": "S"}], "VERSION": [fields], "id": 1}) + b"\0")


IDENTITIES = [
    reads("antminer", 1, "antminer", {"version": Sends(reply("antminer", "version") + b"\0\0")}, **AUTO),
    reads("v3-behind-a-closed-port", 35, "whatsminer_v3", {}, closed=frozenset({4028}), **AUTO),
    reads("axeos-behind-closed-ports", 35, "axeos", {"/": page(b"<title>AxeOS</title>")}, **AUTO),
    reads("axeos-behind-404", 35, "axeos", {"/": page(b"", 404)}, **AUTO),
    reads("axeos-behind-redirect", 35, "axeos", {"/": page(b"", 302, "Location: /")}, **AUTO),
    reads("http-on-4028", 35, "epic", {"rpc": page(b"", 400)}, **AUTO),
    # WhatsMiner names itself in its very refusal
    reads(
        "named-in-a-refusal",
        14,
        "whatsminer",
        {"version": Sends(b'{"STATUS":"E","When":1,"Code":14,"Msg":"invalid cmd","Description":"btminer"}')},
        **AUTO,
    ),
    fails("goldshell", 37, "antminer", UNSUPPORTED, {"version": version(KDAMiner="1.0")}, **AUTO),
    fails("nobody", 37, "antminer", UNSUPPORTED, {"rpc": version(CGMiner="4.9")}, **AUTO),
    fails(
        "everybody",
        37,
        "antminer",
        UNSUPPORTED,
        {
            "rpc": Sends(REFUSAL),
            "version": version(Type=" ".join(("ANTMINER", "AVALON", "BTMINER", "BOSMINER", "LUXMINER"))),
        },
        **AUTO,
    ),
    fails("html-everywhere", 37, "antminer", UNSUPPORTED, {"rpc": page(_HTML), "http": page(_HTML)}, **AUTO),
    fails("json-of-another-kind", 37, "antminer", MALFORMED, {"rpc": Sends(b"[1,2,3]\0")}, **AUTO),
    fails(
        "says-antminer-answers-nothing",
        37,
        "antminer",
        UNSUPPORTED,
        {"version": version(Type="Antminer S19"), "summary": Sends(REFUSAL), "stats": Sends(REFUSAL)},
        **AUTO,
    ),
    fails(
        "says-axeos-is-not", 37, "axeos", UNSUPPORTED, {"/": page(b"AxeOS"), "/api/system/info": page(b"", 404)}, **AUTO
    ),
    fails("landing-8-mib", 31, "axeos", REFUSED, {"http": Sends(head() + b"x" * (8 * MIB))}, **AUTO),
    fails("everything-broken", 33, "axeos", REFUSED, {"http": RESET}, **AUTO),
    # at most a dozen questions, then it is nobody
    fails("yes-to-everything", 37, "vnish", REFUSED, {"http": page(b"[]")}, asks_at_most=12, **AUTO),
    fails("pages-silent", 32, "axeos", REFUSED, {"http": HANG}, deadline_s=SHORT_S, **AUTO),
]


# --- 37: another machine at the address; 25: the same one, started again ---

OTHERS = [
    fails(
        "mac",
        37,
        "sealminer",
        IDENTITY,
        {},
        {
            "stats+summary+pools": Sends(REFUSAL),
            "stats+summary": Sends(REFUSAL),
            "stats": changed("sealminer", "stats STATS.0.MAC", "50:d4:48:00:00:01"),
        },
    ),
    fails(
        "serial",
        37,
        "sealminer",
        IDENTITY,
        {},
        {"stats+summary": Sends(REFUSAL), "stats": changed("sealminer", "stats STATS.0.Ctrl Board SN", "S999")},
    ),
    fails("model", 37, "antminer", IDENTITY, {}, {"stats": changed("antminer", "stats STATS.0.Type", "Antminer S21")}),
    fails(
        "mac",
        37,
        "whatsminer",
        IDENTITY,
        {},
        {
            "summary+devs": Sends(REFUSAL),
            "summary": changed("whatsminer", "summary SUMMARY.0.MAC", "C4:08:28:00:00:01"),
        },
    ),
    fails(
        "mac",
        37,
        "axeos",
        IDENTITY,
        {},
        {"system_info": page(reply("axeos", "system_info").replace(b"AA:BB:CC:DD:EE:FF", b"AA:BB:CC:00:00:01"))},
    ),
    fails(
        "mac",
        37,
        "luxos",
        IDENTITY,
        {},
        {
            "summary+power": Sends(REFUSAL),
            "summary": changed("luxos", "summary SUMMARY.0.Elapsed", 5),  # no look of it is told of the first machine
            "config": changed("luxos", "config CONFIG.0.MACAddr", "62:f7:5e:00:00:01"),
        },
    ),
    # it is met anew: the third look belongs to the new machine
    reads(
        "met-anew",
        37,
        "axeos",
        {},
        *[{"system_info": page(reply("axeos", "system_info").replace(b"AA:BB:CC:DD:EE:FF", b"AA:BB:CC:00:00:01"))}] * 2,
        mac="aabbcc000001",
    ),
    fails("other-firmware", 37, "antminer", IDENTITY, {"version": version(Type="Antminer S19", LUXminer="2025.1")}),
    fails("another-make", 37, "antminer", IDENTITY, {"version": version(BDMiner="1")}),
    # a MAC that is none is no other machine
    reads(
        "mac-lost",
        37,
        "axeos",
        {},
        {"system_info": page(reply("axeos", "system_info").replace(b"AA:BB:CC:DD:EE:FF", b"00:00:00:00:00:00"))},
        mac=None,
    ),
]

_YOUNG = changed("antminer", "summary SUMMARY.0.Elapsed", 10)

RESTARTS = [
    reads(
        "uptime",
        25,
        "antminer",
        {},
        {"summary": _YOUNG},
        uptime_s=10.0,
        state="warming_up",
        hashrate_hs=111_834.85e9,
        hashrate_window_s=10.0,
        hashrate_key="GHS av",
    ),
    reads(
        "counters",
        25,
        "antminer",
        {},
        {"summary": changed("antminer", "summary SUMMARY.0.Accepted", 3)},
        shares_accepted=3.0,
    ),
    reads(
        "counters-negative",
        25,
        "antminer",
        {},
        {"summary": changed("antminer", "summary SUMMARY.0.Accepted", -3)},
        shares_accepted=None,
    ),
    reads(
        "uptime-negative",
        25,
        "antminer",
        {},
        {"summary": changed("antminer", "summary SUMMARY.0.Elapsed", -1)},
        uptime_s=50474.0,
    ),
    reads(
        "page",
        25,
        "axeos",
        {"system_info": page(reply("axeos", "system_info").replace(b'"uptimeSeconds":4', b'"uptimeSeconds":9000'))},
        {},
    ),
    reads(
        "frame",
        25,
        "whatsminer_v3",
        {},
        {"get_miner_status_summary": changed("whatsminer_v3", "get_miner_status_summary msg.summary.elapsed", 30)},
        uptime_s=30.0,
        hashrate_hs=170.8e12,
        hashrate_window_s=30.0,
        hashrate_key="hash-average",
    ),
    reads(
        "avalon",
        25,
        "avalon",
        {},
        {"summary": changed("avalon", "summary SUMMARY.0.Elapsed", 61)},
        uptime_s=61.0,
        state="warming_up",
        hashrate_hs=197_322_915.2e6,
        hashrate_window_s=60.0,
        hashrate_key="MHS 1m",
    ),
    # every reply says a little less than the one before
    reads(
        "again-and-again",
        25,
        "antminer",
        *({"summary": changed("antminer", "summary SUMMARY.0.Elapsed", up)} for up in (50_000, 40_000, 30_000, 20_000)),
        uptime_s=20_000.0,
    ),
]


CASES: list[WireCase] = [
    *ENDS,
    *REFUSALS,
    *FLOODS,
    *SLOW,
    *BROKEN,
    *FRAMES,
    *PAGES,
    *LOGINS,
    *IDENTITIES,
    *OTHERS,
    *RESTARTS,
]
