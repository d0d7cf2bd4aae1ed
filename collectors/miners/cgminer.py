"""The cgminer API (TCP 4028) as functions over bytes: framing, decoding, repair, status and typed fields. No I/O.

One connection carries one request and one reply, and firmware ends its reply as it likes: NUL, two NULs, newline,
FIN, or nothing at all. `Receiver` therefore stops at the first of a NUL, a complete JSON value or the end of the
stream, wherever the chunk borders fall. A reply is decoded strictly first; only when that fails does one bounded
repair pass rewrite it, and the reply says so in its `warnings`. Nothing here turns an unknown number into 0.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from sys import intern
from typing import Any

import orjson

from fleet.ports import PollError
from fleet.readings import FaultKind

# Ten times the longest honest reply that is known (31 kB of error records). Memory follows the members, not the bytes:
# a reply of `[],[],` costs twenty times its length as objects, so what is long is counted before it is decoded.
MAX_REPLY_BYTES = 256 * 1024
MAX_MEMBERS = 8_192
UNCOUNTED_BYTES = 16 * 1024

MAX_DEPTH = 64
MAX_TEXT_CHARS = 128

# An honest broken reply is a few kB. The repair is linear but runs in Python, so what is longer stays broken.
MAX_REPAIR_BYTES = 64 * 1024

REPAIRED = "repaired"
TRUNCATED = "truncated"
NO_STATUS = "no_status"


class Reply(dict[str, Any]):
    """One decoded reply, the JSON object itself; `warnings` says what had to be done to read it."""

    warnings: tuple[str, ...] = ()  # of the class, so that making one is a call of C


def encode(command: str, parameter: str | None = None, **top_level: bool | int | str) -> bytes:
    """Request for one command. Extra keys stand beside `command`, where Antminer wants its `new_api`."""
    request: dict[str, bool | int | str] = {"command": command, **top_level}
    if parameter is not None:
        request["parameter"] = parameter
    return orjson.dumps(request)


# --- framing -----------------------------------------------------------------------------------------------------

# Possessive quantifiers keep both patterns linear on any input. The first runs over everything that cannot change the
# depth, whole strings included; the second runs to the end of a string that a chunk border cut.
_PLAIN = re.compile(rb'(?:[^"{}\[\]\0]++|"(?:[^"\\\0]++|\\[^\0])*+")*+', re.DOTALL)
_IN_STRING = re.compile(rb'(?:[^"\\\0]++|\\[^\0])*+', re.DOTALL)


def _value_of_whole(chunk: bytes, max_depth: int) -> dict[str, Any] | None:
    """The reply that came in one piece with a NUL behind it, as most do; None = it has to be scanned.

    As few brackets as this cannot be nested too deep; and what decodes strictly ends where a scan would find its end.
    """
    end = chunk.find(0)
    if end <= 0 or chunk.count(b"{") + chunk.count(b"[") > max_depth:
        return None
    try:
        value = orjson.loads(chunk[:end])
    except orjson.JSONDecodeError:
        return None
    return value if isinstance(value, dict) and value else None


class Receiver:
    """Collects the bytes of one reply and knows when it is whole; each byte is looked at once.

    Errors: PollError OVERSIZE past `max_bytes`, MALFORMED past `max_depth`, both from `feed`; see `decode` for those
            of `finish`.
    """

    __slots__ = ("_buffer", "_depth", "_end", "_in_string", "_max_bytes", "_max_depth", "_position", "_whole")

    def __init__(self, max_bytes: int = MAX_REPLY_BYTES, max_depth: int = MAX_DEPTH) -> None:
        self._buffer = bytearray()
        self._max_bytes = max_bytes
        self._max_depth = max_depth
        self._position = 0
        self._depth = 0
        self._in_string = False
        self._end: int | None = None
        self._whole: dict[str, Any] | None = None

    def feed(self, chunk: bytes) -> bool:
        """Take the next bytes; True when the reply is complete and the rest of the stream does not matter."""
        if self._end is None:
            if not self._buffer and len(chunk) <= UNCOUNTED_BYTES:
                self._whole = _value_of_whole(chunk, self._max_depth)
            self._buffer += chunk
            self._end = self._scan() if self._whole is None else chunk.find(0)
            if (len(self._buffer) if self._end is None else self._end) > self._max_bytes:
                raise PollError(FaultKind.OVERSIZE, f"reply longer than {self._max_bytes} bytes")
        return self._end is not None

    @property
    def payload(self) -> bytes:
        """The bytes of the reply so far, without what came after its end."""
        return bytes(self._buffer[: self._end])

    def finish(self) -> Reply:
        """The reply, at its end or at the end of the stream, whichever came first."""
        return decode(self.payload) if self._whole is None else Reply(self._whole)

    def _scan(self) -> int | None:
        """Go on from where the last chunk ended; the end of the reply, or None while it is open."""
        buffer, size = self._buffer, len(self._buffer)
        while True:
            matched = (_IN_STRING if self._in_string else _PLAIN).match(buffer, self._position)
            assert matched is not None  # both patterns match the empty string
            position = self._position = matched.end()
            if position == size:
                return None
            byte = buffer[position]
            if byte == 0x00:
                return position
            if byte == 0x5C:  # a backslash at the chunk border waits for the byte that it escapes
                return None if position + 1 == size else position + 1
            self._position += 1
            if byte == 0x22:
                self._in_string = not self._in_string
            elif byte in b"{[":
                self._depth += 1
                if self._depth > self._max_depth:
                    raise PollError(FaultKind.MALFORMED, f"nested deeper than {self._max_depth}")
            else:
                self._depth -= 1
                if self._depth <= 0:
                    return self._position


# --- decoding ----------------------------------------------------------------------------------------------------

_BLANKS = b"\0 \t\r\n"


def decode(raw: bytes) -> Reply:
    """One reply from its bytes: strictly, else after one repair pass.

    Errors: PollError REFUSED for the text that a proxy gives when the mining process is down, UNSUPPORTED for HTTP on
            this port, MALFORMED for all that no repair could read and for what is not an object with members.
    """
    text = raw.strip(_BLANKS)
    if not text:
        raise PollError(FaultKind.MALFORMED, "empty reply")
    if text.startswith(b"Socket connect failed"):
        raise PollError(FaultKind.REFUSED, "host up, mining process down")
    if text.startswith((b"HTTP/", b"<")):
        raise PollError(FaultKind.UNSUPPORTED, "speaks HTTP on this port")
    if text.startswith(b"STATUS="):
        raise PollError(FaultKind.MALFORMED, "text reply instead of JSON")
    check_members(text)
    warnings: tuple[str, ...] = ()
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        repaired, was_cut = _repair(text)
        warnings = (REPAIRED, TRUNCATED) if was_cut else (REPAIRED,)
        try:
            value = orjson.loads(repaired)
        except orjson.JSONDecodeError as error:
            raise PollError(FaultKind.MALFORMED, "not JSON, also after repair") from error
    if not isinstance(value, dict) or not value:
        raise PollError(FaultKind.MALFORMED, "reply is not an object with members")
    reply = Reply(value)
    if warnings:
        reply.warnings = warnings
    return reply


def check_members(text: bytes) -> None:
    """Errors: PollError OVERSIZE for JSON that would take megabytes as objects, whatever its own length."""
    if len(text) <= UNCOUNTED_BYTES:
        return
    if max(text.count(b"{") + text.count(b"["), text.count(b":"), text.count(b",")) > MAX_MEMBERS:
        raise PollError(FaultKind.OVERSIZE, "more members than any honest reply has")


_TOKEN = re.compile(
    r'"(?P<string>(?:[^"\\]++|\\.)*+)(?P<close>"?)|(?P<mark>[{}\[\],:])|(?P<word>[^\s\x00-\x1f\x7f"{}\[\],:]++)',
    re.DOTALL,
)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_BAD_ESCAPE = re.compile(r'\\(?!["\\/bfnrtu])|\\u(?![0-9a-fA-F]{4})')
_ESCAPE_PAIR = re.compile(
    r"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|\\u[dD][89a-fA-F][0-9a-fA-F]{2}|\\.", re.DOTALL
)
_JSON_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_OPEN, _CLOSE = "{[", "}]"


def _repair(raw: bytes) -> tuple[str, bool]:
    """One pass over the tokens of a broken reply -> JSON text to try, and whether its end was missing.

    Mends, all seen in the field: control characters and invalid UTF-8 in strings, a missing comma between values,
    commas that no value follows or precedes, bare nan and inf (-> null), numbers that no float can hold (-> null),
    `["key":value]` for an object. A cut reply keeps the sections that were complete; none -> PollError MALFORMED.
    """
    if len(raw) > MAX_REPAIR_BYTES:
        raise PollError(FaultKind.MALFORMED, "not JSON, and too long to repair")
    out: list[str] = []
    opened: list[int] = []  # positions in `out` of the brackets that are open
    after_value = False  # the last thing written was a whole value: only there does a comma belong, said or not
    safe_length = 0  # what may be kept when the end is missing: up to the last complete section
    for token in _TOKEN.finditer(raw.decode("utf-8", errors="replace")):
        mark = token["mark"]
        if mark is None or mark in _OPEN:
            if not opened and (out or mark != "{"):
                break  # something before the object or after it: the object alone decides
            if after_value:
                out.append(",")
            if mark is not None:
                opened.append(len(out))
                out.append(mark)
                after_value = False
                continue
            if token["word"] is None and not token["close"]:
                break  # a string without its end is the place where the reply was cut
            out.append(_mend_word(token["word"]) if token["word"] is not None else _mend_string(token["string"]))
            after_value = True
        elif mark == ":":
            if opened and out[opened[-1]] == "[":
                out[opened[-1]] = "{"
            out.append(":")
            after_value = False
        elif mark in _CLOSE and opened:
            out.append(_CLOSE[_OPEN.index(out[opened.pop()])])
            after_value = True
            if len(opened) == 1:
                safe_length = len(out)
            elif not opened:
                break
    if not opened:
        return "".join(out), False
    if not safe_length or out[opened[0]] != "{":
        raise PollError(FaultKind.MALFORMED, "cut off before the first section was complete")
    return "".join(out[:safe_length]) + "}", True


def _mend_string(inner: str) -> str:
    inner = _CONTROL.sub("", inner)
    inner = _BAD_ESCAPE.sub(r"\\\\", inner)
    # Pairs and other escapes are matched only to be stepped over, so that the half of a pair is told from a lone one.
    inner = _ESCAPE_PAIR.sub(lambda m: "\\ufffd" if len(m[0]) == 6 and m[0][1] == "u" else m[0], inner)
    return f'"{inner}"'


def _mend_word(word: str) -> str:
    """A bare word of a broken reply; what is no finite number and no JSON constant stays, and fails the decode."""
    if word in ("true", "false", "null"):
        return word
    try:
        value = float(word)
    except ValueError:
        return word
    if not math.isfinite(value):
        return "null"
    return word if _JSON_NUMBER.fullmatch(word) else repr(value)


# --- status and sections -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Status:
    """What a reply says about its own command: letter S, I, W, E, F or "" where it says nothing."""

    letter: str
    code: int | None
    message: str

    @property
    def is_error(self) -> bool:
        return self.letter in ("E", "F")

    @property
    def is_denial(self) -> bool:
        """Access list, token or credentials, not the command itself."""
        words = self.message.lower()
        return self.is_error and (self.code in (45, 134, 135, 136) or "access" in words or "token" in words)


def status(reply: Mapping[str, Any]) -> Status:
    """The STATUS of a reply in any of its three shapes: a list of objects, one object, a letter beside Code and Msg."""
    said = reply.get("STATUS")
    if isinstance(said, list):
        said = said[0] if said else None
    fields = reply if isinstance(said, str) else said
    if not isinstance(fields, dict):
        return Status("", None, "")
    return Status(
        (text(fields.get("STATUS")) or "").upper(), integer(fields.get("Code")), text(fields.get("Msg")) or ""
    )


def require(reply: Mapping[str, Any], command: str) -> None:
    """Raise what an E or F status means: DENIED for access, UNSUPPORTED for the rest. No status at all is accepted."""
    rows = reply.get("STATUS")
    if rows == "S" or (isinstance(rows, list) and rows and isinstance(rows[0], dict) and rows[0].get("STATUS") == "S"):
        return  # what nearly every reply says, without the cost of reading the rest
    said = status(reply)
    if not said.is_error:
        return
    raise PollError(
        FaultKind.DENIED if said.is_denial else FaultKind.UNSUPPORTED, f"{command}: {said.message or said.code}"
    )


_NOTHING: Mapping[str, Any] = {}


def member(reply: Mapping[str, Any], command: str) -> Mapping[str, Any]:
    """One command's part of a joined reply, which firmware wraps in a list and the manual does not.

    The whole reply where it is not joined; empty where the part is missing.
    """
    if "STATUS" in reply:
        return reply
    part = reply.get(command)
    if isinstance(part, list):
        part = part[0] if part else None
    return part if isinstance(part, dict) else _NOTHING


def section(reply: object, name: str) -> tuple[Mapping[str, Any], ...]:
    """The objects of one section, in the order of the reply; empty where it is missing, null or empty."""
    if not isinstance(reply, dict):
        return ()  # a page may hold any JSON
    rows = reply.get(name)
    if isinstance(rows, list):
        if len(rows) == 1 and isinstance(rows[0], dict):
            return (rows[0],)
        return tuple([row for row in rows if isinstance(row, dict)])
    return (rows,) if isinstance(rows, dict) else ()


def row(reply: object, name: str) -> Mapping[str, Any]:
    """The first object of a section, which most have alone; empty where there is none."""
    rows = section(reply, name)
    return rows[0] if rows else _NOTHING


# --- typed fields ------------------------------------------------------------------------------------------------

_QUANTITY = re.compile(
    r"([+-]?(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]+)(?:\.[0-9]*)?(?:[eE][+-]?[0-9]+)?)\s*([^\s0-9.,+-]\S*)?"
)
MAX_NUMBER = 2.0**64  # what no counter of any firmware can hold is no number but noise
_PLAIN_UNITS = frozenset({"", "w", "v", "a", "%", "c", "°c", "℃", "rpm", "s", "hz"})


def number(value: object) -> float | None:
    """A number within 64 bits, or None. Reads 5, "5.0", " 5 ", "111,834", "3250 W"; a bool, "nan", 1e30, "", "524K" are
    None.

    A unit is dropped only where it does not scale the number: kilo and mega may not vanish silently.
    """
    if type(value) is float or type(value) is int:  # a decoder gives plain types only, and a bool is no int here
        return float(value) if -MAX_NUMBER <= value <= MAX_NUMBER else None  # not so for nan either
    if type(value) is not str or len(value) > MAX_TEXT_CHARS:
        return None
    matched = _QUANTITY.fullmatch(value.strip())
    if matched is None or (matched[2] or "").lower() not in _PLAIN_UNITS:
        return None
    result = float(matched[1].replace(",", ""))
    return result if -MAX_NUMBER <= result <= MAX_NUMBER else None


def integer(value: object) -> int | None:
    """A whole number that a double holds exactly, by the rules of `number`."""
    if type(value) is int and -(2**53) <= value <= 2**53:
        return value
    result = number(value)
    return int(result) if result is not None and result.is_integer() and abs(result) <= 2**53 else None


def flag(value: object) -> bool | None:
    """True or False in any spelling that firmware uses: true, "true", 1, "1", "Y", "on"; anything else is None."""
    if value is True or value is False:
        return value
    word = str(value).strip().lower() if isinstance(value, (int, str)) else ""
    if word in ("true", "1", "y", "yes", "on"):
        return True
    return False if word in ("false", "0", "n", "no", "off") else None


def text(value: object, limit: int = MAX_TEXT_CHARS) -> str | None:
    """Printable characters of a text or whole number, at most `limit` of them; None where nothing is left."""
    if type(value) is str and len(value) <= limit and value.isprintable():
        return value.strip() or None  # nearly every one
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        return None
    if isinstance(value, int) and abs(value) > 2**64:
        return None
    printable = str(value)[: 4 * limit]
    if not printable.isprintable():
        printable = "".join(c for c in printable if c.isprintable())
    printable = printable.strip()
    return printable[:limit] or None


def word(value: object) -> str | None:
    """A text that thousands of machines say alike: kept once for all of them."""
    said = text(value)
    return None if said is None else intern(said)
