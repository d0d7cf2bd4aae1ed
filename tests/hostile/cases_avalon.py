"""Quirk 30: the text inside Avalon's JSON: what matches is read, in one pass, whatever stands around it."""

from __future__ import annotations

from hostile.cases import Case, put, reads, swap
from hostile.losses import loses
from hostile.machines import replies_of

_TEXT = str(replies_of("avalon")["estats"]["STATS"][0]["MM ID0"])
_Q_TEXT = str(replies_of("avalon_q")["litestats"]["STATS"][0]["MM ID0:Summary"])
_NO_WATTS = dict.fromkeys(("reported_power_w", "power_side", "power_key"))
_HBINFO = "'HB0':{PVT_T0[58 59 60] PVT_V0[282 278 276]}"


def _text(id: str, text: object, **wanted: object) -> Case:
    return reads(id, 30, "avalon", put("estats STATS.0.MM ID0", text), **wanted)


def _lost(id: str, text: object) -> Case:
    return loses(id, 30, "avalon", put("estats STATS.0.MM ID0", text))


CASES: list[Case] = [
    _text("without-blanks", _TEXT.replace("] ", "]")),
    _text("lines-between", _TEXT.replace("] ", "]\r\n")),
    _text("commas-between", _TEXT.replace("] ", "],")),
    _text("bracket-too-much", _TEXT.replace("Fan1[6091]", "Fan1[6091]]")),
    _text("brackets-too-much", _TEXT.replace("Fan1[6091]", "]]]]Fan1[6091]]]]]")),
    # a value without its end may be half a number
    _text("bracket-missing", _TEXT.replace("Fan1[6091] ", "Fan1[6091 "), fans_rpm=(6103.0, 6088.0, 6096.0)),
    _text("last-bracket-missing", _TEXT.replace(" MPO[3515] Nonce Mask[25]", " MPO[35"), power_limit_w=None),
    _text("opened-twice", _TEXT.replace("Fan1[6091]", "Fan1[[6091]"), fans_rpm=(6103.0, 6088.0, 6096.0)),
    _text(
        "empty-values",
        _TEXT.replace("MTmax[90 92 91]", "MTmax[]").replace("TMax[92]", "TMax[]"),
        heat=dict.fromkeys(("chip 0", "chip 1", "chip 2")),
    ),
    _text("empty-rate", _TEXT.replace("GHSspd[199241.66]", "GHSspd[]"), hashrate_now_hs=214_001_204.3e6),
    _text("empty-supply", _TEXT.replace("PS[0 1214 1372 256 3526 1372 3731]", "PS[]"), dc_power_w=None),
    _text(
        "no-supply",
        _TEXT.replace("PS[0 1214 1372 256 3526 1372 3731] WALLPOWER[3731]", ""),
        dc_power_w=None,
        **_NO_WATTS,
    ),
    _text(
        "short-supply",
        _TEXT.replace("PS[0 1214 1372 256 3526 1372 3731] WALLPOWER[3731]", "PS[0 1214 1372 256 3526 1372]"),
        dc_power_w=None,
        reported_power_w=3526.0,
        power_side="dc",
        power_key="PS[4]",
    ),
    _text("words-in-supply", _TEXT.replace("PS[0 1214 1372 256 3526 1372 3731]", "PS[a b c d e f g]"), dc_power_w=None),
    _text("twice", _TEXT + _TEXT),
    _text("rubbish-before", "\x07\x1b[31m {{{'''}}} " + _TEXT),
    _text("rubbish-after", _TEXT + " [[[ ]]] {'X':{ " * 50),
    _text("lower-case-key", _TEXT.replace("WALLPOWER[", "wallpower["), power_key="PS[6]"),
    _text("key-too-long", _TEXT.replace(" Fan1[", " " + "F" * 200 + "Fan1["), fans_rpm=(6103.0, 6088.0, 6096.0)),
    _text("in-a-block", "'STATS':{" + _TEXT + "}"),
    _text("block-not-closed", "'STATS':{" + _TEXT),
    _text("block-without-name", "{" + _TEXT + "}"),
    _text("long-behind", _TEXT + " A[1]" * 2_000 + "A" * 200_000),
    _lost("brackets-without-end", _TEXT + " A[1]" * 60_000),
    _lost("nothing", ""),
    _lost("no-brackets", _TEXT.replace("[", "(").replace("]", ")")),
    _lost("only-opened", "KEY[" * 20_000),
    _lost("only-closed", "]" * 60_000),
    _lost("braces", "'STATS':{" * 6_000),
    _lost("quotes", "'" * 60_000),
    _lost("list", [_TEXT]),
    _lost("number", 15),
    _lost("object", {"Ver": "15"}),
    # both keys in one row: one machine, told twice
    reads("old-and-new-key", 30, "avalon", put("estats STATS.0.MM ID0:Summary", "'STATS':{" + _TEXT + "}")),
    reads("without-prefix", 30, "avalon_q", put("litestats STATS.0.MM ID0:Summary", _Q_TEXT.replace("'STATS':", ""))),
    reads(
        "without-braces",
        30,
        "avalon_q",
        put("litestats STATS.0.MM ID0:Summary", _Q_TEXT.replace("'STATS':{", "").replace("}", "")),
    ),
    reads("other-quotes", 30, "avalon_q", put("litestats STATS.0.MM ID0:Summary", _Q_TEXT.replace("'STATS'", "STATS"))),
    reads("board-block", 30, "avalon_q", put("litestats STATS.0.HBinfo", _HBINFO), boards=("0",)),
    reads("board-block-broken", 30, "avalon_q", put("litestats STATS.0.HBinfo", _HBINFO[:25]), boards=("0",)),
    reads("board-block-null", 30, "avalon_q", put("litestats STATS.0.HBinfo", None), boards=("0",)),
    reads("sixty-modules", 30, "avalon_q", *(put(f"litestats STATS.0.MM ID{i}:Summary", "") for i in range(1, 60))),
    reads("soft-off-while-working", 30, "avalon", swap("estats", b"SoftOFF[0]", b"SoftOFF[4]")),
]
