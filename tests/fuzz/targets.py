"""The fuzz targets: pure functions of bytes that may raise nothing but what their module promises.

Each make has two: `<make>-bytes` feeds raw replies (what breaks decoders), `<make>-edits` replaces values in healthy
ones (what breaks the reading, which random bytes hardly ever reach). PDUs have three: saved walks, profiles, and edits
of the walks that every family has. `run.py` drives them with coverage guidance.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import orjson
from honesty import assert_honest
from honesty_pdus import NASTY as NASTY_OBJECTS
from honesty_pdus import assert_reads_soundly, assert_sound
from hostile import machines

from agent.wire import FrameError, FrameReader, Report
from collectors import neighbours
from collectors.miners import avalon_text, cgminer, framed, hearing, http, identify, makes, pools
from collectors.miners.make import Ask, Make, Said, Via
from collectors.pdus import datagrams, layout, profile, snmprec
from collectors.pdus.matching import recognise
from collectors.pdus.snmp import Oid, Value
from fleet.ports import PollError
from hil import ber

CAPTURES = Path(__file__).resolve().parent.parent / "captures" / "miners"
WALKS = Path(__file__).resolve().parent.parent / "captures" / "pdus"
SEPARATOR = b"\xff\xfe\xfd"
"""Between the replies of one machine: no UTF-8 holds it, so no reply is cut by chance."""

Target = Callable[[bytes], None]

NASTY: tuple[Any, ...] = (
    None, True, False, "", " ", "nan", "-nan", "inf", -1, 0, 1, -273.0, 255, 2**63, 2**70, 1e308, -1e308, 5e-324,
    [], {}, [[]], [None], [{}], {"a": 1}, [[[[[[]]]]]], "x" * 5000, "0-0-0-0", "58.94W", "111,834", "524K", "2.732%",
    "\x1b[31m", "\u202e", "stratum+tcp://user:pass@[::1", "02:55:97:22:3M:72", "1e400", "true", "Y",
    "[" * 200, "'STATS':{" * 50, "KEY[", "]", [0] * 300, {str(i): i for i in range(300)}, "10 days, 99:99", 1.5, "-0",
)  # fmt: skip


@dataclass(frozen=True)
class Fuzz:
    """One target with inputs to start from."""

    name: str
    run: Target
    seeds: tuple[bytes, ...]


def allowing(*errors: type[BaseException]) -> Callable[[Target], Target]:
    """The target with the errors that its module promises taken as good ends."""

    def wrap(target: Target) -> Target:
        def run(data: bytes) -> None:
            try:
                target(data)
            except errors:
                pass

        return run

    return wrap


def targets() -> Iterator[Fuzz]:
    """Every target, decoders first."""
    replies = [path.read_bytes() for path in sorted(CAPTURES.glob("*/*.json"))]
    yield Fuzz("rpc-reply", allowing(PollError)(_rpc_reply), tuple(reply + b"\0" for reply in replies))
    yield Fuzz("framed-reply", allowing(PollError)(_framed_reply), tuple(framed.frame(r) for r in replies))
    yield Fuzz("http-response", allowing(PollError)(_http_response), tuple(_as_http(reply) for reply in replies[:20]))
    yield Fuzz("identify", allowing(PollError)(_identify), tuple(replies))
    yield Fuzz("avalon-text", _avalon_text, (b"Ver[1] DNA[2] PS[0 1212 2162 145 3122 2160 3311] MM[a b]]",))
    yield Fuzz("pool-url", _pool_url, (b"stratum+tcp://u:p@host:3333", b"[::1"))
    yield Fuzz("neighbours", _neighbours, (_ARP,))
    yield Fuzz("worker-frames", allowing(FrameError)(_worker_frames), (b"\x02\0\0\0\x80\x80",))
    walks = tuple(path.read_bytes() for path in sorted(WALKS.glob("synthetic_*.snmprec")))
    yield Fuzz(
        "pdu-walk", allowing(ValueError)(_pdu_walk), (*walks, b"1.3.6.1.2.1.1.3.0 = Timeticks: (1) 0:00:00.01\n")
    )
    own = sorted(Path(profile.__file__).parent.glob("profiles/*.toml"))
    yield Fuzz("pdu-profile", allowing(profile.ProfileError)(_pdu_profile), tuple(path.read_bytes() for path in own))
    yield Fuzz("pdu-edits", _pdu_edits, tuple(bytes([number]) + bytes(range(3, 60)) for number in range(len(walks))))
    yield Fuzz("snmp-datagram", allowing(PollError)(_snmp_datagram), tuple(_datagrams()))
    for key in makes.KEYS:
        make = makes.make_of(key)
        said = healthy(key)
        whole = SEPARATOR.join(json.dumps(said[ask.name]).encode() if ask.name in said else b"" for ask in make.asks)
        yield Fuzz(f"{key}-bytes", allowing(PollError)(partial(_make_bytes, make)), (whole, b"", SEPARATOR))
        edits = (b"\0\0\0\0", bytes(range(60)), bytes(range(255, 0, -3)))
        yield Fuzz(f"{key}-edits", allowing(PollError)(partial(_make_edits, make)), edits)


# --- decoders --------------------------------------------------------------------------------------------------------


def _chunks(data: bytes) -> Iterator[bytes]:
    """The same bytes in pieces whose sizes they say themselves."""
    position, step = 0, 1 + (data[0] if data else 0)
    while position < len(data):
        yield data[position : position + step]
        position += step


def _rpc_reply(data: bytes) -> None:
    receiver = cgminer.Receiver(max_bytes=1 << 16)
    for chunk in _chunks(data):
        if receiver.feed(chunk):
            break
    reply = receiver.finish()
    cgminer.status(reply)
    cgminer.require(reply, "fuzz")
    for name in list(reply)[:50]:
        cgminer.member(reply, name)
        for row in cgminer.section(reply, name)[:20]:
            for value in list(row.values())[:50]:
                cgminer.number(value), cgminer.integer(value), cgminer.flag(value), cgminer.text(value)


def _framed_reply(data: bytes) -> None:
    unframer = framed.Unframer(max_bytes=1 << 16)
    for chunk in _chunks(data):
        if unframer.feed(chunk):
            break
    hearing.hear(identify.DEVICE_INFO, unframer.payload)


def _http_response(data: bytes) -> None:
    conversation = http._Conversation("GET", "/", (("Host", "fuzz"),), None, 1 << 16)
    for chunk in _chunks(data):
        if conversation.feed(chunk):
            break
    response = conversation.finish()
    http.as_text(response)
    http.require_ok(response, "fuzz")
    hearing.hear(identify.AXEOS_INFO, response.body)


def _as_http(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body


def _identify(data: bytes) -> None:
    """Every question gets the next part as its answer; the last one answers the rest."""
    parts = data.split(SEPARATOR)
    asking = identify.steps(has_login=bool(data[:1] > b"\x7f"))
    try:
        ask = next(asking)
        for turn in range(40):
            answer: Any
            try:
                answer = hearing.hear(ask, parts[min(turn, len(parts) - 1)])
            except PollError as error:
                answer = error
            ask = asking.send(answer)
        raise AssertionError("identification does not end")
    except StopIteration:
        pass


def _avalon_text(data: bytes) -> None:
    avalon_text.blocks(data.decode("utf-8", errors="replace"))


def _pool_url(data: bytes) -> None:
    host = pools.host_of(data.decode("utf-8", errors="surrogateescape"))
    assert host is None or (host.isprintable() and "@" not in host)


_ARP = b"""IP address       HW type     Flags       HW address            Mask     Device
10.1.0.7         0x1         0x2         02:00:00:00:00:07     *        eth0
"""


def _neighbours(data: bytes) -> None:
    neighbours.parse(data.decode("utf-8", errors="replace"))


def _worker_frames(data: bytes) -> None:
    reader = FrameReader(Report, max_bytes=1 << 16)
    for chunk in _chunks(data):
        reader.feed(chunk)


# --- PDUs ------------------------------------------------------------------------------------------------------------


def _datagrams() -> Iterator[bytes]:
    """An answer of each version with a value of every type, and what a v3 agent says to whom it does not know."""
    values = b"".join(
        ber.encode(ber.SEQUENCE, ber.encode_oid((1, 3, 6, 1, 4, 1, 318, number)) + value)
        for number, value in enumerate(
            (
                ber.encode_integer(-1), ber.encode(ber.OCTETS, b"text"), ber.encode(ber.NULL, b""),
                ber.encode_oid((1, 3, 6, 1)), ber.encode(ber.IP_ADDRESS, bytes(4)),
                ber.encode_integer(7, ber.COUNTER32), ber.encode_integer(2**32 - 1, ber.GAUGE32),
                ber.encode_integer(1, ber.TIME_TICKS), ber.encode_integer(2**64 - 1, ber.COUNTER64), ber.END_OF_MIB,
            )
        )
    )  # fmt: skip
    head = ber.encode_integer(70_000) + ber.encode_integer(0) + ber.encode_integer(0)
    answer = ber.encode(datagrams.RESPONSE, head + ber.encode(ber.SEQUENCE, values))
    for version in (datagrams.V1, datagrams.V2C):
        yield ber.encode(ber.SEQUENCE, ber.encode_integer(version) + ber.encode(ber.OCTETS, b"public") + answer)
    discovery = datagrams.discovery(70_000)
    yield discovery
    yield discovery.replace(b"\xa0", b"\xa8", 1)


def _snmp_datagram(data: bytes) -> None:
    """What is accepted is accepted again as it is: mending a value leaves nothing to mend."""
    datagrams.message_number(data)
    found = datagrams.inspect(data)
    if found.data and found.version != datagrams.V3:
        assert datagrams.inspect(found.data) == found


def _pdu_walk(data: bytes) -> None:
    found = snmprec.parse_walk(data.decode("utf-8", errors="surrogateescape"))
    assert list(found) == sorted(found), "a walk is sorted by its OIDs"


def _pdu_profile(data: bytes) -> None:
    """A profile that is accepted reads a walk, whatever it makes of it."""
    for parsed in profile.parse_profile(data.decode("utf-8", errors="replace")):
        layout.decode(parsed, _pdus()[0][1])


@cache
def _pdus() -> tuple[tuple[layout.Layout, dict[Oid, Value], tuple[Oid, ...]], ...]:
    """The rows of every family with a walk of it and the objects that a full read asks for."""
    found = []
    for path in sorted(WALKS.glob("synthetic_*.snmprec")):
        walk = snmprec.parse_snmprec(path.read_text("utf-8"), path.name)
        rows = layout.survey(recognise(profile.packaged_profiles(), walk).profile, walk)
        found.append((rows, walk, tuple(dict.fromkeys(rows.wanted()))))
    return tuple(found)


def _pdu_edits(data: bytes) -> None:
    """The first byte chooses the family; each three after it change one object to a strange value or to their own.

    One input of four may have other rows too, and is read in full and in between.
    """
    rows, walk, oids = _pdus()[(data[0] if data else 0) % len(_pdus())]
    is_thorough = len(data) % 4 == 0
    changed = dict(walk)
    for at in range(1, min(len(data), 96) - 2, 3):
        oid = oids[(data[at] * 256 + data[at + 1]) % len(oids)]
        choice = data[at + 2]
        value = NASTY_OBJECTS[choice] if choice < len(NASTY_OBJECTS) else data[at : at + choice % 16]
        if value is None:
            changed.pop(oid, None)
        else:
            changed[(*oid[:-1], data[at]) if is_thorough and choice % 3 == 0 else oid] = value
    if is_thorough:
        assert_sound(rows.profile, changed)
    else:
        assert_reads_soundly(rows, changed)


# --- makes -----------------------------------------------------------------------------------------------------------


@cache
def healthy(key: str) -> dict[str, Any]:
    """Decoded healthy replies of one make by question: of the machine that answers most of them."""
    known = [machines.machine(name) for name in machines.NAMES]
    return dict(max((one.replies for one in known if one.key == key), key=len))


@cache
def _healthy_bytes(key: str) -> bytes:
    """The same as bytes: decoding them again is the cheapest deep copy."""
    return orjson.dumps(healthy(key))


def _file_of(folder: Path, ask: Ask) -> Path:
    """Where the answer is, if it was recorded: a command that is asked under two names is recorded under its own."""
    file = folder / f"{ask.name}.json"
    return folder / f"{ask.what}.json" if ask.via is Via.RPC and not file.exists() else file


def _make_bytes(make: Make, data: bytes) -> None:
    parts = data.split(SEPARATOR)
    raw = {ask.name: part for ask, part in zip(make.asks, parts, strict=False) if part}
    said = hearing.said_from(make, raw, is_deep=True)
    assert_honest(make.read(said), keeps_secrets=False)


def _make_edits(make: Make, data: bytes) -> None:
    replies = orjson.loads(_healthy_bytes(make.key))
    for at in range(0, min(len(data), 48) - 2, 3):
        _edit(replies, data[at], data[at + 1], NASTY[data[at + 2] % len(NASTY)])
    said = Said(is_deep=bool(len(data) & 1))
    for ask in make.asks:
        if ask.name not in replies:
            continue
        answer = replies[ask.name]
        if ask.via is Via.RPC:
            if not isinstance(answer, dict):
                continue  # the decoder lets only objects through
            answer = cgminer.Reply(answer)
        try:
            hearing.take(said, ask, hearing.accepted(ask, answer))
        except PollError as error:
            said.faults[ask.name] = error
    assert_honest(make.read(said))


def _edit(replies: dict[str, Any], first: int, second: int, value: Any) -> None:
    """Put `value` somewhere into the replies, at a place that two bytes choose."""
    node: Any = replies
    choice = first * 256 + second
    for _ in range(8):
        keys: list[Any] = list(node) if isinstance(node, dict) else list(range(len(node)))
        if not keys:
            return
        key = keys[choice % len(keys)]
        choice = choice // len(keys) + second
        below = node[key]
        if not isinstance(below, dict | list) or not below or choice % 7 == 0:
            node[key] = value
            return
        node = below
